"""Facts into rows of the twin's log, by the rules of `storage/sql/record.sql`.

Purpose: pure functions from one outbox row to what the recorder writes of it. Guarantees: what a column's type or
check would refuse raises DataError before anything is written. Never: a write.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from freshet.storage.database import DataError
from freshet.testing.twins.log_rows import LogAttempt, LogEvent, LogRun, LogTask, LogWorkerTime
from freshet.testing.twins.rows import Outbox
from freshet.testing.twins.texts import jsonb_text

ENDED = frozenset({"succeeded", "failed", "skipped", "cancelled"})  # of runs and TaskRuns
TRIED = frozenset({"succeeded", "failed", "expired", "retrying"})  # an attempt ended so
STOPPED = frozenset({"cancelled", "skipped"})  # an attempt ended so if one had begun
RUN_STATES = ENDED | {"pending", "running"}
LARGEST_INT = 2**31

Body = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """One fact of an outbox row."""

    body: Body
    noun: str
    state: str
    run_id: str | None
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One item of a fact."""

    fact: Fact
    mapped: bool
    claimed: datetime | None
    queued: datetime | None
    index: int | None
    attempt: int | None
    seconds: float | None
    error: Any


@dataclass(kw_only=True, slots=True)
class Projected:
    """What outbox rows become."""

    facts: int = 0
    items: int = 0
    events: list[LogEvent] = field(default_factory=list)
    attempts: list[LogAttempt] = field(default_factory=list)
    tasks: list[LogTask] = field(default_factory=list)
    runs: list[LogRun] = field(default_factory=list)
    times: list[LogWorkerTime] = field(default_factory=list)

    def take(self, row: Outbox) -> None:
        """Add an outbox row's facts. Raises DataError."""
        for position, body in enumerate(orjson.loads(row.body), start=1):
            fact = _fact(row, body)
            self.events.append(_event(row, position, fact))
            self.facts += 1
            if fact.noun == "item":
                items = _items(fact)
                self.items += len(items)
                self.attempts += (_attempt(item) for item in items if _left_an_attempt(item))
            elif fact.noun == "task" and fact.state in ENDED:
                self.tasks.append(_task(fact))
            elif fact.noun == "run":
                self.runs.append(_run(fact))
            elif fact.noun == "worker":
                self.times.append(_worker_time(fact))


def _fact(row: Outbox, body: Body) -> Fact:
    _, noun, state = (*_required(body, "type", 1 << 20).split("."), "", "", "")[:3]
    run_id = _uuid(body.get("run_id"))
    return Fact(
        body=body,
        noun=noun,
        state=state,
        run_id=row.run_id if run_id is None else run_id,
        at=_time(body.get("at")) or row.created_at,
    )


def _event(row: Outbox, position: int, fact: Fact) -> LogEvent:
    return LogEvent(
        outbox_id=row.id,
        position=position,
        id="/".join(str(part) for part in _key(fact) if part is not None),
        type=str(fact.body["type"]),
        run_id=fact.run_id,
        at=fact.at,
        body=dict(fact.body),
    )


def _key(fact: Fact) -> tuple[object, ...]:
    body = fact.body
    if fact.noun == "run":
        return fact.run_id, fact.state
    if fact.noun == "worker":
        return body.get("worker"), fact.state, body.get("at")
    items = body.get("items")
    first = items[0][:2] if isinstance(items, list) and items else (None, None)
    return fact.run_id, body.get("task"), body.get("index_path") or "", *first, body.get("claim"), fact.state


def _items(fact: Fact) -> list[Item]:
    items = fact.body.get("items", [])
    if not isinstance(items, list):
        raise DataError("cannot extract elements from a scalar or an object")
    mapped = _bool(fact.body.get("mapped"))
    claimed, queued = _time(fact.body.get("claimed_at")), _time(fact.body.get("queued_at"))
    padded = ((*entry, None, None, None, None)[:4] for entry in items)
    return [
        Item(
            fact=fact,
            mapped=mapped,
            claimed=claimed,
            queued=queued,
            index=_int(index),
            attempt=_int(attempt),
            seconds=_float(seconds),
            error=error,
        )
        for index, attempt, seconds, error in padded
    ]


def _left_an_attempt(item: Item) -> bool:
    state = item.fact.state
    if state in STOPPED:
        return any(value is not None for value in (item.fact.body.get("worker"), item.claimed, item.seconds))
    return state in TRIED


