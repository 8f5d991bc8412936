"""The next tick: phase, zones, and the nights on which clocks change."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshet.domain.model import Schedule
from freshet.scheduling import first_tick, next_after
from freshet.scheduling.clockwork import newest_missed

ANCHOR = datetime(2026, 1, 1, 12, 34, 56, tzinfo=UTC)
moments = st.integers(0, 4_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


def _berlin(cron: str, after: str, count: int) -> list[str]:
    rule = next_after(Schedule(cron=cron, timezone="Europe/Berlin"), ANCHOR)
    moment, found = datetime.fromisoformat(after), []
    for _ in range(count):
        moment = rule(moment)
        found.append(moment.strftime("%d %H:%M"))
    return found


def test_a_time_that_is_skipped_in_spring_fires_right_after_the_gap() -> None:
    assert _berlin("30 2 * * *", "2026-03-28T12:00:00+00:00", 2) == ["29 01:00", "30 00:30"]


def test_a_time_that_comes_twice_in_autumn_fires_once() -> None:
    assert _berlin("30 2 * * *", "2026-10-24T12:00:00+00:00", 2) == ["25 00:30", "26 01:30"]
    # also for a scheduler that was started between the two
    assert _berlin("30 2 * * *", "2026-10-25T00:45:00+00:00", 1) == ["26 01:30"]
    assert _berlin("30 2 * * *", "2026-10-25T01:15:00+00:00", 1) == ["26 01:30"]


def test_jobs_more_frequent_than_an_hour_fire_in_both_passes() -> None:
    expected = ["25 00:00", "25 00:30", "25 01:00", "25 01:30", "25 02:00"]
    assert _berlin("*/30 * * * *", "2026-10-24T23:30:00+00:00", 5) == expected


@given(st.sampled_from(["*/7 * * * *", "30 2 * * *", "0 0 1 * *", "15 3 * * 1-5", "*/10 * * * * *"]), moments)
def test_a_tick_is_strictly_after_the_moment_asked_for(cron: str, moment: datetime) -> None:
    rule = next_after(Schedule(cron=cron, timezone="America/New_York"), ANCHOR)
    assert moment < rule(moment) <= rule(rule(moment) - timedelta.resolution)


@given(st.integers(1, 100_000), moments)
def test_an_interval_keeps_phase_with_its_anchor_for_ever(every: int, moment: datetime) -> None:
    tick = first_tick(Schedule(every=float(every)), ANCHOR, moment)
    assert timedelta() < tick - moment <= timedelta(seconds=every)
    assert (tick - ANCHOR) % timedelta(seconds=every) == timedelta()


@given(st.integers(1, 50), st.integers(0, 5_000), st.integers(1, 20))
def test_of_too_many_missed_ticks_the_newest_are_made_up_for(every: int, seconds: int, bound: int) -> None:
    rule = next_after(Schedule(every=float(every)), ANCHOR)
    first = rule(ANCHOR)
    now = ANCHOR + timedelta(seconds=every + seconds)
    ticks = [first]
    while rule(ticks[-1]) <= now:
        ticks.append(rule(ticks[-1]))
    assert newest_missed(first, now, rule, bound) == ticks[-bound:][0]


def test_a_year_of_missed_seconds_is_not_counted_up() -> None:
    rule = next_after(Schedule(every=1.0), ANCHOR)
    now = ANCHOR + timedelta(days=365)
    assert newest_missed(rule(ANCHOR), now, rule, 1000) == now - timedelta(seconds=999)


def test_an_unknown_zone_or_expression_is_an_error() -> None:
    for schedule in (Schedule(cron="0 0 * * *", timezone="Nowhere/At_All"), Schedule(cron="61 * * * *")):
        with pytest.raises(Exception, match=r"No time zone|Bad minute"):
            next_after(schedule, ANCHOR)(ANCHOR)
