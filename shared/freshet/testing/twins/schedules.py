"""The scheduler's store over the twin's tables.

Guarantees: a schedule's runs and its next tick are one step; a part that fails alone takes back what it did; a known
origin makes no second run. Never: the arithmetic of ticks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

from freshet.domain.model import Schedule
from freshet.storage.database import Row
from freshet.storage.requests import Announcement, Asked, NewRun
from freshet.storage.schedules import DueSchedules, Outlook, Schedules
from freshet.testing.twins.new_runs import insert_runs, insert_skipped
from freshet.testing.twins.passage import Passage, open_passage, verb
from freshet.testing.twins.rows import Parked
from freshet.testing.twins.tables import Tables


class ScheduleRow(NamedTuple):
    """engine.schedule."""

    workflow: str
    schedule: Schedule
    anchor: datetime
    next_fire_at: datetime | None
    paused: bool = False


def schedules_of(tables: Tables) -> dict[str, ScheduleRow]:
    """The table, by workflow. Apply, pause and resume are made here by hand; a workflow has a document besides."""
    return tables.table("schedule")


class SchedulesTwin(Schedules):
    """The scheduler's rows."""

    def __init__(self, tables: Tables, passage: Passage = open_passage) -> None:
        self._tables = tables
        self._passage = passage

    @verb
    def outlook(self, now: datetime | None = None) -> Outlook:
        """The time, and the next tick."""
        due = [row.next_fire_at for row in schedules_of(self._tables).values() if not row.paused]
        next_fire_at = min((tick for tick in due if tick is not None), default=None)
        return Outlook(now=now or self._tables.clock(), next_fire_at=next_fire_at)

    @contextmanager
    def due(self, now: datetime, *, limit: int) -> Iterator[DueSchedules]:
        """The schedules that are due. Nobody comes between, so there is nobody to leave out."""
        self._passage.enter("due")
        with self._tables.transaction():
            yield DueSchedulesTwin(self._tables, self._due(now)[:limit])
        self._passage.leave("due")

    def _due(self, now: datetime) -> list[Row]:
        newest = dict(sorted(self._tables.documents))  # the last of a name wins
        found = [
            _row(row, newest[row.workflow], self._tables.documents[row.workflow, newest[row.workflow]])
            for row in schedules_of(self._tables).values()
            if not row.paused and row.next_fire_at is not None and row.next_fire_at <= now and row.workflow in newest
        ]
        return sorted(found, key=lambda row: (row["next_fire_at"], row["workflow"]))


class DueSchedulesTwin(DueSchedules):
    """What the pass may write in its transaction."""

    def __init__(self, tables: Tables, due: Sequence[Row]) -> None:
        self._tables = tables
        self._schedules = schedules_of(tables)
        self.rows = due

    @contextmanager
    def apart(self) -> Iterator[None]:
        """A part of the transaction that can fail alone."""
        with self._tables.transaction():
            yield

    def advance(self, workflow: str, next_fire_at: datetime) -> None:
        """Write down the next tick."""
        self._schedules[workflow] = self._schedules[workflow]._replace(next_fire_at=next_fire_at)

    def park(self, workflow: str, error: str) -> None:
        """Set a schedule aside that can't be ticked."""
        key = self._tables.next_id("parked")
        self._tables.parked[key] = Parked(key, "schedule", None, error)
        self._schedules[workflow] = self._schedules[workflow]._replace(next_fire_at=None)

    def active_runs(self, workflow: str) -> int:
        """How many runs of the workflow are not final, held ones included."""
        return sum(run.workflow == workflow and not run.final for run in self._tables.runs.values())

    def insert_runs(self, runs: Sequence[NewRun]) -> list[Asked]:
        """The runs made or found, in the order given."""
        return insert_runs(self._tables, runs)

    def insert_skipped(self, run: NewRun, root_task_name: str | None) -> Announcement | None:
        """A tick that the overlap policy let pass; None when it was known."""
        return insert_skipped(self._tables, run, root_task_name)


def _row(row: ScheduleRow, version: int, document: Mapping[str, Any]) -> Row:
    schedule = row.schedule
    return {
        "workflow": row.workflow,
        "every": schedule.every,
        "cron": schedule.cron,
        "timezone": schedule.timezone,
        "catch_up": schedule.catch_up.value,
        "overlap": schedule.overlap.value,
        "anchor": row.anchor,
        "next_fire_at": row.next_fire_at,
        "version": version,
        "priority": int(document.get("priority", 100)),
        "root_task_name": document.get("root_task_name"),
        "params": {name: rule.get("default") for name, rule in document.get("params", {}).items()},
    }
