"""A picture of the tables that can be compared: of two twins, or of a twin and the real tables read into one.

Guarantees: what Postgres may number or time as it likes is named by what it stands for (a run by its place among the
runs, a TaskRun by run, path and index path, a bundle by its place among those that are spoken of), a time by whether it
is there. What has an order of its own keeps it: requests, reports and facts of one run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from freshet.domain.model import INDEX_BITS
from freshet.testing.twins.rows import INDEX_MASK, Bundle, Report, Run, TaskRun, WorkItem
from freshet.testing.twins.tables import Tables

Picture = dict[str, Any]

_TIMES = frozenset({"at", "created_at", "started_at", "finished_at", "claimed_at", "queued_at", "scheduled_for"})
_RUNS = frozenset({"id", "run_id", "group_id", "rerun_of"})


def picture(tables: Tables) -> Picture:
    """Everything that the engine's verbs write."""
    bodies = {row.id: orjson.loads(row.body) for row in tables.outbox.values()}
    names = _Names(tables, bodies.values())
    return {
        "runs": {names.run(row.id): _run(names, row) for row in tables.runs.values()},
        "task_runs": {names.task(row.id): _task_run(names, row) for row in tables.task_runs.values()},
        "items": {names.item(row.id): _item(row) for row in tables.items.values()},
        "values": {names.source(source): dict(sorted(rows.items())) for source, rows in tables.values.items()},
        "bundles": {names.bundle(row.id): _bundle(names, row) for row in tables.bundles.values()},
        "reports": _by_run(names, ((row.run_id, _report(names, row)) for _, row in sorted(tables.reports.items()))),
        "requests": _by_run(names, ((row.run_id, row.kind) for _, row in sorted(tables.requests.items()))),
        "outbox": _by_run(
            names, ((row.run_id, _facts(names, bodies[row.id])) for _, row in sorted(tables.outbox.items()))
        ),
        "workers": {row.id: (row.state, row.queues, row.busy_s) for row in tables.workers.values()},
        "parked": sorted((row.what, names.run(row.run_id), row.error) for row in tables.parked.values()),
        "effects": sorted((names.bundle(row.bundle_id), row.value) for row in tables.effects.values()),
    }


class _Names:
    """What stands for an id."""

    def __init__(self, tables: Tables, bodies: Iterable[list[dict[str, Any]]]) -> None:
        self._runs = {run: f"run {place}" for place, run in enumerate(sorted(tables.runs), start=1)}
        self._tasks = tables.task_runs
        spoken_of = set(tables.bundles) | {row.bundle_id for row in tables.reports.values()}
        spoken_of |= {row.bundle_id for row in tables.effects.values()}
        spoken_of |= {fact["claim"] for body in bodies for fact in body if isinstance(fact.get("claim"), int)}
        self._bundles = {key: f"bundle {place}" for place, key in enumerate(sorted(spoken_of), start=1)}

    def run(self, key: str | None) -> str:
        return "" if key is None else self._runs.get(key, key)

    def task(self, key: int) -> str:
        row = self._tasks.get(key)
        return f"task run {key}" if row is None else f"{self.run(row.run_id)}/{row.task}@{row.index_path}"

    def item(self, key: int) -> str:
        return f"{self.task(key >> INDEX_BITS)}#{key & INDEX_MASK}"

    def source(self, key: int) -> str:
        return self.item(key) if key > 0 else f"list of {self.task(-key)}"

    def bundle(self, key: int) -> str:
        return self._bundles[key]


def _run(names: _Names, row: Run) -> Picture:
    told = {name: _plain(name, value, names) for name, value in row._asdict().items()}
    return told | {"traceparent": row.traceparent is not None}


def _task_run(names: _Names, row: TaskRun) -> Picture:
    told = {name: _plain(name, value, names) for name, value in row._asdict().items() if name != "id"}
    return told | {
        "scope": None if row.scope is None else names.item(row.scope),
        "source": None if row.source is None else _source(names, row),
        "copied_from": None if row.copied_from is None else names.task(row.copied_from),
        "busy_s": round(row.busy_s, 6),
    }


def _source(names: _Names, row: TaskRun) -> str:
    assert row.source is not None  # the caller has seen to it
    return names.task(row.source) if row.source_kind == "item" else names.source(row.source)


def _item(row: WorkItem) -> Picture:
    return {name: _plain(name, value, None) for name, value in row._asdict().items() if name != "id"}


def _bundle(names: _Names, row: Bundle) -> Picture:
    told = {name: _plain(name, value, names) for name, value in row._asdict().items() if name != "id"}
    return told | {"task_run_id": names.task(row.task_run_id), "items": [names.item(item) for item in row.items]}


def _report(names: _Names, row: Report) -> Picture:
    return {
        "bundle": names.bundle(row.bundle_id),
        "partition": row.partition,
        "task_run": names.task(row.task_run_id),
        "worker": row.worker,
        "since": row.claimed_at is not None,
        "body": [{**outcome, "i": names.item(outcome["i"])} for outcome in row.body],
    }


def _facts(names: _Names, body: list[dict[str, Any]]) -> list[Picture]:
    facts = [{name: _told(name, value, names) for name, value in fact.items()} for fact in body]
    if all(fact["type"] == "freshet.item.succeeded.v1" for fact in body):
        # The successes of one fold have no order among themselves.
        return sorted(facts, key=lambda fact: orjson.dumps(fact, option=orjson.OPT_SORT_KEYS))
    return facts


def _told(name: str, value: Any, names: _Names) -> Any:
    if name == "claim":
        return names.bundle(value) if isinstance(value, int) else "its token"
    if name in _TIMES or name == "traceparent":
        return value is not None
    return names.run(value) if name in _RUNS else value


def _plain(name: str, value: Any, names: _Names | None) -> Any:
    if isinstance(value, datetime | UUID):
        return True
    if isinstance(value, tuple):
        return list(value)
    return names.run(value) if names is not None and name in _RUNS else value


def _by_run(names: _Names, rows: Iterable[tuple[str | None, Any]]) -> Mapping[str, list[Any]]:
    found: dict[str, list[Any]] = defaultdict(list)
    for run, row in rows:
        found[names.run(run)].append(row)
    return dict(found)
