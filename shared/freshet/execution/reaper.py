"""Jobs that no attempt owns any more: stopped if they run, dropped once nobody can submit them again.

Purpose: nothing of an installation is left in Snowflake, and no name is free too early. A name is what makes a submit
harmless the second time. A worker that stood still between its claim and its submit, while another one took the attempt
over and the job ended, still sends it: so an ended job stays, and with it its name, for `keep` seconds. Guarantees: a
job is stopped or dropped only if the rows were read after it was shown, and neither a bundle nor an unfolded report
names its attempt. Never: a drop of what runs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from freshet.execution.job_service import job_prefix, owned_name, run_of
from freshet.runtime import log
from freshet.runtime.clock import Clock
from freshet.snowflake import JobRow, JobServices, JobStatus, SnowflakeRefusedError
from freshet.storage.worker_store import WorkerStore

#: Ended jobs that are kept at most, the newest: a poll shows no more than 10,000 jobs, those that run among them.
KEPT_AT_MOST = 2_000
#: Jobs that ended while nobody watched them, and are looked at once more, at most in one turn.
LAST_LOOKS = 25
#: How often a last look is tried at most: after that, nothing is kept of it.
LOOK_TRIES = 3


class Reaper:
    """One watcher's memory of the jobs that are over."""

    def __init__(
        self,
        jobs: JobServices,
        *,
        store: WorkerStore,
        installation: Callable[[], str],
        clock: Clock,
        keep: float,
        last_look: Callable[[JobRow], object] = lambda _: None,
    ) -> None:
        """`keep`: seconds for which the name of a job that ended stays taken; `last_look` is called once for each, and
        again by another watcher.
        """
        self._last_look = last_look
        self._jobs = jobs
        self._store = store
        self._installation = installation
        self._clock = clock
        self._keep = keep
        # Since when an ended job is known to be nobody's, oldest first. What is once is for ever: an attempt that is
        # over is not issued again, so nobody needs to be asked about these.
        self._over: dict[str, float] = {}
        self._tries: dict[str, int] = {}  # last looks that failed

    @property
    def kept(self) -> int:
        """How many jobs are there for their name alone."""
        return len(self._over)

    def reap(self, jobs: Sequence[JobRow]) -> int:
        """Look at the jobs that nobody watches, all of them; how many were stopped or dropped."""
        names = {job.name for job in jobs}
        self._over = {name: since for name, since in self._over.items() if name in names}
        self._tries = {name: tries for name, tries in self._tries.items() if name in names}
        orphans = self._orphans([job for job in jobs if job.name not in self._over])
        going = [job for job in orphans if not job.status.is_terminal and job.status is not JobStatus.CANCELLING]
        reaped = sum(self._stop(job) for job in going) + sum(self._drop(name) for name in self._due())
        # Last, for they take time and may fail: those of which Snowflake still shows what they have printed.
        self._look_at([job for job in orphans if job.status.is_terminal][:LAST_LOOKS])
        return reaped

    def _look_at(self, ended: Sequence[JobRow]) -> None:
        for job in ended:
            tries = self._tries[job.name] = self._tries.get(job.name, 0) + 1
            if tries <= LOOK_TRIES:
                self._last_look(job)
            del self._tries[job.name]
            self._over[job.name] = self._clock.monotonic()

    def _orphans(self, jobs: Collection[JobRow]) -> list[JobRow]:
        prefix = job_prefix(self._installation())
        runs = {job.name: run for job in jobs if (run := run_of(job.name, prefix)) is not None}
        if not runs:
            return []
        owned = {owned_name(self._installation(), row) for row in self._store.job_owners(sorted(set(runs.values())))}
        return [job for job in jobs if job.name in runs and job.name not in owned]

    def _due(self) -> list[str]:
        until = self._clock.monotonic() - self._keep
        surplus = len(self._over) - KEPT_AT_MOST
        return [name for place, (name, since) in enumerate(self._over.items()) if since <= until or place < surplus]

    def _stop(self, job: JobRow) -> bool:
        try:
            self._jobs.cancel(job.name)
        except SnowflakeRefusedError as error:
            log.logger(job=job.name).warning("job_not_reaped", message=error.message)
        return True

    def _drop(self, name: str) -> bool:
        del self._over[name]
        try:
            self._jobs.drop(name)
        except SnowflakeRefusedError as error:
            self._over[name] = self._clock.monotonic()  # shown again, and tried again as late as the first time
            log.logger(job=name).warning("job_not_reaped", message=error.message)
            return False
        return True
