"""One scheduler's store to be treated alike: the real one, or the twin's."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Protocol

import orjson

from freshet.definition import compile_workflow, digest, normalise
from freshet.domain.model import Schedule
from freshet.scheduling import Ticker, first_tick
from freshet.storage.database import Database
from freshet.storage.definitions import Definition, Definitions
from freshet.storage.requests import Requests
from freshet.storage.schedules import Schedules
from freshet.testing.twins.requests import RequestsTwin
from freshet.testing.twins.schedules import ScheduleRow, SchedulesTwin, schedules_of
from freshet.testing.twins.tables import Tables

Facts = dict[str, Any]

RUN = "id::text, workflow, version, trigger, origin, params, scheduled_for, priority, held, state, traceparent"
RUN_NAMES = RUN.replace("::text", "").split(", ")


def document(name: str, **schedule: Any) -> dict[str, Any]:
    """A workflow of this schedule, hourly by default."""
    return normalise(
        {
            "name": name,
            "params": {"day": {"type": "string", "default": "today"}, "none": {"type": "string", "default": None}},
            "priority": 7,
            "tasks": {"a": {"process": "p@1"}},
            "schedule": {**({} if "cron" in schedule else {"every": "PT1H"}), **schedule},
        }
    )


class Shop(Protocol):
    schedules: Schedules
    requests: Requests

    def put(self, name: str, document: dict[str, Any], schedule: Schedule) -> datetime: ...
    def pause(self, name: str) -> None: ...
    def spoil(self, name: str) -> None: ...
    def set_tick(self, name: str, tick: datetime) -> None: ...
    def next_ticks(self) -> dict[str, datetime | None]: ...
    def runs(self) -> list[Facts]: ...
    def starts(self) -> list[str]: ...
    def outbox(self) -> list[tuple[int, Any]]: ...
    def parked(self) -> list[str]: ...
    def end(self, run: str) -> None: ...


def apply(shop: Shop, name: str = "w", **schedule: Any) -> datetime:
    """Apply a workflow; its first tick."""
    made = document(name, **schedule)
    rule = compile_workflow(made).schedule
    assert rule is not None
    return shop.put(name, made, rule)


def ticker(shop: Shop, **options: Any) -> Ticker:
    return Ticker(schedules=shop.schedules, requests=shop.requests, **options)


class TwinShop:
    def __init__(self, now: datetime) -> None:
        self.now = now
        self.tables = Tables(lambda: self.now)
        self.schedules: Schedules = SchedulesTwin(self.tables)
        self.requests: Requests = RequestsTwin(self.tables)

    def put(self, name: str, document: dict[str, Any], schedule: Schedule) -> datetime:
        tick = first_tick(schedule, self.now, self.now)
        version = 1 + max((each for workflow, each in self.tables.documents if workflow == name), default=0)
        self.tables.documents[name, version] = document
        schedules_of(self.tables)[name] = ScheduleRow(name, schedule, anchor=self.now, next_fire_at=tick)
        return tick

    def pause(self, name: str) -> None:
        self._change(name, paused=True)

    def spoil(self, name: str) -> None:
        row = schedules_of(self.tables)[name]
        self._change(name, schedule=Schedule(**{**_fields(row.schedule), "timezone": "No/Where"}))

    def set_tick(self, name: str, tick: datetime) -> None:
        self._change(name, next_fire_at=tick)

    def next_ticks(self) -> dict[str, datetime | None]:
        return {name: row.next_fire_at for name, row in schedules_of(self.tables).items()}

    def runs(self) -> list[Facts]:
        rows = sorted(self.tables.runs.values(), key=lambda run: run.id)
        return [{name: getattr(row, name) for name in RUN_NAMES} for row in rows]

    def starts(self) -> list[str]:
        rows = sorted(self.tables.requests.values(), key=lambda row: row.id)
        assert {row.kind for row in rows} <= {"start"}
        return [row.run_id for row in rows]

    def outbox(self) -> list[tuple[int, Any]]:
        return [(row.id, orjson.loads(row.body)) for row in self.tables.outbox.values()]

    def parked(self) -> list[str]:
        return [row.what for row in self.tables.parked.values()]

    def end(self, run: str) -> None:
        self.tables.runs[run] = self.tables.runs[run]._replace(state="succeeded", finished_at=self.now)

    def _change(self, name: str, **values: Any) -> None:
        rows = schedules_of(self.tables)
        rows[name] = rows[name]._replace(**values)


def _fields(schedule: Schedule) -> dict[str, Any]:
    return {name: getattr(schedule, name) for name in schedule.__dataclass_fields__}


class RealShop:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.schedules = Schedules(database)
        self.requests = Requests(database)

    def put(self, name: str, document: dict[str, Any], schedule: Schedule) -> datetime:
        definition = Definition(name=name, document=document, digest=digest(document), schedule=schedule)
        Definitions(self.database).put(definition, first_tick)
        tick = self.next_ticks()[name]
        assert tick is not None
        return tick

    def pause(self, name: str) -> None:
        Definitions(self.database).pause(name)

    def spoil(self, name: str) -> None:
        self._rows("update engine.schedule set timezone = 'No/Where' where workflow = %s", name)

    def set_tick(self, name: str, tick: datetime) -> None:
        self._rows("update engine.schedule set next_fire_at = %s where workflow = %s", tick, name)

    def next_ticks(self) -> dict[str, datetime | None]:
        rows = self._rows("select workflow, next_fire_at from engine.schedule order by workflow")
        return {row["workflow"]: row["next_fire_at"] for row in rows}

    def runs(self) -> list[Facts]:
        return self._rows(f"select {RUN} from engine.run order by id")

    def starts(self) -> list[str]:
        rows = self._rows("select kind, run_id::text from engine.request order by id")
        assert {row["kind"] for row in rows} <= {"start"}
        return [row["run_id"] for row in rows]

    def outbox(self) -> list[tuple[int, Any]]:
        return [(row["id"], row["body"]) for row in self._rows("select id, body from engine.outbox order by id")]

    def parked(self) -> list[str]:
        return [row["what"] for row in self._rows("select what from engine.parked order by id")]

    def end(self, run: str) -> None:
        self._rows("update engine.run set state = 'succeeded', finished_at = clock_timestamp() where id = %s", run)

    def _rows(self, query: str, *parameters: Any) -> list[Facts]:
        with self.database.session() as session:
            cursor = session.execute(query.encode(), parameters)
            return cursor.fetchall() if cursor.description else []


HOUR = timedelta(hours=1)
