"""What the tables and files hold when all is over, as rows that the checker reads.

Purpose: one dataclass per sort of row, and the statements that fetch them. Guarantees: read in one snapshot. Never: a
judgement (that is `checker`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg.rows import class_row
from tests.chaos.workload import Asked

INDEX = (1 << 24) - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """engine.run, and what log.run says of it."""

    id: str
    workflow: str
    state: str
    origin: str | None = None
    scheduled_for: datetime | None = None
    cancelled: bool = False  # somebody has asked for it
    logged: Sequence[str] = ()  # states of its rows in log.run


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskRun:
    """engine.task_run, and what log.task says of it."""

    id: int
    run: str
    task: str
    kind: str
    state: str
    index_path: str = ""
    total: int | None = 1
    succeeded: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0
    attempts: int = 0
    mapped: bool = False
    copied: bool = False
    result: int | None = None  # of a plain task that answers a number
    logged: Sequence[str] = ()  # states of its rows in log.task


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """engine.work_item."""

    id: int
    state: str
    attempt: int = 1
    error_class: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """What a process has written. `id` grows with time."""

    id: int
    run: str
    task: str
    item: str
    attempt: int = 1
    seen: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """A line that a job has written."""

    run: str
    task: str
    item: str
    attempt: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedAttempt:
    """log.attempt."""

    run: str
    task: str
    item: str
    attempt: int
    state: str
    final: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerTime:
    """log.worker_time; `at` in seconds of the database's clock."""

    worker: str
    at: float
    busy_s: float
    idle_s: float
    wall_s: float


@dataclass(kw_only=True, slots=True)
class History:
    """Everything."""

    runs: Sequence[Run] = ()
    task_runs: Sequence[TaskRun] = ()
    items: Sequence[Item] = ()
    effects: Sequence[Effect] = ()
    launches: Sequence[Launch] = ()
    scripts: Sequence[tuple[str, str]] = ()  # run and index, one for each time that a script ran
    attempts: Sequence[LoggedAttempt] = ()
    times: Sequence[WorkerTime] = ()
    asked: Sequence[Asked] = ()
    left: dict[str, int] = field(default_factory=dict)  # rows of the engine's inboxes and outboxes
    tick_s: float = 2.0


_RUNS = """
select r.id::text, r.workflow, r.state, r.origin, r.scheduled_for,
    r.cancel_requested_at is not null as cancelled,
    array(select l.state from log.run l where l.run_id = r.id) as logged
from engine.run r
"""
_TASK_RUNS = """
select t.id, t.run_id::text as run, t.task, t.kind, t.state, t.index_path, t.total, t.succeeded, t.failed, t.skipped,
    t.cancelled, t.attempts, t.source_kind is not null as mapped, t.copied_from is not null as copied,
    case when t.source_kind is null and jsonb_typeof(w.result) = 'number' then (w.result #>> '{}')::int end as result,
    coalesce(l.states, '{}') as logged
from engine.task_run t
left join engine.work_item w on w.id = t.id << 24 and t.source_kind is null
left join (
    select run_id, task, index_path, array_agg(state) as states from log.task group by 1, 2, 3
) l on l.run_id = t.run_id and l.task = t.task and l.index_path = t.index_path
"""
_ITEMS = "select id, state, attempt, error ->> 'class' as error_class from engine.work_item"
_EFFECTS = "select id, run_id::text as run, task, item, attempt, seen from chaos_effect order by id"
_ATTEMPTS = "select run_id::text as run, task, item, attempt, state, final from log.attempt"
_TIMES = """
select worker, extract(epoch from at)::double precision as at, busy_s, idle_s, wall_s from log.worker_time
order by worker, at
"""
_INBOXES = ("bundle", "report", "request", "outbox", "parked")

Row = TypeVar("Row")


def read(url: str, effects: Path, asked: Sequence[Asked], *, tick_s: float) -> History:
    """Read it all."""
    with psycopg.connect(url) as session:
        session.execute("set transaction isolation level repeatable read, read only")

        def rows(kind: type[Row], statement: str) -> list[Row]:
            return session.cursor(row_factory=class_row(kind)).execute(statement.encode()).fetchall()

        return History(
            runs=rows(Run, _RUNS),
            task_runs=rows(TaskRun, _TASK_RUNS),
            items=rows(Item, _ITEMS),
            effects=rows(Effect, _EFFECTS),
            attempts=rows(LoggedAttempt, _ATTEMPTS),
            times=rows(WorkerTime, _TIMES),
            launches=[_launch(words) for words in _lines(effects / "launches")],
            scripts=[(run, index) for run, index in _lines(effects / "scripts")],
            asked=asked,
            left={name: _count(session, name) for name in _INBOXES},
            tick_s=tick_s,
        )


def _count(session: psycopg.Connection[Any], table: str) -> int:
    found = session.execute(f"select count(*) from engine.{table}".encode()).fetchone()
    assert found is not None
    return int(found[0])


def _launch(words: Sequence[str]) -> Launch:
    run, task, item, attempt = words
    return Launch(run=run, task=task, item=item, attempt=int(attempt))


def _lines(path: Path) -> Iterable[list[str]]:
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []
