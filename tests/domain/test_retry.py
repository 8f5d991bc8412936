from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshet.domain.model import RetryPolicy
from freshet.domain.retry import backoff, delay

policies = st.builds(
    RetryPolicy,
    limit=st.integers(0, 10),
    delay=st.floats(0, 1e6),
    factor=st.floats(0.1, 100),
    cap=st.floats(0, 1e5),
    jitter=st.floats(0, 1),
)
draws = st.floats(0, 1, exclude_max=True)


def test_delay_grows_by_its_factor() -> None:
    policy = RetryPolicy(limit=9, delay=5, factor=2)
    assert [delay(policy, failures, 0.0) for failures in (1, 2, 3, 4)] == [5, 10, 20, 40]


def test_delay_stays_the_same_without_a_factor() -> None:
    policy = RetryPolicy(limit=9, delay=5)
    assert [delay(policy, failures, 0.9) for failures in (1, 2, 50)] == [5, 5, 5]


def test_no_delay_means_at_once() -> None:
    assert delay(RetryPolicy(limit=3, factor=2, jitter=1), 3, 0.7) == 0


@pytest.mark.parametrize(("draw", "seconds"), [(0.0, 8.0), (0.25, 9.0), (0.5, 10.0), (0.75, 11.0)])
def test_jitter_spreads_around_the_delay_by_the_draw(draw: float, seconds: float) -> None:
    assert delay(RetryPolicy(delay=10, jitter=0.2), 1, draw) == pytest.approx(seconds)


def test_cap_holds_and_long_delays_are_still_spread() -> None:
    policy = RetryPolicy(delay=10, factor=10, cap=60, jitter=0.5)
    assert delay(policy, 9, 0.9) == 60
    assert delay(policy, 9, 0.0) == 30


def test_delay_beyond_the_floats_is_the_cap() -> None:
    assert delay(RetryPolicy(delay=5, factor=10, cap=600), 100_000, 0.5) == 600


@given(policies, st.integers(1, 10_000), draws)
def test_delay_is_never_negative_and_never_above_the_cap(policy: RetryPolicy, failures: int, draw: float) -> None:
    assert 0 <= delay(policy, failures, draw) <= policy.cap


@given(policies, st.integers(1, 100), draws)
def test_delay_lies_within_the_jitter(policy: RetryPolicy, failures: int, draw: float) -> None:
    calm = min(policy.delay * policy.factor ** (failures - 1), policy.cap)
    seconds = delay(policy, failures, draw)
    assert calm * (1 - policy.jitter) <= seconds * (1 + 1e-9) + 1e-9
    assert seconds <= calm * (1 + policy.jitter) * (1 + 1e-9) + 1e-9


def test_hand_backs_wait_one_to_sixty_seconds_doubling() -> None:
    assert [backoff(times) for times in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]


@given(st.integers(1, 10**9))
def test_hand_back_never_waits_longer_than_a_minute(times: int) -> None:
    assert 1 <= backoff(times) <= 60
