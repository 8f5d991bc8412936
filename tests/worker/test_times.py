"""Busy + idle = wall."""

from hypothesis import given
from hypothesis import strategies as st

from freshet.execution.times import Stopwatch
from freshet.runtime.clock import TurnedClock


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1e6)), max_size=30))
def test_busy_and_idle_are_wall_at_every_reading(spans: list[tuple[bool, float]]) -> None:
    clock = TurnedClock()
    watch, busy = Stopwatch(clock), 0.0
    for is_busy, seconds in spans:
        if is_busy:
            with watch.busy():
                assert watch.is_busy
                clock.turn(seconds)
            busy += seconds
        else:
            clock.turn(seconds)
        times = watch.read()
        assert times.busy_s + times.idle_s == times.wall_s
        assert abs(times.busy_s - busy) <= 1e-6 * max(1.0, clock.now)
        assert abs(times.wall_s - clock.now) <= 1e-6 * max(1.0, clock.now)
