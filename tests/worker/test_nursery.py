"""When a child follows another."""

from typing import Any

import pytest

from freshet.execution.nursery import Nursery
from freshet.execution.warm_child import ChildOptions

OPTIONS = ChildOptions(modules=(), database_url="", limit=1)


class Child:
    """A child that gets ready when the test says so."""

    def __init__(self, options: ChildOptions) -> None:
        self.items = 0
        self.alive, self.has_spoken, self.closed = True, False, False

    @property
    def processes(self) -> dict[str, str]:
        self.has_spoken = True
        return {}

    def close(self) -> None:
        self.alive, self.closed = False, True


@pytest.fixture
def made() -> list[Child]:
    return []


@pytest.fixture
def nursery(made: list[Child]) -> Nursery:
    def make(options: ChildOptions) -> Any:
        made.append(Child(options))
        return made[-1]

    return Nursery(OPTIONS, items_per_child=10, make=make)


def test_a_child_serves_on_until_its_successor_is_ready(nursery: Nursery, made: list[Child]) -> None:
    first: Any = nursery.child()
    first.items = 10
    nursery.refresh()
    nursery.refresh()
    assert len(made) == 2
    assert nursery.child() is first
    made[1].has_spoken = True
    nursery.refresh()
    assert nursery.child() is made[1]
    assert first.closed


def test_a_child_that_has_served_less_than_its_share_has_no_successor(nursery: Nursery, made: list[Child]) -> None:
    nursery.child().items = 9
    nursery.refresh()
    assert len(made) == 1


def test_the_successor_of_a_child_that_dies_takes_over_at_once(nursery: Nursery, made: list[Child]) -> None:
    nursery.child().items = 10
    nursery.refresh()
    made[0].alive = False
    nursery.refresh()
    assert nursery.child() is made[1]
    assert len(made) == 2


def test_a_successor_that_died_while_it_got_ready_is_followed_by_another(nursery: Nursery, made: list[Child]) -> None:
    nursery.child().items = 10
    nursery.refresh()
    made[1].alive, made[1].has_spoken = False, True
    nursery.refresh()
    nursery.refresh()
    assert nursery.child() is made[2]


def test_close_ends_both(nursery: Nursery, made: list[Child]) -> None:
    nursery.child().items = 10
    nursery.refresh()
    nursery.close()
    assert [child.closed for child in made] == [True, True]
