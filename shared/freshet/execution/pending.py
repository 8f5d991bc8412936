"""Why jobs have not started.

Purpose: jobs that wait get a sentence that says what for: the container's message and the state of the compute pool.
Guarantees: a turn costs one statement for all pools, only while something waits, and a bounded number of looks at
containers; what did not change is not written; an image is called unpullable only after a while of nothing else.
Never: the end of a job, which is the watcher's matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from freshet.domain.errors import FreshetError, UnreachableError
from freshet.execution.job_outcome import cannot_be_pulled, telling
from freshet.runtime import log
from freshet.runtime.clock import Clock
from freshet.snowflake import ContainerRow, JobRow, JobServices, PoolRow, SnowflakeRefusedError
from freshet.storage.database import Row
from freshet.storage.worker_store import WorkerStore

#: Jobs whose containers are asked in one turn at most.
LOOKS = 5
#: Seconds for which an image's pull has to have failed, look after look: a registry may have a bad moment.
IMAGE_PATIENCE = 60.0


class Pending:
    """One watcher's memory of what jobs wait for."""

    def __init__(self, jobs: JobServices, *, store: WorkerStore, clock: Clock) -> None:
        self._clock = clock
        self._unpulled: dict[str, float] = {}  # since when the pull of a job's image fails
        self._jobs = jobs
        self._store = store
        self._messages: dict[str, str] = {}  # of containers that wait, by job; whoever was asked last comes last

    def explain(self, waiting: Sequence[tuple[Row, JobRow]], started: Iterable[Row]) -> int:
        """Note what jobs wait for, and that the others do not; how many notes were written.

        Raises UnreachableError.
        """
        notes: list[tuple[int, str | None]] = [
            (watch["id"], None) for watch in started if watch["waits_for"] is not None
        ]
        if waiting:
            notes += self._reasons(waiting)
        self._forget({watch["job_name"] for watch, _ in waiting})
        if notes:
            self._store.note_waits(notes)
        return len(notes)

    def is_unpullable(self, name: str) -> bool:
        """Whether the pull of a job's image has failed for so long that waiting is pointless, and fails now.

        Raises UnreachableError and SnowflakeRefusedError.
        """
        now = self._clock.monotonic()
        if now - self._unpulled.get(name, now) < IMAGE_PATIENCE:
            return False
        return self._note_pull(name, self._jobs.containers(name))

    def _reasons(self, waiting: Sequence[tuple[Row, JobRow]]) -> list[tuple[int, str | None]]:
        self._look([watch["job_name"] for watch, _ in waiting])
        pools = self._pools()
        found = [(watch, reason(self._messages.get(watch["job_name"], ""), job, pools)) for watch, job in waiting]
        return [(watch["id"], sentence) for watch, sentence in found if sentence != watch["waits_for"]]

    def _look(self, names: Sequence[str]) -> None:
        """Ask those that were never asked, then those that were asked longest ago."""
        known = {name: place for place, name in enumerate(self._messages, start=1)}
        for name in sorted(names, key=lambda each: known.get(each, 0))[:LOOKS]:
            try:
                containers = self._jobs.containers(name)
            except SnowflakeRefusedError as error:
                log.logger(job=name).info("job_unreadable", message=error.message)
                continue
            self._messages.pop(name, None)
            container = telling(containers)
            self._messages[name] = container.message or "" if container is not None else ""
            self._note_pull(name, containers)

    def _note_pull(self, name: str, containers: Sequence[ContainerRow]) -> bool:
        failing = cannot_be_pulled(containers)
        if failing:
            self._unpulled.setdefault(name, self._clock.monotonic())
        else:
            self._unpulled.pop(name, None)
        return failing

    def _pools(self) -> Mapping[str, PoolRow] | None:
        try:
            return {pool.name: pool for pool in self._jobs.pools()}
        except UnreachableError:
            raise
        except FreshetError as error:  # a role that may not see them
            log.logger().info("pools_unreadable", message=error.message)
            return None

    def _forget(self, names: set[str]) -> None:
        for name in self._messages.keys() - names:
            del self._messages[name]
            self._unpulled.pop(name, None)


def reason(message: str, job: JobRow, pools: Mapping[str, PoolRow] | None) -> str:
    """What a job waits for, in a sentence. `pools` is None if they can't be seen."""
    said = message or "Waiting to start"
    pool = (pools or {}).get(job.compute_pool)
    if pools is None:
        return f"{said}."
    if pool is None:
        return f"{said}; compute pool {job.compute_pool} is not to be seen."
    if pool.state == "SUSPENDED" and not pool.auto_resume:
        return (
            f"Compute pool {pool.name} is SUSPENDED and does not resume by itself:"
            f" run ALTER COMPUTE POOL {pool.name} RESUME."
        )
    return f"{said}; compute pool {pool.name} is {pool.state}, {_nodes(pool)}."


def _nodes(pool: PoolRow) -> str:
    nodes = "node" if pool.max_nodes == 1 else "nodes"
    return f"{pool.active_nodes} of {pool.max_nodes} {nodes} at work"
