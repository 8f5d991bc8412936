"""Workflows: versions of definitions, and the schedules and triggers that follow from the newest one.

Purpose: apply, read, pause, delete. Guarantees: the same document applied again makes no new version; two applies at
once come one after the other; an interval's anchor outlives re-applies; version, schedule and triggers change together.
Never: a judgement about a document; what comes in here is normalised and checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Json, Jsonb

from freshet.domain.errors import NotFoundError
from freshet.domain.model import CatchUp, EventTrigger, Overlap, Schedule
from freshet.storage.database import Database, Row, Session
from freshet.storage.statements import statement

#: Answers the first tick of a schedule after `now`, given the schedule's anchor.
FirstTick = Callable[[Schedule, datetime, datetime], datetime]


@dataclass(frozen=True, kw_only=True, slots=True)
class Definition:
    """What is to be stored: a normalised document, and what the engine needs to know of it."""

    name: str
    document: Mapping[str, Any]
    digest: str
    schedule: Schedule | None = None
    triggers: tuple[EventTrigger, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Applied:
    """What an apply did."""

    name: str
    version: int
    created: bool  # the workflow was not there before, or had been deleted
    changed: bool  # a version was added


class Definitions:
    """The workflows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, definition: Definition, first_tick: FirstTick) -> Applied:
        """Store a definition, bringing a deleted workflow back. A schedule that did not change keeps its next tick."""
        with self._database.transaction() as session:
            row = _one(session, "WorkflowTouch", {"name": definition.name})
            created = row["version"] == 0 or row["deleted_at"] is not None
            version = _put_version(session, definition, row["version"])
            _put_schedule(session, definition, first_tick, paused=row["paused"])
            _put_triggers(session, definition)
        return Applied(name=definition.name, version=version, created=created, changed=version != row["version"])

    def get(self, name: str, version: int | None = None) -> Row:
        """The newest version, or a named one (also of a deleted workflow). Raises NotFoundError.

        Keys: name, version, newest, document, digest, paused, created_at, updated_at, version_created_at,
        next_fire_at.
        """
        row = self._database.row("WorkflowGet", {"name": name, "version": version})
        if row is None:
            raise _missing(name, version)
        return row

    def page(self, *, after: str = "", limit: int = 100) -> list[Row]:
        """Workflows by name, after a name: name, version, paused, times, schedule, and the newest run."""
        return self._database.rows("WorkflowsPage", {"after": after, "limit": limit})

    def delete(self, name: str) -> list[int]:
        """Take a workflow out: schedule and triggers go, versions stay, active runs are asked to end.

        The partitions that have such a request. Raises NotFoundError.
        """
        with self._database.transaction() as session:
            if not session.execute(statement("WorkflowDelete"), {"name": name}).rowcount:
                raise _missing(name)
            session.execute(statement("ScheduleDelete"), {"name": name})
            session.execute(statement("TriggersDelete"), {"name": name})
            asked = session.execute(statement("WorkflowRunsCancel"), {"name": name}).fetchall()
        return sorted({row["partition"] for row in asked})

    def pause(self, name: str) -> None:
        """No ticks from now on; calls still make runs. Raises NotFoundError."""
        with self._database.transaction() as session:
            _set_paused(session, name, paused=True)
            session.execute(statement("SchedulePause"), {"name": name, "paused": True, "next_fire_at": None})

    def resume(self, name: str, first_tick: FirstTick) -> None:
        """Ticks again, the first one after now: what passed meanwhile was not missed. Raises NotFoundError."""
        with self._database.transaction() as session:
            _set_paused(session, name, paused=False)
            row = session.execute(statement("ScheduleGet"), {"name": name}).fetchone()
            if row is not None and row["paused"]:
                tick = first_tick(schedule_of(row), row["anchor"], row["now"])
                session.execute(statement("SchedulePause"), {"name": name, "paused": False, "next_fire_at": tick})

    def process_versions(self, names: Iterable[str]) -> dict[str, list[str]]:
        """The versions that workers declared of each of these processes, in no order."""
        found: dict[str, list[str]] = {name: [] for name in names}
        for row in self._database.rows("ProcessVersions", {"names": list(found)}):
            found[row["name"]].append(row["version"])
        return found


def schedule_of(row: Mapping[str, Any]) -> Schedule:
    """The schedule in a row of engine.schedule."""
    return Schedule(
        every=row["every"],
        cron=row["cron"],
        timezone=row["timezone"],
        catch_up=CatchUp(row["catch_up"]),
        overlap=Overlap(row["overlap"]),
    )


def _put_version(session: Session, definition: Definition, current: int) -> int:
    known = session.execute(
        statement("WorkflowVersionDigest"), {"name": definition.name, "version": current}
    ).fetchone()
    same = known is not None and known["digest"] == definition.digest
    parameters: dict[str, Any] = {"name": definition.name, "version": current if same else current + 1}
    if not same:
        document = Json(dict(definition.document))
        session.execute(
            statement("WorkflowVersionInsert"),
            {**parameters, "document": document, "digest": definition.digest},
        )
    session.execute(statement("WorkflowVersionSet"), parameters)
    return int(parameters["version"])


def _put_schedule(session: Session, definition: Definition, first_tick: FirstTick, *, paused: bool) -> None:
    schedule = definition.schedule
    if schedule is None:
        session.execute(statement("ScheduleDelete"), {"name": definition.name})
        return
    row = session.execute(statement("ScheduleGet"), {"name": definition.name}).fetchone()
    if row is not None and schedule_of(row) == schedule and row["next_fire_at"] is not None:
        return
    now = row["now"] if row else _one(session, "Now", {})["now"]
    anchor = row["anchor"] if row else now
    session.execute(
        statement("ScheduleInsert"),
        {
            "name": definition.name,
            "every": schedule.every,
            "cron": schedule.cron,
            "timezone": schedule.timezone,
            "catch_up": schedule.catch_up,
            "overlap": schedule.overlap,
            "anchor": anchor,
            "next_fire_at": first_tick(schedule, anchor, now),
            "paused": paused,
        },
    )


def _put_triggers(session: Session, definition: Definition) -> None:
    session.execute(statement("TriggersDelete"), {"name": definition.name})
    for position, trigger in enumerate(definition.triggers):
        session.execute(
            statement("TriggerInsert"),
            {
                "name": definition.name,
                "position": position,
                "event_type": trigger.event,
                "condition": trigger.when,
                "params": Jsonb(dict(trigger.params)),
            },
        )


def _set_paused(session: Session, name: str, *, paused: bool) -> None:
    if not session.execute(statement("WorkflowPause"), {"name": name, "paused": paused}).rowcount:
        raise _missing(name)


def _one(session: Session, name: str, parameters: Mapping[str, Any]) -> Row:
    row = session.execute(statement(name), parameters).fetchone()
    assert row is not None  # each of these statements answers one row
    return row


def _missing(name: str, version: int | None = None) -> NotFoundError:
    which = name if version is None else f"{name} in version {version}"
    return NotFoundError(f"There is no workflow {which}.")
