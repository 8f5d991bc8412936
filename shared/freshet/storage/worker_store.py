"""What a worker reads and writes: claims, ends, watches, its own row, logs.

Purpose: one verb for each thing that a worker does to the tables, each one transaction. Guarantees: who has lost a
claim gets ClaimLostError and has changed nothing; a fact that was committed comes back, so that it can be announced.
Never: a decision about retries or the graph, and never the session of user code (that is `freshet.storage.session`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from psycopg.types.json import Jsonb

from freshet.domain.cost import pool_key
from freshet.domain.errors import ClaimLostError, NotFoundError
from freshet.storage.database import Database, Row, Session, translated
from freshet.storage.statements import statement

Fact = tuple[int, bytes]  # an outbox row: id and body, as Bus.announce takes it
Outcome = (
    Mapping[str, Any] | orjson.Fragment
)  # one element of engine.report.body: {"i", "a", "s", "r", "n", "d", "e", …}


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """A bundle in this worker's hands, with all that its items need."""

    claim: UUID
    document: Mapping[str, Any]  # as engine.claim answers it
    fact: Fact

    @property
    def bundle(self) -> int:
        """The bundle's id."""
        return int(self.document["bundle"]["id"])


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerRow:
    """A worker as the tables know it."""

    id: str
    lock_key: int
    hostname: str
    pid: int
    queues: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Times:
    """A worker's totals in seconds since its start; busy + idle = wall."""

    busy_s: float
    idle_s: float
    wall_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class LogPart:
    """Some lines of an attempt's log. `item` is the dotted index path; parts count from 0."""

    item: str
    attempt: int
    number: int
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class JobLog:
    """Whose log a job service writes: that of a watch's attempt, or of one that was stopped. `item` is the dotted
    index path.
    """

    bundle: int | None  # None: there is no watch any more
    job: str
    run_id: UUID
    task: str
    item: str
    attempt: int
    claim: UUID


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptLog:
    """What is kept of a watched job's log: parts, bytes in all, and the end of the text without marks of gaps."""

    parts: int
    size: int
    tail: str