def _attempt(item: Item) -> LogAttempt:
    fact, body = item.fact, item.fact.body
    path, claimed, queued = _bounded(body, "index_path"), item.claimed, item.queued
    seconds, error = item.seconds, item.error
    return LogAttempt(
        run_id=_present(fact.run_id),
        workflow=_required(body, "workflow", 1 << 20),
        task=_required(body, "task"),
        index_path=path,
        item=path if not item.mapped else f"{path}.{_present(item.index)}".removeprefix("."),
        mapped=item.mapped,
        kind=_required(body, "kind"),
        attempt=_present(item.attempt),
        state="failed" if fact.state == "retrying" else fact.state,
        final=fact.state != "retrying",
        worker=_text(body.get("worker")),
        claim=_text(body.get("claim")),
        started_at=claimed or (None if seconds is None else fact.at - timedelta(seconds=seconds)),
        finished_at=fact.at,
        duration_s=seconds,
        queue_wait_s=(claimed - queued).total_seconds() if claimed and queued else None,
        error_class=None if error is None else _inside(error, "class") or "_OTHER",
        error=_message(error),
        at=fact.at,
    )


def _task(fact: Fact) -> LogTask:
    body = fact.body
    counts = {
        name: _int(body.get(name)) or 0 for name in ("total", "succeeded", "failed", "skipped", "cancelled", "attempts")
    }
    return LogTask(
        run_id=_present(fact.run_id),
        task=_required(body, "task"),
        index_path=_bounded(body, "index_path"),
        kind=_required(body, "kind"),
        state=fact.state,
        **counts,
        started_at=_time(body.get("started_at")),
        finished_at=_time(body.get("finished_at")) or fact.at,
        result=body.get("result"),
        error_class=_inside(body.get("error"), "class"),
        error=_message(body.get("error")),
        at=fact.at,
    )


def _run(fact: Fact) -> LogRun:
    body = fact.body
    if fact.state not in RUN_STATES:
        raise DataError("new row for relation log.run violates check constraint run_state_check")
    return LogRun(
        run_id=_present(fact.run_id),
        created_at=_time(body.get("created_at")) or fact.at,
        group_id=_uuid(body.get("group_id")) or _present(fact.run_id),
        rerun_of=_uuid(body.get("rerun_of")),
        workflow=_required(body, "workflow", 1 << 20),
        version=_int(body.get("version")),
        root_task_name=_text(body.get("root_task_name")),
        trigger=_text(body.get("trigger")),
        state=fact.state,
        scheduled_for=_time(body.get("scheduled_for")),
        started_at=_time(body.get("started_at")),
        finished_at=(_time(body.get("finished_at")) or fact.at) if fact.state in ENDED else None,
        error_class=_inside(body.get("error"), "class"),
        error=_message(body.get("error")),
        traceparent=_text(body.get("traceparent")),
        at=fact.at,
    )


def _worker_time(fact: Fact) -> LogWorkerTime:
    totals = {name: _float(fact.body.get(name)) or 0.0 for name in ("busy_s", "idle_s", "wall_s")}
    return LogWorkerTime(worker=_required(fact.body, "worker", 512), at=fact.at, state=fact.state, **totals)


def furthest(runs: list[LogRun]) -> Iterator[LogRun]:
    """Of each run the furthest of its rows, in the order in which everybody writes them."""
    best: dict[tuple[str, datetime], LogRun] = {}
    for run in runs:
        key = run.run_id, run.created_at
        if key not in best or _rank(run) > _rank(best[key]):
            best[key] = run
    return (best[key] for key in sorted(best))


def _rank(run: LogRun) -> tuple[bool, bool]:
    return run.finished_at is not None, run.state == "running"


# --- what a column takes --------------------------------------------------------------------------------------------


def _present(value: Any) -> Any:
    if value is None:
        raise DataError("null value violates not-null constraint")
    return value


def _required(body: Body, name: str, longest: int = 1024) -> str:
    text: str = _present(_text(body.get(name)))
    if len(text.encode()) > longest:
        raise DataError(f"new row violates check constraint {name}_check")
    return text


def _bounded(body: Body, name: str) -> str:
    return "" if body.get(name) is None else _required(body, name, 512)


def _bool(value: Any) -> bool:
    if not isinstance(value, bool | None):
        raise DataError(f"invalid input syntax for type boolean: {value!r}")
    return bool(value)


def _int(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool | float | list | dict) or not str(value).lstrip("-").isdigit():
        raise DataError(f"invalid input syntax for type integer: {value!r}")
    if not -LARGEST_INT <= int(value) < LARGEST_INT:
        raise DataError(f"value {value!r} is out of range for type integer")
    return int(value)


def _float(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"invalid input syntax for type double precision: {value!r}") from error


def _uuid(value: Any) -> str | None:
    try:
        return None if value is None else str(UUID(value))
    except (AttributeError, ValueError) as error:
        raise DataError(f"invalid input syntax for type uuid: {value!r}") from error


def _time(value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"invalid input syntax for type timestamp with time zone: {value!r}") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def _inside(error: Any, name: str) -> str | None:
    return _text(error.get(name)) if isinstance(error, dict) else None


def _message(error: Any) -> str | None:
    told = _inside(error, "message")
    return _text(error) if told is None else told


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else jsonb_text(value)
