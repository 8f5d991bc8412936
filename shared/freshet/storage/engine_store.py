"""The dispatcher's verbs. Each is one transaction.

Purpose: fold a batch, publish a backlog, serve what is due, take back what is lost. Guarantees: state, effects and
facts of a batch commit together or not at all; a bundle that is ended here leaves a report in the same transaction;
sessions bound their lock waits and idle transactions, so that a frozen dispatcher stalls nobody for long. Never: a
decision; it stores what the core answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from psycopg.types.json import Jsonb

from freshet.storage.database import Database, Row, Session
from freshet.storage.engine_rows import OutcomeRow, Overview, Put, RunRow, Taken, TaskRunRow, read
from freshet.storage.statements import statement
from freshet.storage.worker_store import Claimed, claimed_of

#: libpq options of every dispatcher session.
OPTIONS = "-c lock_timeout=1s -c idle_in_transaction_session_timeout=3s"


class EngineBatch:
    """One open transaction of a fold: takes, expands, puts."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def take(self, partitions: Sequence[int], *, limit: int, runs: Sequence[str] | None = None) -> Taken | None:
        """Lock runs, fold their reports, load what a decision needs; None when the inbox is empty."""
        taken = self._value("TakeInbox", partitions=list(partitions), limit=limit, runs=_list(runs))
        return None if taken is None else _taken(taken)

    def finish_and_take(
        self, bundle: Mapping[str, Any], claim: UUID, outcomes: Sequence[orjson.Fragment]
    ) -> Taken | None:
        """End a claimed bundle (as `engine.claim` describes it) with its outcomes, if they are not committed yet, and
        take its run, if it is free. Raises ClaimLostError.
        """
        body = Jsonb(list(outcomes), orjson.dumps) if outcomes else None
        where = {"bundle": bundle["id"], "partition": bundle["partition"], "run": bundle["run_id"]}
        taken = self._value("FinishAndTake", claim=claim, outcomes=body, **where)
        return None if taken is None else _taken(taken)

    def open_scope(self, rows: Sequence[Mapping[str, Any]]) -> list[TaskRunRow]:
        """Make pending TaskRuns: `{run_id, scope, index_path, task, kind, parents, children}` each."""
        return _nodes(self._value("OpenScope", rows=Jsonb(rows)))

    def copy_tasks(self, run: str, old: str, again: Sequence[str]) -> list[TaskRunRow]:
        """Copy what a rerun does not run again; the copies of the run's own scope."""
        return _nodes(self._value("CopyTasks", run=run, old=old, again=list(again)))

    def open_elements(
        self, task_run: int, *, first: int, count: int, tasks: Sequence[Mapping[str, Any]]
    ) -> list[TaskRunRow]:
        """Open elements of a nested map: `{task, kind, parents, children}` for each inner task."""
        return _nodes(self._value("OpenElements", task_run=task_run, first=first, count=count, tasks=Jsonb(tasks)))

    def tasks_and_parents(self, run: str, index_path: str, tasks: Sequence[str]) -> list[TaskRunRow]:
        """Tasks of one scope, by their paths, with all their parents."""
        return _nodes(self._value("TasksAndParents", run=run, index_path=index_path, tasks=list(tasks)))

    def scope_at_rest(
        self, run: str, scope: int | None, *, known: Sequence[int], spared: Sequence[str]
    ) -> list[TaskRunRow]:
        """All of a scope, if nothing in it goes on but what is known and what is spared; else none."""
        rows = self._value("ScopeAtRest", run=run, scope=scope, known=list(known), spared=list(spared))
        return _nodes(rows or [])

    def expand_result(
        self, task_run: int, *, run: str, task: str, index_path: str, fields: Sequence[str]
    ) -> Mapping[str, Any]:
        """Make a map's width known from a task's result: `{total, source_kind}`, or `{got, value}` if it can't."""
        expanded: Mapping[str, Any] = self._value(
            "ExpandResult", task_run=task_run, run=run, task=task, index_path=index_path, fields=list(fields)
        )
        return expanded

    def expand_value(self, task_run: int, value: Any) -> Mapping[str, Any]:
        """The same from a value in hand."""
        expanded: Mapping[str, Any] = self._value("ExpandValue", task_run=task_run, value=Jsonb(value))
        return expanded

    def result_of(self, run: str, task: str, index_path: str) -> Any:
        """A plain task's result, None when it has none."""
        return self._value("ResultOf", run=run, task=task, index_path=index_path)

    def element_value(self, item: int) -> Any:
        """The value of an element or an item."""
        return self._value("ElementValue", item=item)

    def cancel_bundles(self, run: str, *, spared: Sequence[str]) -> list[tuple[str | None, int]]:
        """End all that a run has in flight but for the spared tasks; (worker, bundle) of each."""
        rows = self._session.execute(statement("CancelBundles"), {"run": run, "spared": list(spared)}).fetchall()
        return [(row["worker"], row["bundle_id"]) for row in rows]

    def put(self, decision: Mapping[str, Sequence[Mapping[str, Any]]], *, now: str) -> Put:
        """Write a decision (see functions/engine_put.sql for its shape)."""
        filled = {name: rows for name, rows in decision.items() if rows}
        if not filled:
            return Put()
        return _put(self._value("PutDecision", decision=Jsonb(filled), now=now))

    def put_and_claim(
        self,
        decision: Mapping[str, Sequence[Mapping[str, Any]]],
        *,
        now: str,
        queues: Sequence[str],
        worker: str,
        claim: UUID,
    ) -> tuple[Put, Claimed | None]:
        """Write a decision, and claim the first of its published bundles that is for one of the queues."""
        filled = {name: rows for name, rows in decision.items() if rows}
        if not filled:
            return Put(), None
        answer = self._value(
            "PutAndClaim", decision=Jsonb(filled), now=now, queues=list(queues), worker=worker, claim=claim
        )
        return _put(answer["done"]), claimed_of(answer["claim"], claim)

    def _value(self, name: str, **parameters: Any) -> Any:
        row = self._session.execute(statement(name), parameters).fetchone()
        return None if row is None else next(iter(row.values()))