class WorkerStore:
    """The worker's verbs. Safe to share between threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- a bundle's life -------------------------------------------------------------------------------------------

    def claim(self, bundle: int, worker: str, claim: UUID) -> Claimed | None:
        """Take a bundle; None when it is gone, taken, watched or not due yet."""
        row = self._database.row("BundleClaim", {"bundle": bundle, "worker": worker, "claim": claim})
        return claimed_of(row["claim"] if row else None, claim)

    def finish(self, bundle: int, claim: UUID, outcomes: Sequence[Outcome]) -> bool:
        """End the bundle's next items; True when that was the last of it. Raises ClaimLostError."""
        row = self._database.row(
            "BundleFinish", {"bundle": bundle, "claim": claim, "outcomes": Jsonb(list(outcomes), orjson.dumps)}
        )
        return bool(row and row["ended"])

    def progress(self, bundle: int, claim: UUID) -> int | None:
        """How many of the bundle's items are reported; None when the claim is lost or the bundle has ended."""
        row = self._database.row("BundleProgress", {"bundle": bundle, "claim": claim})
        return None if row is None else int(row["done"])

    def release(self, bundle: int, claim: UUID, rest: Sequence[tuple[int, int]], outcome: str = "returned") -> bool:
        """Give back the rest of a bundle, (item, attempt) each: `returned` or `handed_back`."""
        return self.finish(bundle, claim, [{"i": item, "a": attempt, "s": outcome} for item, attempt in rest])

    # --- jobs ------------------------------------------------------------------------------------------------------

    def store_job_name(self, bundle: int, claim: UUID, job: str) -> None:
        """Write down the job's name before it is submitted. Raises ClaimLostError."""
        if not self._database.run("JobNameStore", {"bundle": bundle, "claim": claim, "job": job}):
            raise ClaimLostError

    def store_payload(self, bundle: int, claim: UUID, job: str, payload: bytes) -> UUID:
        """Keep the payload (JSON) of a named job for its containers; the key with which they read it, the same for
        every claim of the attempt. Raises ClaimLostError.
        """
        row = self._database.row("JobPayloadStore", {"bundle": bundle, "claim": claim, "job": job, "body": payload})
        if row is None:
            raise ClaimLostError
        key: UUID = row["key"]
        return key

    def watch(self, bundle: int, claim: UUID) -> Fact:
        """The job was submitted: the claim becomes a watch. Raises ClaimLostError."""
        row = self._database.row("BundleWatch", {"bundle": bundle, "claim": claim})
        if row is None:
            raise ClaimLostError
        return row["watch"]["outbox"], orjson.dumps(row["watch"]["fact"])

    def watched(self, kind: str = "job_service") -> list[Row]:
        """Every watch of a kind: bundle, job name, attempt, where it belongs, seconds since its submit (`waiting_s`),
        and why its job has not started, as it was noted last (`waits_for`).
        """
        return self._database.rows("WatchList", {"kind": kind})

    def note_waits(self, notes: Sequence[tuple[int, str | None]]) -> None:
        """Write down why jobs have not started: (bundle, sentence) of watches; None for one that has."""
        bundles, sentences = [bundle for bundle, _ in notes], [sentence for _, sentence in notes]
        self._database.run("WatchNote", {"bundles": bundles, "sentences": sentences})

    def kept_log(self, where: JobLog, *, window: int, gap: str) -> KeptLog | None:
        """What is kept of a job's log, with at least its last `window` bytes; parts that are a `gap` are left out.

        None: the watch is over, if there was one.
        """
        row = self._database.row("JobLogKept", {**_whose(where), "window": window, "gap": gap})
        return None if row is None else KeptLog(parts=row["parts"], size=row["size"], tail=row["tail"])

    def write_job_log(self, where: JobLog, parts: Sequence[LogPart]) -> bool:
        """Store the next parts of a job's log; False when its watch is over or another has written them."""
        texts = {"numbers": [part.number for part in parts], "texts": [_storable(part.text) for part in parts]}
        name = "EndedLogAdd" if where.bundle is None else "WatchLogAdd"
        row = self._database.row(name, {**_whose(where), "first": parts[0].number, **texts})
        return bool(row and row["added"])

    def stopped(self, where: JobLog) -> tuple[str, int] | None:
        """Workflow and version of an attempt that a cancel or its timeout has ended; None of any other one."""
        row = self._database.row("JobStopped", _whose(where))
        return None if row is None else (row["workflow"], row["version"])

    def job_owners(self, runs: Sequence[UUID], kind: str = "job_service") -> list[Row]:
        """The attempts of a kind in these runs that are not over: where each belongs, item and attempt."""
        return self._database.rows("JobOwnerList", {"runs": list(runs), "kind": kind})

    def finish_job(self, bundle: int, job: str, outcomes: Sequence[Outcome]) -> bool:
        """End a watch; False when somebody else has."""
        row = self._database.row(
            "JobFinish", {"bundle": bundle, "job": job, "outcomes": Jsonb(list(outcomes), orjson.dumps)}
        )
        return bool(row and row["ended"])

    def store_pool(self, pool: str, family: str) -> None:
        """Write down which instance family the nodes of a compute pool are of."""
        self._database.run("PoolStore", {"pool": pool_key(pool), "family": family})

    def installation(self) -> str:
        """The installation's short name, part of every job's name."""
        row = self._database.row("InstallationRead")
        if row is None:
            raise NotFoundError("This database has no installation: run `freshet migrate`.")
        return str(row["id"])

    # --- the worker itself -----------------------------------------------------------------------------------------

    def register(self, worker: WorkerRow, times: Times) -> tuple[str, Fact]:
        """Write the worker's row, available, with its totals as of now; when it started (ISO 8601, UTC) and the fact
        to announce.
        """
        row = self._database.row(
            "WorkerRegister",
            {
                "id": worker.id,
                "lock_key": worker.lock_key,
                "hostname": worker.hostname,
                "pid": worker.pid,
                "queues": list(worker.queues),
                "busy_s": times.busy_s,
                "idle_s": times.idle_s,
                "wall_s": times.wall_s,
            },
        )
        assert row is not None  # the statement returns what it has written
        return row["started_at"], (row["outbox"], orjson.dumps(row["fact"]))

    def report_times(self, worker: str, state: str, times: Times, *, event: str) -> Fact | None:
        """Store totals and state; `event` is `busy` for a time report, else the new state. None: no such row."""
        row = self._database.row(
            "WorkerReport",
            {
                "id": worker,
                "state": state,
                "event": event,
                "busy_s": times.busy_s,
                "idle_s": times.idle_s,
                "wall_s": times.wall_s,
            },
        )
        return None if row is None else (row["outbox"], orjson.dumps(row["fact"]))

    def declare(self, processes: Sequence[tuple[str, str]]) -> None:
        """Write down which processes (name, version) this worker serves."""
        names, versions = [name for name, _ in processes], [version for _, version in processes]
        self._database.run("ProcessDeclare", {"names": names, "versions": versions})

    def witness(self, lock_key: int) -> Witness:
        """Open the session whose advisory lock says that this worker lives. Raises UnreachableError."""
        return Witness(self._database.dedicated(), lock_key)

    # --- reads -----------------------------------------------------------------------------------------------------

    def document(self, workflow: str, version: int) -> Mapping[str, Any]:
        """The stored definition of a workflow's version. Raises NotFoundError."""
        row = self._database.row("DefinitionRead", {"workflow": workflow, "version": version})
        if row is None:
            raise NotFoundError(f"Workflow {workflow} has no version {version}.")
        document: Mapping[str, Any] = row["document"]
        return document

    def page(self, kind: str, source: int, first: int, count: int) -> dict[int, Any]:
        """Values `first` to `first + count - 1` by index: `items` of a TaskRun, or yielded `rows` of an item."""
        name = "ItemPage" if kind == "items" else "ValuePage"
        rows = self._database.rows(name, {"source": source, "first": first, "count": count})
        return {row["idx"]: row["value"] for row in rows}

    def parents(self, run_id: UUID, scope: str, paths: Sequence[str]) -> dict[str, Any]:
        """What tasks of one scope have come to, in the form of a claim's `parents`."""
        row = self._database.row("ParentRead", {"run": run_id, "scope": scope, "paths": list(paths)})
        return row["parents"] if row else {}

    # --- logs ------------------------------------------------------------------------------------------------------

    def write_logs(self, run_id: UUID, task: str, claim: UUID, parts: Sequence[LogPart]) -> None:
        """Store parts of the logs of attempts of one bundle."""
        self._database.run(
            "AttemptLogAdd",
            {
                "run_id": run_id,
                "task": task,
                "claim": claim,
                "items": [part.item for part in parts],
                "attempts": [part.attempt for part in parts],
                "numbers": [part.number for part in parts],
                "texts": [_storable(part.text) for part in parts],
            },
        )


