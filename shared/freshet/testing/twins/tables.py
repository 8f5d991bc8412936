"""One simulated Postgres: tables in dictionaries, a clock, sessions and their locks.

Purpose: the state that the storage twins share. Guarantees: rows are immutable, so `transaction` takes back everything
that an exception interrupts; ids only grow, also over a rollback, as sequences do; the clock and all ids come from
outside or from counting, so that a seed replays. Never: a decision, a wait, a clock of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

from freshet.storage.database import DataError
from freshet.storage.engine_rows import TaskRunRow
from freshet.testing.twins.rows import (
    Bundle,
    Effect,
    LogLines,
    Outbox,
    Parked,
    Report,
    Request,
    Run,
    TaskRun,
    Worker,
    WorkItem,
)

#: Of an advisory lock: `key` and one big number, or `partition` and which.
LockKey = tuple[str, int]
Saved = list[tuple[dict[Any, Any], dict[Any, Any]]]


class Tables:
    """The tables of one installation."""

    def __init__(self, clock: Callable[[], datetime], *, installation: str = "TWIN") -> None:
        """`clock` is the database's, UTC; it may jump."""
        self.clock = clock
        self.installation = installation
        self._all: dict[str, dict[Any, Any]] = {}
        self._numbers: dict[str, int] = defaultdict(int)
        self.runs: dict[str, Run] = self.table("run")
        self.requests: dict[int, Request] = self.table("request")
        self.task_runs: dict[int, TaskRun] = self.table("task_run")
        self.items: dict[int, WorkItem] = self.table("work_item")
        self.values: dict[int, Mapping[int, Any]] = self.table("value")  # by source, then by index
        self.bundles: dict[int, Bundle] = self.table("bundle")
        self.reports: dict[int, Report] = self.table("report")
        self.outbox: dict[int, Outbox] = self.table("outbox")
        self.workers: dict[str, Worker] = self.table("worker")
        self.parked: dict[int, Parked] = self.table("parked")
        self.processes: dict[tuple[str, str], datetime] = self.table("process")
        self.documents: dict[tuple[str, int], Mapping[str, Any]] = self.table("workflow_version")
        self.effects: dict[int, Effect] = self.table("effect")
        self.log_lines: dict[int, LogLines] = self.table("attempt_log")
        self.payloads: dict[str, tuple[UUID, bytes]] = self.table("job_payload")  # of jobs by their names
        # Indexes: the TaskRuns of a run in the order of their ids, a TaskRun by its name, a run by its origin.
        self.tasks_of: dict[str, tuple[int, ...]] = self.table("task_run_scope")
        self.task_named: dict[tuple[str, str, str], int] = self.table("task_run_key")
        self.origins: dict[str, str] = self.table("run_origin")
        # Outside every transaction, as in Postgres.
        self.sessions: dict[int, str] = {}  # and whose they are
        self.locks: dict[LockKey, int] = {}  # advisory locks and the sessions that hold them
        self.run_locks: dict[str, int] = {}  # row locks on runs, by sessions
        self.in_transaction = False
        self.narrow = 16  # of a scope with so many tasks, a batch loads all
        self.views: dict[int, tuple[TaskRun, TaskRunRow]] = {}  # rows as the dispatcher last read them

    def table(self, name: str) -> dict[Any, Any]:
        """A table by its name, made at first use: twins of other parts keep theirs here, so that they roll back."""
        return self._all.setdefault(name, {})

    def next_id(self, table: str) -> int:
        """The next number of an identity column, never given again."""
        self._numbers[table] += 1
        return self._numbers[table]

    def dump(self) -> dict[str, Any]:
        """A picture of all rows that can be compared, its ids and times normalised (see `picture`)."""
        from freshet.testing.twins.picture import picture

        return picture(self)

    # --- transactions ----------------------------------------------------------------------------------------------

    def savepoint(self) -> Saved:
        """All tables as they are."""
        return [(table, table.copy()) for table in self._all.values()]

    def restore(self, saved: Saved) -> None:
        """All tables as they were."""
        for table in self._all.values():
            table.clear()
        for table, rows in saved:
            table.update(rows)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What happens within happens as a whole, or not at all. May be nested."""
        saved, outer, self.in_transaction = self.savepoint(), self.in_transaction, True
        try:
            yield
        except BaseException:
            self.restore(saved)
            raise
        finally:
            self.in_transaction = outer

    # --- sessions and their locks ----------------------------------------------------------------------------------

    def open_session(self, owner: str) -> int:
        """A session of a process, for locks that live as long as it."""
        session = self.next_id("session")
        self.sessions[session] = owner
        return session

    def close_session(self, session: int) -> None:
        """End one session: its locks are free."""
        self.sessions.pop(session, None)
        for locks in (self.locks, self.run_locks):
            _release(locks, session)

    def end_session(self, owner: str) -> None:
        """A process has died, or the server has thrown its sessions out: all that it held is free."""
        for session in [each for each, whose in self.sessions.items() if whose == owner]:
            self.close_session(session)

    def end_sessions(self) -> None:
        """The server restarts."""
        for session in list(self.sessions):
            self.close_session(session)

    def try_lock(self, session: int, key: LockKey) -> bool:
        """pg_try_advisory_lock: whether the session holds it now."""
        return self.locks.setdefault(key, session) == session

    # --- small writes that many verbs make -------------------------------------------------------------------------

    def ask(self, run: Run, kind: str) -> None:
        """A row in the dispatcher's inbox."""
        key = self.next_id("request")
        self.requests[key] = Request(key, run.partition, run.id, kind, self.clock())

    def report(self, bundle: Bundle, worker: str | None, since: datetime | None, body: list[dict[str, Any]]) -> Report:
        """What became of a bundle's items."""
        key = self.next_id("report")
        row = Report(
            key, bundle.partition, bundle.run_id, bundle.task_run_id, bundle.id, worker, since, body, self.clock()
        )
        self.reports[key] = row
        return row

    def announce(self, run: str | None, body: bytes) -> tuple[int, bytes]:
        """A committed fact on its way to the recorder."""
        key = self.next_id("outbox")
        self.outbox[key] = Outbox(key, run, body, self.clock())
        return key, body

    def insert_task(self, task: TaskRun) -> TaskRun:
        """A TaskRun under the next id. Raises DataError when it is there already."""
        name = (task.run_id, task.task, task.index_path)
        if name in self.task_named:
            raise DataError('duplicate key value violates unique constraint "task_run_key"')
        task = task._replace(id=self.next_id("task_run"))
        self.task_runs[task.id] = task
        self.task_named[name] = task.id
        self.tasks_of[task.run_id] = (*self.tasks_of.get(task.run_id, ()), task.id)
        return task

    def insert_values(self, source: int, first: int, values: Iterable[Any]) -> None:
        """Rows of a source from an index on. Raises DataError when one is there already."""
        rows, more = self.values.get(source, {}), dict(enumerate(values, first))
        if rows.keys() & more.keys():
            raise DataError('duplicate key value violates unique constraint "value_pkey"')
        if more:
            self.values[source] = {**rows, **more}

    def record_effect(self, bundle: int, claim: UUID, value: Any) -> None:
        """What user code wrote."""
        key = self.next_id("effect")
        self.effects[key] = Effect(key, bundle, claim, value)


def _release(locks: dict[Any, int], session: int) -> None:
    for key in [each for each, holder in locks.items() if holder == session]:
        del locks[key]