class EngineStore:
    """What a dispatcher does to the tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def batch(self) -> Iterator[EngineBatch]:
        """One transaction of a fold. Raises DataError for a bad row, UnreachableError for everything that may pass."""
        with self._database.transaction() as session:
            yield EngineBatch(session)

    def runs_in_inbox(self, partitions: Sequence[int], *, limit: int) -> list[str]:
        """Ids of the runs that wait in the inbox, oldest first: for halving a batch that failed."""
        rows = self._database.rows("RunsInInbox", {"partitions": list(partitions), "limit": limit})
        return [str(row["run_id"]) for row in rows]

    def park(self, run: str, error: str, fact: Mapping[str, Any]) -> list[tuple[int, bytes]]:
        """End a run that can't be decided as failed, class internal. `fact` is completed and announced."""
        with self._database.transaction() as session:
            row = session.execute(statement("ParkRun"), {"run": run, "error": error}).fetchone()
            if row is None:
                return []
            told = _texts(row)
            body = [{**fact, **told, "run_id": told.pop("id"), "at": told["finished_at"]}]
            announced = session.execute(statement("AnnounceFact"), {"run": run, "body": Jsonb(body)}).fetchone()
        return _announced([[announced["id"], orjson.dumps(body)]]) if announced else []

    def overview(self, partitions: Sequence[int]) -> Overview:
        """What waits, and until when: the only statement of an idle dispatcher."""
        row = self._database.row("Overview", {"partitions": list(partitions)}) or {}
        now = row["now"]
        return Overview(
            due_in=_seconds(row["next_due"], now),
            expiry_in=_seconds(row["next_expiry"], now),
            claimed=row["claimed"],
            own_age=_age(row["oldest_report"], now),
            age=_age(row["oldest"], now),
            backlog=row["backlog"],
            published=row["published"],
        )

    def release_due(self, *, limit: int) -> list[str]:
        """Bundles whose delay is over join the backlog; their queues, one entry for each."""
        return [row["queue"] for row in self._database.rows("ReleaseDue", {"limit": limit})]

    def publish_backlog(self, queue: str, *, room: int) -> list[tuple[int, int, int]]:
        """Mark the next bundles of a queue as published: (priority, turn of the run, id), in this order."""
        rows = self._database.rows("PublishBacklog", {"queue": queue, "room": room})
        return sorted((row["priority"], row["turn"], row["id"]) for row in rows)

    def publish_limited(
        self, queue: str, *, room: int, limits: Mapping[str, int]
    ) -> tuple[list[tuple[int, int, int]], bool]:
        """As `publish_backlog`, but no pool of `limits` gets more bundles than it has places (`limit_key` names the
        pool; a bundle has its place from the publication to its end). And whether some still wait for a place.
        """
        parameters = {"queue": queue, "room": room, "keys": list(limits), "limits": list(limits.values())}
        rows = self._database.rows("PublishLimited", parameters)
        wanted = self._database.row("PlaceWanted", {"queue": queue, "keys": list(limits)})
        return sorted((row["priority"], row["turn"], row["id"]) for row in rows), bool(wanted and wanted["wanted"])

    def unpublish_all(self) -> int:
        """After a flush: every bundle that nobody holds joins the backlog again; how many."""
        return self._database.run("UnpublishAll")

    def published_before(self, queue: str, *, age: float, limit: int) -> list[int]:
        """Bundles published more than `age` seconds ago that nobody has claimed."""
        parameters = {"queue": queue, "age": age, "limit": limit}
        return [row["id"] for row in self._database.rows("PublishedBundles", parameters)]

    def unpublish(self, bundles: Sequence[int]) -> int:
        """Bundles whose message is lost join the backlog again; how many."""
        return self._database.run("UnpublishBundles", {"ids": list(bundles)})

    def expire_bundles(self, *, limit: int) -> list[tuple[int, str | None, int]]:
        """End claims that are past their deadline: (partition, worker, bundle) of each."""
        rows = self._database.rows("ExpireBundles", {"limit": limit})
        return [(row["partition"], row["worker"], row["bundle_id"]) for row in rows]

    def claimed_workers(self) -> list[str]:
        """Workers that hold bundles now."""
        return [row["id"] for row in self._database.rows("ClaimedWorkers")]

    def witnessed(self, workers: Sequence[str]) -> set[str]:
        """Of these workers, those whose Postgres session still holds their advisory lock."""
        return {row["id"] for row in self._database.rows("WitnessedWorkers", {"workers": list(workers)})}

    def release_workers(self, workers: Sequence[str]) -> list[int]:
        """Take back what dead workers hold; the partitions that now have reports to fold."""
        return [row["partition"] for row in self._database.rows("ReleaseWorkers", {"workers": list(workers)})]


