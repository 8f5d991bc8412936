"""The real tables, read into the twin's: so that one picture serves both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson

from freshet.storage.database import Database
from freshet.testing.twins.rows import (
    Bundle,
    Effect,
    Outbox,
    Parked,
    Report,
    Request,
    Run,
    TaskRun,
    Worker,
    WorkItem,
)
from freshet.testing.twins.tables import Tables

#: One statement, so one moment. Ids of runs as text, times as they come out of jsonb.
_ALL = """
select jsonb_build_object(
    'run', (select jsonb_agg(to_jsonb(r)) from engine.run r),
    'request', (select jsonb_agg(to_jsonb(r)) from engine.request r),
    'task_run', (select jsonb_agg(to_jsonb(r)) from engine.task_run r),
    'work_item', (select jsonb_agg(to_jsonb(r)) from engine.work_item r),
    'value', (select jsonb_agg(to_jsonb(r)) from engine.value r),
    'bundle', (select jsonb_agg(to_jsonb(r)) from engine.bundle r),
    'report', (select jsonb_agg(to_jsonb(r)) from engine.report r),
    'outbox', (select jsonb_agg(to_jsonb(r)) from engine.outbox r),
    'worker', (select jsonb_agg(to_jsonb(r)) from engine.worker r),
    'parked', (select jsonb_agg(to_jsonb(r)) from engine.parked r),
    'effect', (select jsonb_agg(to_jsonb(r)) from public.effect r)
) as found
"""

_ROWS: Mapping[str, type[Any]] = {
    "run": Run,
    "request": Request,
    "task_run": TaskRun,
    "work_item": WorkItem,
    "bundle": Bundle,
    "report": Report,
    "outbox": Outbox,
    "worker": Worker,
    "parked": Parked,
    "effect": Effect,
}
_TUPLES = {"rerun_tasks", "parents", "items", "attempts", "queues"}


def read_tables(database: Database) -> Tables:
    """What is committed now; what user code wrote is in public.effect."""
    with database.session() as session:
        row = session.execute(_ALL).fetchone()
    assert row is not None
    tables = Tables(lambda: datetime.now(UTC))
    for name, kind in _ROWS.items():
        rows = (_row(kind, each) for each in row["found"][name] or [])
        tables.table(name).update({made[0]: made for made in rows})
    for value in row["found"]["value"] or []:
        tables.values[value["source"]] = {**tables.values.get(value["source"], {}), value["idx"]: value["value"]}
    return tables


def read_bundles(database: Database) -> list[Bundle]:
    """The bundles alone, in the order of their ids."""
    with database.session() as session:
        rows = session.execute("select to_jsonb(b) as row from engine.bundle b order by id").fetchall()
    return [_row(Bundle, row["row"]) for row in rows]


def _row(kind: type[Any], row: Mapping[str, Any]) -> Any:
    return kind(**{name: _value(kind, name, row[name]) for name in kind._fields})


def _value(kind: type[Any], name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in _TUPLES and isinstance(value, list):
        return tuple(value)
    if name == "claim":
        return UUID(value)
    if name == "body" and kind is Outbox:
        return orjson.dumps(value)
    return datetime.fromisoformat(value) if name.endswith("_at") or name == "scheduled_for" else value


def canonical(picture: Any) -> Any:
    """A picture as JSON has it: tuples are lists, keys are texts."""
    return json.loads(json.dumps(picture))


def differences(left: Any, right: Any, path: str = "") -> list[str]:
    """Where two pictures differ, by path."""
    if left == right:
        return []
    if isinstance(left, dict) and isinstance(right, dict):
        keys = sorted(left.keys() | right.keys())
        return [line for key in keys for line in differences(left.get(key), right.get(key), f"{path}/{key}")]
    if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        pairs = enumerate(zip(left, right, strict=True))
        return [line for place, (a, b) in pairs for line in differences(a, b, f"{path}[{place}]")]
    return [f"{path}: {left!r} and {right!r}"]
