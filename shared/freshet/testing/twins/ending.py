"""Ending bundles from outside: functions/engine_end_bundles.sql over dictionaries.

Guarantees: the row goes and a report of what is left of it from `done` on comes, in one step.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from freshet.testing.twins.rows import Bundle
from freshet.testing.twins.tables import Tables

Told = Callable[[Bundle, int], dict[str, Any]]  # of a bundle's k-th item


def release_workers(tables: Tables, workers: Collection[str]) -> list[int]:
    """The bundles of workers that are gone: a bundle of several charges nobody, a lost single its item."""
    gone = [row for row in tables.bundles.values() if row.worker in workers and row.claim is not None]
    for bundle in gone:
        _end(tables, bundle, _lost)
    return [bundle.partition for bundle in gone]


def expire(tables: Tables, limit: int) -> list[tuple[int, str | None, int]]:
    """Claims past their deadline; the first item left is the one in hand."""
    now = tables.clock()
    overdue = sorted(
        (row.expires_at, row.id) for row in tables.bundles.values() if row.expires_at and row.expires_at < now
    )
    gone = [tables.bundles[key] for key in sorted(key for _, key in overdue[:limit])]
    for bundle in gone:
        _end(tables, bundle, _overdue)
    return [(bundle.partition, bundle.worker, bundle.id) for bundle in gone]


def cancel(tables: Tables, run: str, spared: Collection[str]) -> list[tuple[str | None, int]]:
    """Everything that a cancelled run has in flight, but for the spared tasks."""
    ours = (row for row in tables.bundles.values() if row.run_id == run)
    gone = [row for row in ours if not _spared(tables, row, spared)]
    for bundle in gone:
        _end(tables, bundle, _cancelled)
    return [(bundle.worker, bundle.id) for bundle in gone]


def _end(tables: Tables, bundle: Bundle, told: Told) -> None:
    del tables.bundles[bundle.id]
    since = bundle.claimed_at or (bundle.submitted_at if told is _cancelled else None)
    left = range(bundle.done, len(bundle.items))
    body = [{"i": bundle.items[k], "a": bundle.attempts[k], **told(bundle, k)} for k in left]
    tables.report(bundle, bundle.worker, since, body)


def _spared(tables: Tables, bundle: Bundle, spared: Collection[str]) -> bool:
    task = tables.task_runs.get(bundle.task_run_id)
    return task is not None and task.run_id == bundle.run_id and task.task.partition(".")[0] in spared


def _lost(bundle: Bundle, k: int) -> dict[str, Any]:  # noqa: ARG001  (every item of it is told the same)
    error = {"class": "lost", "message": f"Worker {bundle.worker} was lost."}
    return {"s": "lost", "c": bundle.left == 1, "e": error}


def _overdue(bundle: Bundle, k: int) -> dict[str, Any]:
    seconds = bundle.timeout_s or 0.0
    text = str(int(seconds)) if seconds == int(seconds) else str(seconds)
    if k == bundle.done:
        error = {"class": "timeout", "message": f"Item ran longer than its timeout of {text} s."}
        return {"s": "timed_out", "c": True, "e": error}
    error = {"class": "lost", "message": "An item before it in its bundle ran longer than its timeout."}
    return {"s": "lost", "c": False, "e": error}


def _cancelled(bundle: Bundle, k: int) -> dict[str, Any]:
    in_hand = (bundle.claim is not None or bundle.submitted_at is not None) and k == bundle.done
    return {"s": "cancelled", "c": in_hand, "e": {"class": "cancelled", "message": "The run was cancelled."}}
