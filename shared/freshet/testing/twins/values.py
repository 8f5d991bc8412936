"""What items, elements and parents are worth: the reads that a claim, a page and an expansion share.

Guarantees: those of engine.item_value, engine.parents and the pages of sql/worker.sql.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from freshet.domain.model import INDEX_BITS
from freshet.testing.twins.rows import INDEX_MASK, TaskRun, WorkItem
from freshet.testing.twins.tables import Tables


def item_value(tables: Tables, item: int) -> Any:
    """The value of an element or item, by where its TaskRun takes its values from."""
    task = tables.task_runs.get(item >> INDEX_BITS)
    return None if task is None else mapped_value(tables, task, item)


def mapped_value(tables: Tables, task: TaskRun, item: int) -> Any:
    """The same with the TaskRun in hand."""
    index = item & INDEX_MASK
    if task.source_kind == "index":
        return index
    if task.source is None:
        return None
    if task.source_kind == "value":
        return tables.values.get(task.source, {}).get(index)
    lender = tables.items.get(task.source << INDEX_BITS | index)
    return None if lender is None else item_result(tables, lender)


def item_result(tables: Tables, item: WorkItem) -> Any:
    """What an item came to: its result, or what it yielded as a list."""
    if item.result is None and item.row_count is not None:
        return rows_of(tables, item.id) or []
    return item.result


def task_in(tables: Tables, run: str, task: str, index_path: str) -> TaskRun | None:
    """A TaskRun by its name in a scope."""
    key = tables.task_named.get((run, task, index_path))
    return None if key is None else tables.task_runs[key]


def parents(tables: Tables, run: str, index_path: str, paths: Iterable[str]) -> dict[str, Any]:
    """What the named tasks of one scope have come to, by the last segments of their paths."""
    found = ((path, task_in(tables, run, path, index_path)) for path in paths)
    return {path.rpartition(".")[2]: _parent(tables, task) for path, task in found if task is not None}


def rows_of(tables: Tables, source: int) -> list[Any] | None:
    """All rows of a source in their order; None when there is none."""
    rows = tables.values.get(source)
    return [rows[index] for index in sorted(rows)] if rows else None


def item_page(tables: Tables, task_run: int, first: int, count: int) -> dict[int, Any]:
    """Results of a fanned-out task by index."""
    page: dict[int, Any] = {}
    for index in range(first, first + count):
        item = tables.items.get(task_run << INDEX_BITS | index)
        if item is not None:
            page[index] = item_result(tables, item)
    return page


def value_page(tables: Tables, source: int, first: int, count: int) -> dict[int, Any]:
    """Yielded rows by index."""
    rows = tables.values.get(source, {})
    return {index: rows[index] for index in range(first, first + count) if index in rows}


def _parent(tables: Tables, task: TaskRun) -> Mapping[str, Any]:
    told = {"state": task.state, "kind": task.kind}
    if task.mapped and task.total is not None:
        return told | {"results": {"kind": "items", "task_run": task.owner, "total": task.total}}
    item = None if task.mapped else tables.items.get(task.owner << INDEX_BITS)
    if item is not None and item.row_count is not None:
        return told | {"results": {"kind": "rows", "source": item.id, "total": item.row_count}}
    return told | {"value": None if item is None else item.result}
