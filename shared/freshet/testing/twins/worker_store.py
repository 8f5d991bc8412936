"""What a worker reads and writes, over dictionaries.

Guarantees: of each verb what its statement in sql/worker.sql does; a witness holds its lock until it is closed, its
process ends (`Tables.end_session`), or the server does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson

from freshet.domain.cost import pool_key
from freshet.domain.errors import ClaimLostError, NotFoundError, UnreachableError
from freshet.storage.database import Row
from freshet.storage.worker_store import (
    Claimed,
    Fact,
    JobLog,
    KeptLog,
    LogPart,
    Outcome,
    Times,
    Witness,
    WorkerRow,
    WorkerStore,
)
from freshet.testing.twins import fence, jobs, values
from freshet.testing.twins.passage import Passage, open_passage, verb
from freshet.testing.twins.rows import Worker
from freshet.testing.twins.tables import Tables
from freshet.testing.twins.texts import copied, time_text


class WorkerStoreTwin(WorkerStore):
    """The worker's verbs."""

    def __init__(self, tables: Tables, passage: Passage = open_passage, *, owner: str = "worker") -> None:
        """`owner` is the process whose end frees the locks of its witnesses."""
        self._tables = tables
        self._passage = passage
        self._owner = owner

    # --- a bundle's life -------------------------------------------------------------------------------------------

    @verb
    def claim(self, bundle: int, worker: str, claim: UUID) -> Claimed | None:
        """Take a bundle; None when it is gone, taken, watched or not due yet."""
        taken = fence.claim(self._tables, bundle, worker, claim)
        return None if taken is None else Claimed(claim=claim, document=taken[0], fact=taken[1])

    @verb
    def finish(self, bundle: int, claim: UUID, outcomes: Sequence[Outcome]) -> bool:
        """End the bundle's next items; True when that was the last of it."""
        return fence.finish(self._tables, bundle, claim, outcomes)

    @verb
    def progress(self, bundle: int, claim: UUID) -> int | None:
        """How many of the bundle's items are reported; None when the claim is lost or the bundle has ended."""
        row = self._tables.bundles.get(bundle)
        return None if row is None or row.claim != claim else row.done

    @verb
    def release(self, bundle: int, claim: UUID, rest: Sequence[tuple[int, int]], outcome: str = "returned") -> bool:
        """Give back the rest of a bundle."""
        body = [{"i": item, "a": attempt, "s": outcome} for item, attempt in rest]
        return fence.finish(self._tables, bundle, claim, body)

    # --- jobs ------------------------------------------------------------------------------------------------------

    @verb
    def store_job_name(self, bundle: int, claim: UUID, job: str) -> None:
        """Write down the job's name before it is submitted."""
        row = self._tables.bundles.get(bundle)
        if row is None or row.claim != claim:
            raise ClaimLostError
        self._tables.bundles[bundle] = row._replace(job_name=job)

    @verb
    def store_payload(self, bundle: int, claim: UUID, job: str, payload: bytes) -> UUID:
        """Keep the payload of a named job; its key follows from a number, so that a seed replays."""
        row = self._tables.bundles.get(bundle)
        if row is None or (row.claim, row.job_name) != (claim, job):
            raise ClaimLostError
        known = self._tables.payloads.get(job)
        key = known[0] if known else UUID(int=self._tables.next_id("job_payload"))
        self._tables.payloads[job] = (key, payload)
        return key

    @verb
    def watch(self, bundle: int, claim: UUID) -> Fact:
        """The job was submitted: the claim becomes a watch."""
        return fence.watch(self._tables, bundle, claim)

    @verb
    def watched(self, kind: str = "job_service") -> list[Row]:
        """Every watch of a kind."""
        return jobs.watched(self._tables, kind)

    @verb
    def note_waits(self, notes: Sequence[tuple[int, str | None]]) -> None:
        """Write down why jobs have not started."""
        for bundle, sentence in notes:
            jobs.note(self._tables, bundle, sentence)

    @verb
    def kept_log(self, where: JobLog, *, window: int, gap: str) -> KeptLog | None:
        """What is kept of a job's log."""
        return jobs.kept_log(self._tables, where, window=window, gap=gap)

    @verb
    def stopped(self, where: JobLog) -> tuple[str, int] | None:
        """Workflow and version of an attempt that a cancel or its timeout has ended."""
        return jobs.stopped(self._tables, where)

    @verb
    def write_job_log(self, where: JobLog, parts: Sequence[LogPart]) -> bool:
        """Store the next parts of a watched job's log."""
        return jobs.write_log(self._tables, where, parts)

    @verb
    def job_owners(self, runs: Sequence[UUID], kind: str = "job_service") -> list[Row]:
        """The attempts of a kind in these runs that are not over."""
        return jobs.owners(self._tables, runs, kind)

    @verb
    def finish_job(self, bundle: int, job: str, outcomes: Sequence[Outcome]) -> bool:
        """End a watch; False when somebody else has."""
        return fence.finish_job(self._tables, bundle, job, outcomes)

    @verb
    def store_pool(self, pool: str, family: str) -> None:
        """Write down a pool's family; only the api's estimates read it."""
        self._tables.table("compute_pool")[pool_key(pool)] = family

    @verb
    def installation(self) -> str:
        """The installation's short name."""
        return self._tables.installation

    # --- the worker itself -----------------------------------------------------------------------------------------

    @verb
    def register(self, worker: WorkerRow, times: Times) -> tuple[str, Fact]:
        """Write the worker's row, available, with its totals; when it started and the fact to announce."""
        now, known = self._tables.clock(), self._tables.workers.get(worker.id)
        if known is None:
            row = Worker(
                worker.id, "available", worker.lock_key, worker.hostname, worker.pid, tuple(worker.queues), now, now
            )
        else:
            row = known._replace(state="available", lock_key=worker.lock_key, seen_at=now)
        row = row._replace(busy_s=times.busy_s, idle_s=times.idle_s, wall_s=times.wall_s)
        self._tables.workers[row.id] = row
        return time_text(row.started_at), self._tell(row, "available")

    @verb
    def report_times(self, worker: str, state: str, times: Times, *, event: str) -> Fact | None:
        """Store totals and state. None: no such row."""
        row = self._tables.workers.get(worker)
        if row is None:
            return None
        row = row._replace(
            state=state,
            seen_at=self._tables.clock(),
            busy_s=times.busy_s,
            idle_s=times.idle_s,
            wall_s=times.wall_s,
        )
        self._tables.workers[worker] = row
        return self._tell(row, event)

    @verb
    def declare(self, processes: Sequence[tuple[str, str]]) -> None:
        """Write down which processes this worker serves."""
        self._tables.processes.update(dict.fromkeys(processes, self._tables.clock()))

    @verb
    def witness(self, lock_key: int) -> Witness:
        """Open the session whose advisory lock says that this worker lives."""
        return WitnessTwin(self._tables, self._passage, self._tables.open_session(self._owner), lock_key)

    # --- reads -----------------------------------------------------------------------------------------------------

    @verb
    def document(self, workflow: str, version: int) -> Mapping[str, Any]:
        """The stored definition of a workflow's version."""
        document = self._tables.documents.get((workflow, version))
        if document is None:
            raise NotFoundError(f"Workflow {workflow} has no version {version}.")
        return document

    @verb
    def page(self, kind: str, source: int, first: int, count: int) -> dict[int, Any]:
        """Values by index: `items` of a TaskRun, or yielded `rows` of an item."""
        read = values.item_page if kind == "items" else values.value_page
        return {index: copied(value) for index, value in read(self._tables, source, first, count).items()}

    @verb
    def parents(self, run_id: UUID, scope: str, paths: Sequence[str]) -> dict[str, Any]:
        """What tasks of one scope have come to."""
        found: dict[str, Any] = copied(values.parents(self._tables, str(run_id), scope, paths))
        return found

    # --- logs ------------------------------------------------------------------------------------------------------

    @verb
    def write_logs(self, run_id: UUID, task: str, claim: UUID, parts: Sequence[LogPart]) -> None:
        """Store parts of the logs of attempts of one bundle."""
        for part in parts:
            jobs.add_lines(self._tables, str(run_id), task, claim, part)

    def _tell(self, row: Worker, event: str) -> Fact:
        fact = {
            "type": f"freshet.worker.{event}.v1",
            "at": time_text(self._tables.clock()),
            "worker": row.id,
            "hostname": row.hostname,
            "pid": row.pid,
            "queues": list(row.queues),
            "busy_s": row.busy_s,
            "idle_s": row.idle_s,
            "wall_s": row.wall_s,
        }
        return self._tables.announce(None, orjson.dumps([fact]))


class WitnessTwin(Witness):
    """A session that holds an advisory lock for as long as its process lives."""

    def __init__(self, tables: Tables, passage: Passage, session: int, lock_key: int) -> None:
        self._tables = tables
        self._passage = passage
        self._open = session
        self._lock_key = ("key", lock_key)

    def take(self) -> bool:
        """Take the lock; False while an earlier session of the same worker still holds it."""
        self._passage.enter("witness.take")
        self._require_session()
        taken = self._tables.try_lock(self._open, self._lock_key)
        self._passage.leave("witness.take")
        return taken

    def holds(self) -> bool:
        """Whether the lock is still held."""
        self._passage.enter("witness.holds")
        self._require_session()
        held = self._tables.locks.get(self._lock_key) == self._open
        self._passage.leave("witness.holds")
        return held

    def ended(self) -> bool:
        """Whether the server has closed the session."""
        return self._open not in self._tables.sessions

    def close(self) -> None:
        """Let the lock go."""
        self._tables.close_session(self._open)

    def _require_session(self) -> None:
        if self.ended():
            raise UnreachableError("Postgres can't be reached: the server has ended this session.")
