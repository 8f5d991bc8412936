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
from freshet.storage.statements import statement


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """The time by the database's clock, and when the next schedule is due (None: never)."""

    now: datetime
    next_fire_at: datetime | None


class Schedules:
    """The scheduler's rows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def outlook(self, now: datetime | None = None) -> Outlook:
        """One statement; `now` stands in for the database's clock."""
        row = self._database.rows("ScheduleOutlook", {"now": now})[0]
        return Outlook(now=row["now"], next_fire_at=row["next_fire_at"])

    @contextmanager
    def due(self, now: datetime, *, limit: int) -> Iterator[tuple[Session, Sequence[Row]]]:
        """A transaction that holds the due schedules' locks, and their rows; those that others tick are left out."""
        with self._database.transaction() as session:
            rows = session.execute(statement("SchedulesDue"), {"now": now, "limit": limit}).fetchall()
            yield session, rows


def advance(session: Session, workflow: str, next_fire_at: datetime) -> None:
    """Write down the next tick."""
    session.execute(statement("ScheduleAdvance"), {"workflow": workflow, "next_fire_at": next_fire_at})


def park(session: Session, workflow: str, error: str) -> None:
    """Set a schedule aside that can't be ticked, so that it stops no other."""
    session.execute(statement("SchedulePark"), {"workflow": workflow, "error": error})


@contextmanager
def apart(session: Session) -> Iterator[None]:
    """A part of the transaction that can fail alone. Raises DataError, StatementError, UnreachableError."""
    with translated(), session.transaction():
        yield
