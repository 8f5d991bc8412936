"""Which TaskRuns a decision sees: functions/engine_nodes.sql over dictionaries."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from freshet.domain.model import INDEX_BITS
from freshet.testing.twins.rows import FINAL, TaskRun
from freshet.testing.twins.tables import Tables

Scope = tuple[str, int | None]


def nodes(tables: Tables, runs: Iterable[str], touched: Iterable[int], cancelled: Iterable[str]) -> list[TaskRun]:
    """Of narrow scopes that were touched, or are around such, everything; of wide ones what may matter."""
    seen = {row.id: row for key in touched for row in _outwards(tables, key)}
    places: set[Scope] = {(row.run_id, row.scope) for row in seen.values()} | {(run, None) for run in runs}
    whole = {place for place in places if len(_of(tables, place)) <= tables.narrow}
    whole |= {(row.run_id, row.scope) for row in seen.values() if row.children is None}
    for run in cancelled:
        rows = (tables.task_runs[key] for key in tables.tasks_of.get(run, ()))
        whole |= {(row.run_id, row.scope) for row in rows if row.finished_at is None}
    wanted = {row.id for place in whole for row in _of(tables, place)} | seen.keys()
    for row in seen.values():
        if (row.run_id, row.scope) not in whole:
            wanted |= _reached(tables, row, seen.keys())
    return [tables.task_runs[key] for key in sorted(wanted)]


def tasks_and_parents(tables: Tables, run: str, index_path: str, tasks: Iterable[str]) -> list[TaskRun]:
    """Tasks of one scope with all their parents."""
    found = [row for row in (_named(tables, run, task, index_path) for task in tasks) if row is not None]
    wanted = {row.id for row in found} | {parent.id for row in found for parent in _parents(tables, row)}
    return [tables.task_runs[key] for key in sorted(wanted)]


def scope_at_rest(
    tables: Tables, run: str, scope: int | None, known: Collection[int], spared: Collection[str]
) -> list[TaskRun]:
    """All of a scope, if nothing in it goes on but what is known and what is spared; else none."""
    rows = _of(tables, (run, scope))
    open_ = (row for row in rows if row.state not in FINAL)
    return [] if any(row.id not in known and row.task not in spared for row in open_) else rows


def _outwards(tables: Tables, key: int) -> Iterator[TaskRun]:
    row = tables.task_runs.get(key)
    while row is not None:
        yield row
        row = None if row.scope is None else tables.task_runs.get(row.scope >> INDEX_BITS)


def _reached(tables: Tables, row: TaskRun, touched: Collection[int]) -> set[int]:
    found: set[int] = set()
    for path in row.children or ():
        child = _named(tables, row.run_id, path, row.index_path)
        if child is None or child.state != "pending":
            continue
        parents = _parents(tables, child)
        if all(parent.state in FINAL or parent.id in touched for parent in parents):
            found |= {child.id, *(parent.id for parent in parents)}
    return found


def _parents(tables: Tables, row: TaskRun) -> list[TaskRun]:
    found = (_named(tables, row.run_id, path, row.index_path) for path in row.parents)
    return [parent for parent in found if parent is not None]


def _named(tables: Tables, run: str, task: str, index_path: str) -> TaskRun | None:
    key = tables.task_named.get((run, task, index_path))
    return None if key is None else tables.task_runs[key]


def _of(tables: Tables, place: Scope) -> list[TaskRun]:
    run, scope = place
    rows = (tables.task_runs[key] for key in tables.tasks_of.get(run, ()))
    return sorted(row for row in rows if row.scope == scope)
