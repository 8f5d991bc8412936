"""Watches and the attempts that own jobs: WatchList and JobOwnerList over dictionaries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

from freshet.testing.twins.rows import Bundle, TaskRun
from freshet.testing.twins.tables import Tables

Row = dict[str, Any]


def watched(tables: Tables, kind: str) -> list[Row]:
    """Every watch of a kind, the oldest first."""
    rows = sorted((row.submitted_at, row.id) for row in tables.bundles.values() if row.submitted_at is not None)
    bundles = [tables.bundles[key] for _, key in rows]
    return [_watch(tables, each) for each in bundles if tables.task_runs[each.task_run_id].kind == kind]


def owners(tables: Tables, runs: Iterable[UUID], kind: str) -> list[Row]:
    """Attempts of a kind that are in a bundle, or in a report that is not folded yet."""
    found = (owner for run in runs for owner in _owners(tables, str(run)))
    return [owner for task, owner in found if task.kind == kind]


def _owners(tables: Tables, run: str) -> Iterator[tuple[TaskRun, Row]]:
    for bundle in tables.bundles.values():
        if bundle.run_id == run:
            yield from _attempts(tables, bundle.task_run_id, zip(bundle.items, bundle.attempts, strict=True))
    for report in tables.reports.values():
        if report.run_id == run:
            yield from _attempts(tables, report.task_run_id, ((each["i"], each["a"]) for each in report.body))


def _attempts(tables: Tables, task_run: int, attempts: Iterable[tuple[int, int]]) -> Iterator[tuple[TaskRun, Row]]:
    task = tables.task_runs[task_run]
    belongs = {"run_id": UUID(task.run_id), "task": task.task, "index_path": task.index_path}
    for item, attempt in attempts:
        yield task, {**belongs, "mapped": task.mapped, "item": item, "attempt": attempt}


def _watch(tables: Tables, bundle: Bundle) -> Row:
    task, run = tables.task_runs[bundle.task_run_id], tables.runs[bundle.run_id]
    assert bundle.submitted_at is not None  # a watch is a bundle that was submitted
    return {
        "id": bundle.id,
        "run_id": UUID(bundle.run_id),
        "partition": bundle.partition,
        "task_run_id": bundle.task_run_id,
        "items": list(bundle.items),
        "attempts": list(bundle.attempts),
        "timeout_s": bundle.timeout_s,
        "job_name": bundle.job_name,
        "submitted_at": bundle.submitted_at,
        "waiting_s": (tables.clock() - bundle.submitted_at).total_seconds(),
        "task": task.task,
        "index_path": task.index_path,
        "mapped": task.mapped,
        "workflow": run.workflow,
        "version": run.version,
    }
