"""The scheduler's pass: due ticks become runs.

Purpose: `tick(now)` answers what it did. Guarantees: a schedule's runs and its next tick are committed together; the
same tick never makes two runs, whoever ticks (row locks, and the run's unique origin); a schedule that can't be ticked
is set aside and stops no other. Never: a wait.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from freshet.domain.errors import UnreachableError
from freshet.domain.model import CatchUp, Overlap, Schedule, Trigger
from freshet.domain.schedule import TICK_BOUND, due_ticks
from freshet.runtime import log
from freshet.scheduling.clockwork import newest_missed, next_after
from freshet.storage.database import Row, StatementError
from freshet.storage.definitions import schedule_of
from freshet.storage.requests import Announcement, Asked, NewRun, Requests, new_run_id, schedule_origin
from freshet.storage.schedules import DueSchedules, Schedules

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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Fired:
    """What the ticks of one schedule made."""

    runs: list[Asked]
    skipped: list[Announcement]
    held: bool  # a run waits for an earlier one to end


class Ticker:
    """Ticks every due schedule once per pass."""

    def __init__(
        self,
        *,
        schedules: Schedules,
        requests: Requests,
        max_catch_up: int = TICK_BOUND,
        new_id: Callable[[], UUID] = new_run_id,
    ) -> None:
        """`max_catch_up`: of the ticks that `catch_up: all` makes up for, so many of the newest."""
        self._max_catch_up = max_catch_up
        self._new_id = new_id
        self._requests = requests
        self._schedules = schedules
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
        with self._schedules.due(now, limit=BATCH) as due:
            for row in due.rows:
                fired = self._guarded(due, row, now)
                if fired is None:
                    parked.append(row["workflow"])
                    continue
                runs += fired.runs
                skipped += fired.skipped
                held = held or fired.held
        # Rows that another scheduler has locked are due still: look again soon, and not at once for ever.
        wait = 0.0 if due.rows else 1.0
        return Ticked(runs=tuple(runs), skipped=tuple(skipped), parked=tuple(parked), wait=wait), held

    def _guarded(self, due: DueSchedules, row: Row, now: datetime) -> _Fired | None:
        """What the schedule's ticks made, with its next one written down; None when the schedule was set aside."""
        try:
            with due.apart():
                return _fire(due, row, self._plan(due, row, now))
        except (UnreachableError, StatementError):
            raise  # that is the server's trouble, not this row's: it is tried again
        except Exception as error:  # noqa: BLE001  (whatever is wrong with this row, the others go on)
            self._log.exception("schedule_parked", message=str(error), workflow=row["workflow"])
            with due.apart():
                due.park(row["workflow"], f"{type(error).__name__}: {error}")
            return None

    def _plan(self, due: DueSchedules, row: Row, now: datetime) -> _Plan:
        schedule = schedule_of(row)
        rule = next_after(schedule, row["anchor"])
        first = row["next_fire_at"]
        if schedule.catch_up is CatchUp.ALL:
            first = newest_missed(first, now, rule, self._max_catch_up)
        ticks, following = due_ticks(first, now, rule, schedule.catch_up)
        due.advance(row["workflow"], following)
        runs = [_run(row, tick, self._new_id()) for tick in ticks]
        if schedule.overlap is Overlap.ALLOW or not runs:
            return _Plan(runs=tuple(runs), skipped=())
        return overlapping(runs, schedule, busy=due.active_runs(row["workflow"]) > 0)


def _fire(due: DueSchedules, row: Row, plan: _Plan) -> _Fired:
    runs = due.insert_runs(plan.runs)
    skipped = [due.insert_skipped(run, row["root_task_name"]) for run in plan.skipped]
    return _Fired(
        runs=runs,
        skipped=[announcement for announcement in skipped if announcement],
        held=any(run.held for run in plan.runs),
    )


def overlapping(runs: Sequence[NewRun], schedule: Schedule, *, busy: bool) -> _Plan:
    """Which of the ticks run at once, which wait, and which are passed over.

    Under `skip` a tick that comes while a run is going on is passed over; but ticks that `catch_up: all` makes up for
    each get their run, so they wait for one another.
    """
    first, rest = (runs[:0], runs) if busy else (runs[:1], runs[1:])
    if schedule.overlap is Overlap.QUEUE or (schedule.catch_up is CatchUp.ALL and len(runs) > 1):
        return _Plan(runs=(*first, *(replace(run, held=True) for run in rest)), skipped=())
    return _Plan(runs=tuple(first), skipped=tuple(rest))


def _run(row: Row, tick: datetime, run_id: UUID) -> NewRun:
    return NewRun(
        id=run_id,
        workflow=row["workflow"],
        version=row["version"],
        trigger=Trigger.SCHEDULE,
        params=row["params"],
        origin=schedule_origin(row["workflow"], tick),
        scheduled_for=tick,
        priority=row["priority"],
    )
