"""The next tick of a schedule.

Purpose: `every` in phase with its anchor, `cron` in its zone. Guarantees: a tick is strictly after the moment asked
for; across a change of the clocks, cron goes by the rules of Debian's cron, as cronsim does: a time that is skipped
fires right after the gap, a time that comes twice fires once, and jobs more frequent than an hour fire in both passes.
Never: a clock of its own. Ticks are in UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim

from freshet.domain.model import Schedule
from freshet.domain.schedule import NextAfter, interval, ticks_between


def next_after(schedule: Schedule, anchor: datetime) -> NextAfter:
    """The rule that answers the first tick strictly after a moment. Raises CronSimError, ZoneInfoNotFoundError."""
    if schedule.every is not None:
        return interval(anchor, schedule.every)
    return _cron(schedule.cron or "", ZoneInfo(schedule.timezone))


def first_tick(schedule: Schedule, anchor: datetime, now: datetime) -> datetime:
    """The first tick of a schedule that is applied or resumed now."""
    return next_after(schedule, anchor)(now)


def newest_missed(next_fire: datetime, now: datetime, rule: NextAfter, bound: int) -> datetime:
    """Of the ticks from `next_fire` to `now`, the oldest of the newest `bound`: what lies before is given up.

    Looks back in growing windows, for counting up from a year ago would take for ever.
    """
    back = timedelta(seconds=1)
    while now - back > next_fire:
        ticks = list(ticks_between(now - back, now + timedelta.resolution, rule))
        if len(ticks) >= bound:
            return ticks[-bound]
        back *= 2
    ticks = list(ticks_between(next_fire, now + timedelta.resolution, rule))
    return ticks[-bound] if len(ticks) > bound else next_fire


def _cron(expression: str, zone: ZoneInfo) -> NextAfter:
    def after(moment: datetime) -> datetime:
        moment = moment.astimezone(UTC)
        for tick in CronSim(expression, moment.astimezone(zone)):
            # At the autumn change the second pass has the same wall-clock times; ours only ever moves forward.
            if (found := tick.astimezone(UTC)) > moment:
                return found
        raise ValueError(f"{expression!r} never fires after {moment.isoformat()}")

    return after
