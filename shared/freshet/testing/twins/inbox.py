"""The first half of a batch: engine.take over dictionaries.

Purpose: which runs the inbox names, and what became of their reports. Guarantees: a success moves its item once, by
its attempt, and is counted with what came back; everything else goes to the core. Never: a lock (the batch holds them).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

import orjson

from freshet.storage.engine_rows import OutcomeRow, RunRow, TaskRunRow
from freshet.testing.twins import checks
from freshet.testing.twins.rows import INDEX_MASK, Report, Request, Run, TaskRun
from freshet.testing.twins.tables import Tables
from freshet.testing.twins.texts import time_text

Fact = tuple[int, bytes]


class Inbox(NamedTuple):
    """What waits for a dispatcher: its oldest reports and requests."""

    reports: Sequence[Report]
    requests: Sequence[Request]
    full: bool

    @property
    def runs(self) -> set[str]:
        """Whom they are about."""
        return {row.run_id for row in self.reports} | {row.run_id for row in self.requests}

    def waited(self, now: datetime) -> float | None:
        """Seconds since the oldest report."""
        return (now - min(row.created_at for row in self.reports)).total_seconds() if self.reports else None


class Folded(NamedTuple):
    """What the reports came to."""

    outcomes: list[OutcomeRow]
    announced: list[Fact]
    touched: set[int]


class Moved(NamedTuple):
    """An item that succeeded."""

    report: Report
    item: int
    attempt: int
    seconds: float | None


def read_inbox(tables: Tables, partitions: Iterable[int], limit: int, runs: Sequence[str] | None) -> Inbox:
    """The oldest rows of these partitions, of these runs if some are named."""
    ours, named = frozenset(partitions), None if runs is None else frozenset(runs)
    reports = _first(tables.reports.values(), ours, limit, named)
    requests = _first(tables.requests.values(), ours, limit, named)
    return Inbox(reports, requests, limit in {len(reports), len(requests)})


def take_requests(tables: Tables, requests: Iterable[Request], locked: frozenset[str]) -> list[tuple[str, str]]:
    """Delete the requests of locked runs: run and kind of each that was still there."""
    ours = (row for row in requests if row.run_id in locked)
    return [(row.run_id, row.kind) for row in ours if tables.requests.pop(row.id, None) is not None]


def fold(tables: Tables, reports: Iterable[Report], locked: frozenset[str], now: datetime) -> Folded:
    """Delete the reports of locked runs, move what succeeded, count what came back."""
    ours = (row for row in reports if row.run_id in locked)
    gone = [row for row in ours if tables.reports.pop(row.id, None) is not None]
    # What did not succeed is looked up before anything moves: SQL reads both in one statement, so of one moment.
    told: dict[tuple[int, int], OutcomeRow] = {}
    for report in gone:
        for row in _outcomes(tables, report):
            told.setdefault((row.item, row.attempt), row)
    moved = [each for report in gone for each in _move(tables, report, now)]
    _count(tables, moved)
    announced = _tell(tables, moved, now)
    return Folded(list(told.values()), announced, {row.task_run_id for row in gone if row.body})


def run_row(run: Run) -> RunRow:
    """As the dispatcher reads it."""
    return RunRow(
        id=run.id,
        workflow=run.workflow,
        version=run.version,
        state=run.state,
        trigger=run.trigger,
        params=run.params,
        scheduled_for=time_text(run.scheduled_for),
        rerun_of=run.rerun_of,
        rerun_tasks=run.rerun_tasks,
        group_id=run.group_id,
        priority=run.priority,
        held=run.held,
        turn=run.turn,
        cancel_requested_at=time_text(run.cancel_requested_at),
        error=run.error,
        traceparent=run.traceparent,
        created_at=time_text(run.created_at),
        started_at=time_text(run.started_at),
    )


def task_row(tables: Tables, task: TaskRun) -> TaskRunRow:
    """As the dispatcher reads it. A row that has not changed is not made anew: that costs most of a small fold."""
    known = tables.views.get(task.id)
    if known is None or known[0] is not task:
        known = tables.views[task.id] = (task, _task_row(task))
    return known[1]


def _task_row(task: TaskRun) -> TaskRunRow:
    return TaskRunRow(
        id=task.id,
        run_id=task.run_id,
        task=task.task,
        index_path=task.index_path,
        scope=task.scope,
        kind=task.kind,
        state=task.state,
        total=task.total,
        mark=task.mark,
        succeeded=task.succeeded,
        failed=task.failed,
        skipped=task.skipped,
        cancelled=task.cancelled,
        attempts=task.attempts,
        source_kind=task.source_kind,
        copied_from=task.copied_from,
        busy_s=task.busy_s,
        measured=task.measured,
        error=task.error,
        started_at=time_text(task.started_at),
    )


def _first(rows: Iterable[Any], partitions: frozenset[int], limit: int, runs: frozenset[str] | None) -> list[Any]:
    ours = (row for row in rows if row.partition in partitions and (runs is None or row.run_id in runs))
    return list(islice(ours, limit))


def _outcomes(tables: Tables, report: Report) -> Iterable[OutcomeRow]:
    for outcome in sorted(report.body, key=lambda each: each["i"]):
        item = tables.items.get(outcome["i"])
        if outcome["s"] == "succeeded" or item is None or (item.attempt, item.state) != (outcome["a"], "queued"):
            continue
        yield OutcomeRow(
            task_run_id=report.task_run_id,
            run_id=report.run_id,
            item=item.id,
            attempt=item.attempt,
            outcome=outcome["s"],
            seconds=outcome.get("d"),
            error=outcome.get("e"),
            charged=outcome.get("c"),
            ended=outcome.get("x"),
            worker=report.worker,
            bundle_id=report.bundle_id,
            claimed_at=time_text(report.claimed_at),
            failures=item.failures,
            losses=item.losses,
            handbacks=item.handbacks,
        )


def _move(tables: Tables, report: Report, now: datetime) -> Iterable[Moved]:
    for outcome in report.body:
        item = tables.items.get(outcome["i"])
        if outcome["s"] != "succeeded" or item is None or (item.attempt, item.state) != (outcome["a"], "queued"):
            continue
        tables.items[item.id] = item._replace(
            state="succeeded", result=outcome.get("r"), row_count=outcome.get("n"), finished_at=now
        )
        yield Moved(report, item.id, item.attempt, outcome.get("d"))


def _count(tables: Tables, moved: Iterable[Moved]) -> None:
    seconds: dict[int, list[float | None]] = defaultdict(list)
    for each in moved:
        seconds[each.report.task_run_id].append(each.seconds)
    for key, all_of_it in seconds.items():
        task, measured = tables.task_runs[key], [each for each in all_of_it if each is not None]
        tables.task_runs[key] = checks.task_run(
            task._replace(
                succeeded=task.succeeded + len(all_of_it),
                attempts=task.attempts + len(all_of_it),
                busy_s=task.busy_s + sum(measured),
                measured=task.measured + len(measured),
            )
        )


def _tell(tables: Tables, moved: Iterable[Moved], now: datetime) -> list[Fact]:
    batches: dict[int, list[Moved]] = defaultdict(list)
    for each in moved:
        batches[each.report.id].append(each)
    facts: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    at = time_text(now)
    for batch in batches.values():
        facts[batch[0].report.run_id].append(_succeeded(tables, batch, at))
    return [tables.announce(run, orjson.dumps(body)) for run, body in facts.items()]


def _succeeded(tables: Tables, batch: Sequence[Moved], at: str) -> Mapping[str, Any]:
    report = batch[0].report
    task = tables.task_runs[report.task_run_id]
    items = sorted((each.item, each.attempt, each.seconds) for each in batch)
    return {
        "type": "freshet.item.succeeded.v1",
        "run_id": report.run_id,
        "at": at,
        "task": task.task,
        "index_path": task.index_path,
        "kind": task.kind,
        "workflow": tables.runs[report.run_id].workflow,
        "mapped": task.mapped,
        "worker": report.worker,
        "claim": report.bundle_id,
        "claimed_at": time_text(report.claimed_at),
        "items": [[item & INDEX_MASK, attempt, seconds, None] for item, attempt, seconds in items],
    }
