"""Opening scopes and expanding maps: functions/engine_expand.sql over dictionaries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from freshet.domain.model import INDEX_BITS
from freshet.storage.database import DataError
from freshet.testing.twins import checks
from freshet.testing.twins.rows import FINAL, TaskRun, WorkItem
from freshet.testing.twins.tables import Tables
from freshet.testing.twins.texts import ABSENT, at_path, jsonb_text, jsonb_type
from freshet.testing.twins.values import task_in


def open_scope(tables: Tables, rows: Iterable[Mapping[str, Any]]) -> list[TaskRun]:
    """Pending TaskRuns; those that are there already are left as they are."""
    wanted = (row for row in rows if (row["run_id"], row["task"], row["index_path"]) not in tables.task_named)
    return [_insert(tables, row, row["run_id"], row["scope"], row["index_path"]) for row in wanted]


def copy_tasks(tables: Tables, run: str, old: str, again: Sequence[str], now: datetime) -> list[TaskRun]:
    """What a rerun does not run again; the copies of the run's own scope."""
    rows = (tables.task_runs[key] for key in tables.tasks_of.get(old, ()))
    kept = [row for row in rows if row.task.partition(".")[0] not in again and row.state in FINAL]
    return [copy for copy in [_copy(tables, run, row, now) for row in kept] if copy.scope is None]


def open_elements(
    tables: Tables, task_run: int, first: int, count: int, tasks: Sequence[Mapping[str, Any]]
) -> list[TaskRun]:
    """Running items, each a scope with pending TaskRuns of its own."""
    outer = tables.task_runs[task_run]
    tables.task_runs[task_run] = checks.task_run(outer._replace(mark=first + count))
    opened = []
    for index in range(first, first + count):
        item = task_run << INDEX_BITS | index
        if item in tables.items:
            raise DataError('duplicate key value violates unique constraint "work_item_pkey"')
        tables.items[item] = WorkItem(item, state="running")
        index_path = f"{outer.index_path}.{index}" if outer.index_path else str(index)
        opened += [_insert(tables, task, outer.run_id, item, index_path) for task in tasks]
    return opened


def expand_value(tables: Tables, task_run: int, value: Any) -> dict[str, Any]:
    """A map's width from a value: a list becomes rows, a whole number needs none."""
    if isinstance(value, list | tuple):
        tables.insert_values(-task_run, 0, value)
        return _set_total(tables, task_run, len(value), "value", -task_run)
    if jsonb_type(value) == "number" and value == int(value) and 0 <= value <= checks.WIDEST:
        return _set_total(tables, task_run, int(value), "index", None)
    text = None if value is ABSENT else jsonb_text(value)[:80]
    return {"id": task_run, "got": jsonb_type(value), "value": text}


def expand_result(
    tables: Tables, task_run: int, *, run: str, task: str, index_path: str, fields: Sequence[str]
) -> dict[str, Any]:
    """The same from a task's result: a fanned-out one lends its items, a yielding one its rows."""
    lender = task_in(tables, run, task, index_path)
    if lender is None:
        return expand_value(tables, task_run, ABSENT)
    if lender.mapped and not fields:
        return _set_total(tables, task_run, lender.total, "item", lender.owner)
    item = tables.items.get(lender.owner << INDEX_BITS)
    if item is not None and item.row_count is not None and not fields:
        return _set_total(tables, task_run, item.row_count, "value", item.id)
    # A column holds SQL's null instead of JSON's.
    result = ABSENT if item is None or item.result is None else item.result
    return expand_value(tables, task_run, at_path(result, fields))


def _set_total(tables: Tables, task_run: int, total: int | None, kind: str, source: int | None) -> dict[str, Any]:
    task = tables.task_runs[task_run]._replace(total=total, source_kind=kind, source=source)
    tables.task_runs[task_run] = checks.task_run(task)
    return {"id": task_run, "total": total, "source_kind": kind}


def _insert(tables: Tables, row: Mapping[str, Any], run: str, scope: int | None, index_path: str) -> TaskRun:
    parents, children = tuple(row["parents"]), row.get("children")
    return tables.insert_task(
        TaskRun(
            0,
            run,
            row["task"],
            index_path,
            scope,
            str(row["kind"]),
            parents,
            tables.clock(),
            children=None if children is None else tuple(children),
        )
    )


def _copy(tables: Tables, run: str, row: TaskRun, now: datetime) -> TaskRun:
    return tables.insert_task(
        row._replace(
            run_id=run,
            copied_from=row.owner,
            attempts=0,
            busy_s=0.0,
            measured=0,
            error=None,
            created_at=now,
            started_at=now,
            finished_at=now,
        )
    )
