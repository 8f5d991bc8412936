"""The scheduler's pass: due ticks become runs.

Purpose: `tick(now)` answers what it did. Guarantees: a schedule's runs and its next tick are committed together; the
same tick never makes two runs, whoever ticks (row locks, and the run's unique origin); a schedule that can't be ticked
is set aside and stops no other. Never: a wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from freshet.domain.errors import UnreachableError
from freshet.domain.model import CatchUp, Overlap, Schedule, Trigger
from freshet.domain.schedule import TICK_BOUND, due_ticks
from freshet.runtime import log
from freshet.scheduling.clockwork import newest_missed, next_after
from freshet.storage.database import Database, Row, Session
from freshet.storage.definitions import schedule_of
from freshet.storage.requests import (
    Announcement,
    Asked,
    NewRun,
    Requests,
    active_runs,
    insert_runs,
    insert_skipped,
    schedule_origin,
)
from freshet.storage.schedules import Schedules, advance, apart, park

#: Schedules that one transaction ticks.
BATCH = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Ticked:
    """What a pass did."""

    runs: tuple[Asked, ...] = ()  # made or, by a tick known before, found
    skipped: tuple[Announcement, ...] = ()
    parked: tuple[str, ...] = ()  # workflows whose schedule can't be ticked
    wait: float | None = None  # seconds until the next tick is due; None: nothing is scheduled

    @property
    def did(self) -> int:
        """How many ticks were answered."""
        return len(self.runs) + len(self.skipped)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """What becomes of the ticks of one schedule."""

    runs: tuple[NewRun, ...]
    skipped: tuple[NewRun, ...]


class Ticker:
    """Ticks every due schedule once per pass."""

    def __init__(self, database: Database, *, max_catch_up: int = TICK_BOUND) -> None:
        """`max_catch_up`: of the ticks that `catch_up: all` makes up for, so many of the newest."""
        self._max_catch_up = max_catch_up
        self._requests = Requests(database)
        self._schedules = Schedules(database)
        self._log = log.logger()

    def tick(self, now: datetime | None = None) -> Ticked:
        """Make the runs of all ticks that are due at `now`, by default the database's time."""
        outlook = self._schedules.outlook(now)
        if outlook.next_fire_at is None:
            return Ticked()
        if outlook.next_fire_at > outlook.now:
            return Ticked(wait=(outlook.next_fire_at - outlook.now).total_seconds())
        ticked, held = self._fire_due(outlook.now)
        return replace(ticked, runs=(*ticked.runs, *self._requests.release_held())) if held else ticked

    def _fire_due(self, now: datetime) -> tuple[Ticked, bool]:
        runs: list[Asked] = []
        skipped: list[Announcement] = []
        parked: list[str] = []
        held = False
        with self._schedules.due(now, limit=BATCH) as (session, rows):
            for row in rows:
                plan = self._guarded(session, row, now)
                if plan is None:
                    parked.append(row["workflow"])
                    continue
                runs += insert_runs(session, plan.runs) if plan.runs else []
                found = (insert_skipped(session, run, row["root_task_name"]) for run in plan.skipped)
                skipped += [announcement for announcement in found if announcement]
                held = held or any(run.held for run in plan.runs)
        # Rows that another scheduler has locked are due still: look again soon, and not at once for ever.
        wait = 0.0 if rows else 1.0
        return Ticked(runs=tuple(runs), skipped=tuple(skipped), parked=tuple(parked), wait=wait), held

    def _guarded(self, session: Session, row: Row, now: datetime) -> _Plan | None:
        """The schedule's plan, with its next tick written down; None when the schedule was set aside."""
        try:
            with apart(session):
                return _plan(session, row, now, self._max_catch_up)
        except UnreachableError:
            raise
        except Exception as error:  # noqa: BLE001  (whatever is wrong with this row, the others go on)
            self._log.exception("schedule_parked", message=str(error), workflow=row["workflow"])
            with apart(session):
                park(session, row["workflow"], f"{type(error).__name__}: {error}")
            return None


def _plan(session: Session, row: Row, now: datetime, max_catch_up: int) -> _Plan:
    schedule = schedule_of(row)
    rule = next_after(schedule, row["anchor"])
    first = row["next_fire_at"]
    if schedule.catch_up is CatchUp.ALL:
        first = newest_missed(first, now, rule, max_catch_up)
    ticks, following = due_ticks(first, now, rule, schedule.catch_up)
    advance(session, row["workflow"], following)
    runs = [_run(row, tick) for tick in ticks]
    if schedule.overlap is Overlap.ALLOW or not runs:
        return _Plan(runs=tuple(runs), skipped=())
    return overlapping(runs, schedule, busy=active_runs(session, row["workflow"]) > 0)


def overlapping(runs: Sequence[NewRun], schedule: Schedule, *, busy: bool) -> _Plan:
    """Which of the ticks run at once, which wait, and which are passed over.

    Under `skip` a tick that comes while a run is going on is passed over; but ticks that `catch_up: all` makes up for
    each get their run, so they wait for one another.
    """
    first, rest = (runs[:0], runs) if busy else (runs[:1], runs[1:])
    if schedule.overlap is Overlap.QUEUE or (schedule.catch_up is CatchUp.ALL and len(runs) > 1):
        return _Plan(runs=(*first, *(replace(run, held=True) for run in rest)), skipped=())
    return _Plan(runs=tuple(first), skipped=tuple(rest))


def _run(row: Row, tick: datetime) -> NewRun:
    return NewRun(
        workflow=row["workflow"],
        version=row["version"],
        trigger=Trigger.SCHEDULE,
        params=row["params"],
        origin=schedule_origin(row["workflow"], tick),
        scheduled_for=tick,
        priority=row["priority"],
    )
