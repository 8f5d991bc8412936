"""When items that share a transaction commit: by their number, their bytes, and a clock that the test turns."""

from collections.abc import Iterable
from typing import Any

import pytest

from freshet.execution.channel import Sent
from freshet.execution.contract import Item, Outcome
from freshet.execution.shared_turns import HELD_EVERY, SHARED_BYTES, SHARED_ITEMS, SHARED_SECONDS, SharedTurns


class Session:
    """A transaction that is open, and commits what it is given."""

    begun, ended, lost = True, False, False

    def __init__(self) -> None:
        self.commits: list[bytes] = []

    def leave(self, *, keep: bool) -> None:
        assert keep

    def finish(self, outcomes: bytes) -> None:
        self.commits.append(outcomes)


class Channel:
    def __init__(self) -> None:
        self.said: list[Any] = []

    def send(self, message: dict[str, Any]) -> None:
        self.said.append(message["op"])

    def send_outcomes(self, tries: Iterable[Sent]) -> None:
        self.said += [(sent.position, sent.committed) for sent in tries]


class Bench:
    def __init__(self) -> None:
        self.now, self.position = 0.0, 0
        self.session, self.channel = Session(), Channel()
        self.committed: list[int] = []
        given: Any = self.channel, self.session
        self.turns = SharedTurns(
            *given,
            complain=lambda _: None,
            end_output=lambda _: None,
            committed=self.committed.append,
            failed=lambda: None,
            monotonic=lambda: self.now,
        )

    def take(self, seconds: float = 0.0, result: bytes = b"1") -> None:
        item = Item(key=self.position, attempt=1, index=str(self.position), payload=None)
        self.now += seconds
        assert self.turns.take(self.position, item, Outcome(status="succeeded", result=result), seconds)
        self.position += 1


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_transaction_takes_no_further_item_after_a_quarter_of_a_second(bench: Bench) -> None:
    bench.take(SHARED_SECONDS / 2)
    assert bench.committed == []
    bench.take(SHARED_SECONDS / 2)
    assert bench.committed == [2]
    bench.take(SHARED_SECONDS)
    assert bench.committed == [2, 3]


def test_a_transaction_takes_fifty_items(bench: Bench) -> None:
    for _ in range(SHARED_ITEMS - 1):
        bench.take()
    assert bench.committed == []
    bench.take()
    assert bench.committed == [SHARED_ITEMS]


def test_outcomes_that_are_large_are_committed_at_once(bench: Bench) -> None:
    bench.take(result=b'"' + b"x" * SHARED_BYTES + b'"')
    assert bench.committed == [1]


def test_an_outcome_is_told_when_it_is_committed_and_not_before(bench: Bench) -> None:
    bench.take()
    bench.take()
    assert bench.channel.said == ["held"]
    assert bench.turns.commit()
    assert bench.channel.said == ["held", (0, True), (1, True)]


def test_that_items_wait_is_told_at_the_first_and_then_now_and_again(bench: Bench) -> None:
    bench.now = 5.0
    for seconds in (0.0, HELD_EVERY / 4, HELD_EVERY / 4, HELD_EVERY, HELD_EVERY / 4):
        bench.take(seconds)
    assert bench.channel.said == ["held", "held"]


def test_nothing_is_committed_twice(bench: Bench) -> None:
    bench.take()
    assert bench.turns.commit()
    assert bench.turns.commit()
    assert len(bench.session.commits) == 1
