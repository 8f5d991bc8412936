"""Which ticks of a schedule are due, and which is next.

Purpose: the policy for ticks that were missed, over any rule that answers the next tick after a moment. Guarantees: a
tick is answered once, in order; an interval keeps phase with its anchor for ever, for it is counted from there and not
from the last tick. Never: a clock, a zone's rules (cron ticks come from `next_after`). All moments are aware.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

from freshet.domain.model import CatchUp

#: The most ticks that one pass fires; what is left stays due.
TICK_BOUND = 1000

#: A tick that is late by less is not a missed one.
TOLERANCE = timedelta(seconds=60)

NextAfter = Callable[[datetime], datetime]


def interval(anchor: datetime, every: float) -> NextAfter:
    """Answer the rule of a tick each `every` seconds, in phase with `anchor`, before it as well as after."""
    start, step = anchor.astimezone(UTC), timedelta(seconds=every)

    def next_after(moment: datetime) -> datetime:
        return start + ((moment.astimezone(UTC) - start) // step + 1) * step

    return next_after


def due_ticks(
    next_fire: datetime,
    now: datetime,
    next_after: NextAfter,
    catch_up: CatchUp,
    tolerance: timedelta = TOLERANCE,
) -> tuple[tuple[datetime, ...], datetime]:
    """Answer the ticks to fire now, oldest first, and the tick after them.

    `next_fire` is the first tick that was not answered yet, `next_after` the first one strictly after a moment.
    Under `all` at most TICK_BOUND fire, and the next may then be due already.
    """
    if next_fire > now:
        return (), next_fire
    first = _first(next_fire, now, next_after, catch_up, tolerance)
    ticks = tuple(islice(_ticks(first, now, next_after), TICK_BOUND))
    following = next_after(ticks[-1]) if ticks else first
    return ticks, following


def ticks_between(start: datetime, end: datetime, next_after: NextAfter) -> Iterator[datetime]:
    """Yield the ticks from `start` on and before `end`, for a backfill."""
    tick = next_after(start - timedelta.resolution)
    while tick < end:
        yield tick
        tick = next_after(tick)


def _first(
    next_fire: datetime, now: datetime, next_after: NextAfter, catch_up: CatchUp, tolerance: timedelta
) -> datetime:
    match catch_up:
        case CatchUp.ALL:
            return next_fire
        case CatchUp.NONE:
            return next_fire if now - next_fire < tolerance else next_after(now - tolerance)
        case CatchUp.LATEST:
            return _latest(next_fire, now, next_after)


def _latest(first: datetime, now: datetime, next_after: NextAfter) -> datetime:
    """The newest tick at or before `now`, by halving: after a year's pause, counting up would take for ever."""
    tick, end = first, now
    while (following := next_after(tick)) <= now:
        middle = tick + (end - tick) / 2
        late = next_after(middle)
        if late <= now:
            tick = late
        else:
            tick, end = following, middle
    return tick


def _ticks(first: datetime, now: datetime, next_after: NextAfter) -> Iterator[datetime]:
    tick = first
    while tick <= now:
        yield tick
        tick = next_after(tick)