class PartitionLocks:
    """Session locks on partitions: a preference for who works where, held on a session of its own."""

    CLASS = 7235

    def __init__(self, database: Database) -> None:
        self._database = database
        self._session: Session | None = None
        self.held: frozenset[int] = frozenset()

    def take(self, partitions: Sequence[int], *, wanted: int) -> frozenset[int]:
        """Try to lock as many of these partitions as are wanted, never waiting; all that are held now."""
        if self._session is None or self._session.closed:
            self._session, self.held = self._database.dedicated(), frozenset()
        rows = self._run("TakePartitions", sorted(set(partitions) - self.held), wanted=wanted)
        self.held |= {row["partition"] for row in rows}
        return self.held

    def release(self, partitions: Sequence[int]) -> None:
        """Give partitions up to another dispatcher."""
        if self._session is not None:
            self._run("ReleasePartitions", sorted(set(partitions) & self.held))
        self.held -= set(partitions)

    def close(self) -> None:
        """Give all up."""
        session, self._session, self.held = self._session, None, frozenset()
        if session is not None:
            session.close()

    def check(self) -> None:
        """Notice that the session, and with it every lock, is gone; costs no statement."""
        if self._session is not None and not self._database.alive(self._session):
            self.close()

    def _run(self, name: str, partitions: Sequence[int], **more: int) -> list[Row]:
        if not partitions or self._session is None:
            return []
        with self._database.using(self._session) as session:
            parameters = {"class": self.CLASS, "partitions": list(partitions), **more}
            return session.execute(statement(name), parameters).fetchall()


def _taken(taken: Mapping[str, Any]) -> Taken:
    return Taken(
        now=taken["now"],
        waited=taken["waited"],
        requests=[(request["run_id"], request["kind"]) for request in taken["requests"]],
        outcomes=[read(OutcomeRow, row) for row in taken["outcomes"]],
        announced=_announced(taken["announced"]),
        full=taken["full"],
        runs=[read(RunRow, row) for row in taken["runs"]],
        nodes=_nodes(taken["nodes"]),
    )


def _put(done: Mapping[str, Any]) -> Put:
    return Put(
        bundles=[(bundle, queue) for bundle, queue in done["bundles"]],
        announced=_announced(done["announced"]),
        released=done["released"],
    )


def _nodes(rows: Sequence[Mapping[str, Any]]) -> list[TaskRunRow]:
    return [read(TaskRunRow, row) for row in rows]


def _announced(rows: Sequence[Sequence[Any]]) -> list[tuple[int, bytes]]:
    return [(outbox, body if isinstance(body, bytes) else body.encode()) for outbox, body in rows]


def _list(values: Sequence[str] | None) -> list[str] | None:
    return None if values is None else list(values)


def _seconds(moment: datetime | None, now: datetime) -> float | None:
    return None if moment is None else (moment - now).total_seconds()


def _age(moment: datetime | None, now: datetime) -> float | None:
    return None if moment is None else (now - moment).total_seconds()


def _texts(row: Row) -> dict[str, Any]:
    """Times and ids as the facts write them."""
    return {
        name: value if value is None or isinstance(value, int | dict) else _text(value) for name, value in row.items()
    }


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
