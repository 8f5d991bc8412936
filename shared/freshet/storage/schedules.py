"""Schedules that are due, inside the transaction that makes their runs.

Purpose: the rows of `engine.schedule` for the scheduler's pass. Guarantees: who has a row's lock alone ticks it, and
nobody waits for it; the next tick changes with the runs of the last. Never: the arithmetic of ticks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from freshet.storage.database import Database, Row, Session, translated
from freshet.storage.requests import Announcement, Asked, NewRun, active_runs, insert_runs, insert_skipped
from freshet.storage.statements import statement


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """The time by the database's clock, and when the next schedule is due (None: never)."""

    now: datetime
    next_fire_at: datetime | None


class DueSchedules:
    """A transaction that holds the locks of due schedules, and what the pass may write in it."""

    def __init__(self, session: Session, rows: Sequence[Row]) -> None:
        """`rows`: each with what a run of the workflow's newest version needs."""
        self._session = session
        self.rows = rows

    @contextmanager
    def apart(self) -> Iterator[None]:
        """A part of the transaction that can fail alone. Raises DataError, StatementError, UnreachableError."""
        with translated(), self._session.transaction():
            yield

    def advance(self, workflow: str, next_fire_at: datetime) -> None:
        """Write down the next tick."""
        self._session.execute(statement("ScheduleAdvance"), {"workflow": workflow, "next_fire_at": next_fire_at})

    def park(self, workflow: str, error: str) -> None:
        """Set a schedule aside that can't be ticked, so that it stops no other."""
        self._session.execute(statement("SchedulePark"), {"workflow": workflow, "error": error})

    def active_runs(self, workflow: str) -> int:
        """How many runs of the workflow are not final, held ones included."""
        return active_runs(self._session, workflow)

    def insert_runs(self, runs: Sequence[NewRun]) -> list[Asked]:
        """The runs made or found, in the order given."""
        return insert_runs(self._session, runs) if runs else []

    def insert_skipped(self, run: NewRun, root_task_name: str | None) -> Announcement | None:
        """A tick that the overlap policy let pass; None when it was known."""
        return insert_skipped(self._session, run, root_task_name)


class Schedules:
    """The scheduler's rows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def outlook(self, now: datetime | None = None) -> Outlook:
        """One statement; `now` stands in for the database's clock."""
        row = self._database.rows("ScheduleOutlook", {"now": now})[0]
        return Outlook(now=row["now"], next_fire_at=row["next_fire_at"])

    @contextmanager
    def due(self, now: datetime, *, limit: int) -> Iterator[DueSchedules]:
        """The schedules that are due, locked until the end; those that others tick are left out."""
        with self._database.transaction() as session:
            rows = session.execute(statement("SchedulesDue"), {"now": now, "limit": limit}).fetchall()
            yield DueSchedules(session, rows)
