from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshet.domain.sizing import BUNDLE_CAP, LITTLE, SHARED_CAP, bundle_size, plan, window

means = st.one_of(st.none(), st.floats(0, 1e4))
counts = st.integers(0, 2_000_000)
workers = st.integers(0, 500)
#: Mostly within a window, where something has to be decided.
in_flights = st.one_of(st.just(0), st.integers(0, 300), counts)


@pytest.mark.parametrize(
    ("mean_s", "remaining", "crew", "size"),
    [
        (None, 10_000, 2, 1),
        (0.0, 10_000, 2, 200),
        (0.0001, 10_000, 2, 200),
        (0.001, 10_000, 2, 50),
        (0.01, 10_000, 2, 5),
        (0.05, 10_000, 2, 1),
        (3600.0, 10_000, 2, 1),
        (float("inf"), 10_000, 2, 1),
        (0.0001, 400, 2, 100),
        (0.0001, 401, 2, 101),
        # Little work goes in one piece.
        (0.0001, 100, 2, 50),
        (0.0001, 3, 2, 50),
        (0.001, 10, 2, 5),
        (0.001, 4, 2, 5),
        (0.003, 4, 2, 1),
        (0.0001, 0, 2, 50),
        (0.001, 10, 0, 5),
    ],
)
def test_bundle_size(mean_s: float | None, remaining: int, crew: int, size: int) -> None:
    assert bundle_size(mean_s, remaining, crew) == size


@pytest.mark.parametrize(("size", "items"), [(1, 64), (3, 64), (7, 70), (50, 500), (200, 2000)])
def test_window_holds_ten_bundles_within_its_bounds(size: int, items: int) -> None:
    assert window(size) == items


def test_bundles_are_small_while_somebody_else_waits_for_them() -> None:
    assert bundle_size(0.0001, 10_000, 2, cap=SHARED_CAP) == SHARED_CAP
    assert plan(10_000, 4, 3, mean_s=0.0001, measured=1, workers=2, cap=SHARED_CAP)[0] == SHARED_CAP


def test_a_wide_map_leaves_room_while_somebody_else_has_little_work() -> None:
    assert plan(10_000, 4, 0, mean_s=0.0001, measured=1, workers=2, cap=SHARED_CAP) == (50, 50)
    assert plan(10_000, 104, 50, mean_s=0.0001, measured=1, workers=2, cap=SHARED_CAP) == ()
    assert plan(10_000, 104, 49, mean_s=0.0001, measured=1, workers=2, cap=SHARED_CAP) == (50, 1)


def test_window_keeps_every_worker_busy() -> None:
    assert window(1, workers=100) == 400
    assert window(200, workers=5) == 4000
    assert window(200, workers=500) == 4000


def test_window_of_items_that_hold_no_worker_may_be_wider() -> None:
    assert window(1, floor=1000) == 1000


def test_unmeasured_map_opens_a_few_singles_and_then_waits() -> None:
    assert plan(10_000, 0, 0, mean_s=None, measured=0, workers=2) == (1, 1, 1, 1)
    assert plan(10_000, 4, 4, mean_s=None, measured=0, workers=2) == ()
    assert plan(10_000, 4, 3, mean_s=None, measured=0, workers=2) == (1,)
    assert plan(3, 0, 0, mean_s=None, measured=0, workers=2) == (1, 1, 1)


def test_mean_of_nothing_measured_is_no_mean() -> None:
    assert plan(10_000, 0, 0, mean_s=0.0, measured=0, workers=2) == (1, 1, 1, 1)


def test_measured_map_of_short_items_jumps_to_large_bundles() -> None:
    assert plan(10_000, 4, 3, mean_s=0.0001, measured=1, workers=2) == (200,) * 9 + (197,)


def test_measured_map_of_long_items_goes_one_at_a_time() -> None:
    assert plan(10_000, 4, 3, mean_s=10, measured=1, workers=2) == (1,) * 61


def test_map_is_refilled_only_below_half_its_window() -> None:
    assert plan(10_000, 5_000, 32, mean_s=10, measured=9, workers=2) == ()
    assert plan(10_000, 5_000, 31, mean_s=10, measured=9, workers=2) == (1,) * 33


def test_end_of_the_map_is_shared_out() -> None:
    assert plan(10_000, 9_600, 0, mean_s=0.0001, measured=9, workers=2) == (100, 100, 100, 100)
    assert plan(10_000, 9_990, 0, mean_s=0.0001, measured=9, workers=2) == (10,)
    assert plan(10_000, 10_000, 0, mean_s=0.0001, measured=9, workers=2) == ()


@given(means, counts, workers)
def test_bundle_holds_one_to_two_hundred(mean_s: float | None, remaining: int, crew: int) -> None:
    assert 1 <= bundle_size(mean_s, remaining, crew) <= BUNDLE_CAP


@given(st.floats(0.0003, 1e4), counts, workers)
def test_bundle_of_several_is_expected_to_be_short(mean_s: float, remaining: int, crew: int) -> None:
    size = bundle_size(mean_s, remaining, crew)
    assert size == 1 or size * mean_s <= 0.05 * (1 + 1e-9)


@given(means, st.integers(1, 2_000_000), st.integers(1, 500))
def test_every_worker_gets_work_while_there_is_enough(mean_s: float | None, remaining: int, crew: int) -> None:
    size = bundle_size(mean_s, remaining, crew)
    assert size == 1 or -(-remaining // size) > crew or size * (mean_s or 0) <= LITTLE


@given(st.integers(0, 100_000), counts, in_flights, means, st.integers(0, 3), workers, st.sampled_from([64, 1000]))
def test_plan_keeps_its_laws(
    left: int, mark: int, in_flight: int, mean_s: float | None, measured: int, crew: int, floor: int
) -> None:
    total = mark + left
    sizes = plan(total, mark, in_flight, mean_s=mean_s, measured=measured, workers=crew, floor=floor)
    assert all(1 <= size <= BUNDLE_CAP for size in sizes)
    assert mark + sum(sizes) <= total
    limit = window(bundle_size(mean_s, left, crew), workers=crew, floor=floor)
    assert not sizes or in_flight + sum(sizes) <= limit
    assert sizes or in_flight or not left, "a map with nothing in flight goes on"
    if measured == 0:
        assert set(sizes) <= {1}


@given(st.integers(0, 3_000), st.floats(0, 10), st.integers(1, 20), st.data())
def test_map_is_opened_to_its_end(total: int, mean_s: float, crew: int, data: st.DataObject) -> None:
    mark = in_flight = refills = 0
    while mark < total:
        sizes = plan(total, mark, in_flight, mean_s=mean_s, measured=mark, workers=crew)
        refills += bool(sizes)
        mark, in_flight = mark + sum(sizes), in_flight + sum(sizes)
        in_flight -= data.draw(st.sampled_from((in_flight, (in_flight + 1) // 2)))
    assert mark == total
