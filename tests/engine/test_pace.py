"""What the dispatcher remembers about speed and room."""

from collections.abc import Iterable, Mapping

from freshet.engine.pace import CREDITS, LITTLE_ITEMS, LOOKED_AT, Pace


def empty(queues: Iterable[str]) -> Mapping[str, int]:
    return dict.fromkeys(queues, 0)


def pace() -> Pace:
    return Pace(queue_depth=100, depths=empty)


def test_another_runs_little_bundle_makes_the_bundles_of_a_wide_map_small() -> None:
    seen = pace()
    seen.opened("wide", 200)
    seen.opened("small", LITTLE_ITEMS)
    assert seen.is_shared("wide")
    assert not seen.is_shared("small")


def test_two_wide_maps_do_not_make_each_others_bundles_small() -> None:
    seen = pace()
    seen.opened("wide", 200)
    seen.opened("other", LITTLE_ITEMS + 1)
    assert not seen.is_shared("wide")


def test_a_run_that_was_served_is_forgotten_after_a_while() -> None:
    seen = pace()
    seen.opened("small", 1)
    for _ in range(LOOKED_AT - 1):
        seen.opened("wide", 200)
    assert seen.is_shared("wide")
    seen.opened("wide", 200)
    assert not seen.is_shared("wide")


def test_runs_with_little_work_are_told_from_wide_maps_beside_them() -> None:
    seen = pace()
    seen.opened("wide", 200)
    seen.opened("wide", 1)
    assert not seen.is_crowded
    seen.opened("small", 1)
    assert seen.is_crowded
    assert seen.little(["wide", "small", "new"]) == ["small", "new"]


def test_nobody_goes_ahead_more_often_than_others_are_put_at_the_end() -> None:
    seen = pace()
    assert not seen.may_go_ahead("q", 100)
    for turn in range(CREDITS + 5):
        seen.published("q", turn, 100)
    assert [seen.may_go_ahead("q", 100) for _ in range(CREDITS + 1)] == [True] * CREDITS + [False]
    seen.published("q", 99, 100)
    assert seen.may_go_ahead("q", 100)
    assert not seen.may_go_ahead("q", 100)


def test_nobody_goes_ahead_of_what_is_more_urgent() -> None:
    seen = pace()
    seen.published("q", 1, 50)
    assert not seen.may_go_ahead("q", 51)
    assert seen.may_go_ahead("q", 50)
    assert not seen.may_go_ahead("other", 50)