def claimed_of(document: dict[str, Any] | None, claim: UUID) -> Claimed | None:
    """What engine.claim answered."""
    if document is None:
        return None
    fact = (document["outbox"], orjson.dumps(document.pop("fact")))
    return Claimed(claim=claim, document=document, fact=fact)


def _storable(text: str) -> str:
    """Postgres has no text with NUL in it."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _whose(where: JobLog) -> dict[str, Any]:
    return {name: getattr(where, name) for name in ("bundle", "job", "run_id", "task", "item", "attempt", "claim")}


class Witness:
    """A session that holds an advisory lock for as long as its process lives. For one thread."""

    def __init__(self, session: Session, lock_key: int) -> None:
        self._session = session
        self._key = {"lock_key": lock_key}

    def take(self) -> bool:
        """Take the lock; False while an earlier session of the same worker still holds it. Raises UnreachableError."""
        return self._answer("WitnessLock")

    def holds(self) -> bool:
        """Whether the lock is still held. Raises UnreachableError when the session has ended."""
        return self._answer("WitnessCheck")

    def ended(self) -> bool:
        """Whether the server has closed the session, found without a round trip."""
        try:
            with translated():
                self._session.pgconn.consume_input()
        except Exception:  # noqa: BLE001  (whatever it is: the session serves no more)
            return True
        return self._session.broken

    def close(self) -> None:
        """Let the lock go."""
        self._session.close()

    def _answer(self, name: str) -> bool:
        with translated():
            row = self._session.execute(statement(name), self._key).fetchone()
        return bool(row and row["held"])
