from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshet.domain.model import CatchUp
from freshet.domain.schedule import TICK_BOUND, TOLERANCE, NextAfter, due_ticks, interval, ticks_between

START = datetime(2024, 1, 1, tzinfo=UTC)
HOURLY = interval(START, 3600)


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def counted(rule: NextAfter, calls: list[datetime]) -> NextAfter:
    def next_after(moment: datetime) -> datetime:
        calls.append(moment)
        return rule(moment)

    return next_after


@pytest.mark.parametrize("catch_up", CatchUp)
def test_nothing_is_due_before_its_time(catch_up: CatchUp) -> None:
    assert due_ticks(at(1), at(0.99), HOURLY, catch_up) == ((), at(1))


@pytest.mark.parametrize("catch_up", CatchUp)
def test_tick_on_time_fires_and_the_next_is_told(catch_up: CatchUp) -> None:
    assert due_ticks(at(1), at(1), HOURLY, catch_up) == ((at(1),), at(2))


@pytest.mark.parametrize("catch_up", CatchUp)
def test_tick_a_little_late_fires(catch_up: CatchUp) -> None:
    late = at(1) + TOLERANCE - timedelta.resolution
    assert due_ticks(at(1), late, HOURLY, catch_up) == ((at(1),), at(2))


@pytest.mark.parametrize(
    ("catch_up", "fired"),
    [(CatchUp.NONE, ()), (CatchUp.LATEST, (at(4),)), (CatchUp.ALL, (at(1), at(2), at(3), at(4)))],
)
def test_missed_ticks_follow_the_policy(catch_up: CatchUp, fired: tuple[datetime, ...]) -> None:
    assert due_ticks(at(1), at(4.5), HOURLY, catch_up) == (fired, at(5))


def test_missed_ticks_are_dropped_but_the_present_one_fires() -> None:
    assert due_ticks(at(1), at(4), HOURLY, CatchUp.NONE) == ((at(4),), at(5))


def test_tick_as_late_as_the_tolerance_is_missed() -> None:
    assert due_ticks(at(1), at(1) + TOLERANCE, HOURLY, CatchUp.NONE) == ((), at(2))


def test_all_ticks_of_a_long_pause_come_in_bounded_passes() -> None:
    minutely, now = interval(START, 60), at(40)
    fired: list[datetime] = []
    due, passes = START, 0
    while due <= now:
        ticks, due = due_ticks(due, now, minutely, CatchUp.ALL)
        assert len(ticks) <= TICK_BOUND
        fired.extend(ticks)
        passes += 1
    assert fired == list(ticks_between(START, now + timedelta(minutes=1), minutely))
    assert passes == 3


@pytest.mark.parametrize("catch_up", [CatchUp.NONE, CatchUp.LATEST])
def test_long_pause_of_a_quick_schedule_costs_few_steps(catch_up: CatchUp) -> None:
    calls: list[datetime] = []
    ticks, due = due_ticks(START, at(24 * 365), counted(interval(START, 1), calls), catch_up, timedelta(seconds=10))
    assert due == at(24 * 365) + timedelta(seconds=1)
    assert ticks[-1] == at(24 * 365)
    assert len(ticks) == (10 if catch_up is CatchUp.NONE else 1)
    assert len(calls) < 100


def test_interval_keeps_phase_with_its_anchor() -> None:
    rule = interval(START, 59 * 60)
    tick = START
    for count in range(1, 2000):
        tick = rule(tick)
        assert tick == START + count * timedelta(minutes=59)


def test_interval_keeps_phase_though_every_pass_is_late() -> None:
    due = at(1)
    fired: list[datetime] = []
    for late in (3, 50, 20, 59, 1):
        ticks, due = due_ticks(due, due + timedelta(seconds=late), HOURLY, CatchUp.NONE)
        fired.extend(ticks)
    assert fired == [at(hours) for hours in range(1, 6)]


def test_interval_is_the_same_in_every_zone_and_over_a_clock_change() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    before = datetime(2024, 3, 31, 1, 30, tzinfo=berlin)
    assert interval(before, 3600)(before) == before.astimezone(UTC) + timedelta(hours=1)
    shifted = START.astimezone(timezone(timedelta(hours=5, minutes=45)))
    assert interval(shifted, 3600)(at(7.5)) == at(8)


def test_interval_reaches_back_before_its_anchor() -> None:
    assert list(ticks_between(at(-2), at(1), HOURLY)) == [at(-2), at(-1), at(0)]


def test_backfill_takes_its_start_and_leaves_its_end() -> None:
    assert list(ticks_between(at(0), at(3), HOURLY)) == [at(0), at(1), at(2)]
    assert list(ticks_between(at(0.5), at(1), HOURLY)) == []


def clustered(moments: list[int]) -> NextAfter:
    """Ticks at odd moments, as a cron rule may have them, and one long after all."""
    ticks = sorted({at(hours) for hours in moments} | {at(10**5)})

    def next_after(moment: datetime) -> datetime:
        return next(tick for tick in ticks if tick > moment)

    return next_after


moments = st.lists(st.integers(0, 2000), min_size=1, max_size=40)
seconds = st.integers(0, 2000 * 3600)


@given(moments, seconds, st.sampled_from(CatchUp))
def test_any_rule_keeps_the_laws_of_ticks(hours: list[int], late: int, catch_up: CatchUp) -> None:
    rule, first, now = clustered(hours), at(min(hours)), START + timedelta(seconds=late)
    ticks, due = due_ticks(first, now, rule, catch_up)
    all_due = [at(hour) for hour in sorted(set(hours)) if at(hour) <= now]
    expected = {
        CatchUp.ALL: all_due,
        CatchUp.LATEST: all_due[-1:],
        CatchUp.NONE: [tick for tick in all_due if now - tick < TOLERANCE],
    }[catch_up]
    assert list(ticks) == expected
    assert due > now
    assert due == (rule(now) if all_due else first)


@given(st.integers(1, 10**6), st.lists(st.integers(0, 10**5), max_size=20), st.sampled_from(CatchUp))
def test_no_tick_fires_twice_however_irregular_the_passes(every: int, pauses: list[int], catch_up: CatchUp) -> None:
    rule = interval(START, every)
    due, now = rule(START), START
    fired: list[datetime] = []
    for pause in pauses:
        now += timedelta(seconds=pause)
        ticks, due = due_ticks(due, now, rule, catch_up)
        fired.extend(ticks)
    assert fired == sorted(set(fired))
    assert all((tick - START) % timedelta(seconds=every) == timedelta(0) for tick in (*fired, due))
