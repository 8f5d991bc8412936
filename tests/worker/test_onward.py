"""When a worker goes on with a run by itself, and what it says of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID, uuid4

import pytest

from freshet.bus import Message
from freshet.execution.onward import Onward
from freshet.storage.worker_store import Claimed, Fact
from freshet.testing.twins.bus import BusTwin
from freshet.testing.twins.redis import RedisTwin


def claimed(bundle: int) -> Claimed:
    document = {"bundle": {"id": bundle, "partition": 3}}
    return Claimed(claim=uuid4(), document=document, fact=(bundle, b"[]"))


class Dispatch:
    """Ends whatever it is given, and has claimed bundle 2; its commit may be lost."""

    def __init__(self, *, may: bool = True, lost: bool = False) -> None:
        self.may, self.lost = may, lost
        self.ended: list[tuple[int, Sequence[bytes]]] = []

    def may_end(self, _claimed: Claimed) -> bool:
        return self.may

    def end(
        self, done: Claimed, outcomes: Sequence[bytes], *, claim: UUID, note: Callable[[int], None]
    ) -> tuple[Claimed | None, list[Fact]] | None:
        self.ended.append((done.bundle, outcomes))
        note(2)
        follows = Claimed(claim=claim, document={"bundle": {"id": 2, "partition": 3}}, fact=(12, b"[]"))
        return None if self.lost else (follows, [(11, b"[]")])


@pytest.fixture
def bus() -> BusTwin:
    return BusTwin(RedisTwin(lambda: 0.0))


def onward(bus: BusTwin, dispatch: Dispatch | None) -> Onward:
    return Onward(bus, dispatch, queues=("q", "r"), new_claim=uuid4)


def told(bus: BusTwin) -> list[bytes]:
    return [body for _, body in bus.tail("0-0", seconds=0.01)]


def test_a_worker_for_which_nothing_waits_goes_on_and_tells_of_all_of_it_at_once(bus: BusTwin) -> None:
    dispatch = Dispatch()
    worker = onward(bus, dispatch)
    worker.announce(claimed(1))
    assert worker.end(claimed(1), [b"outcome"])
    assert dispatch.ended == [(1, [b"outcome"])]
    assert len(told(bus)) == 1
    following = worker.take()
    assert following is not None
    assert (following.bundle, worker.take(), worker.asked) == (2, None, None)
    worker.announce(following)
    assert len(told(bus)) == 3


@pytest.mark.parametrize("queue", ["q", "r"])
def test_a_worker_for_which_something_waits_leaves_the_end_to_the_dispatcher(bus: BusTwin, queue: str) -> None:
    dispatch = Dispatch()
    worker = onward(bus, dispatch)
    bus.publish([Message(queue=queue, bundle_id=7)])
    worker.announce(claimed(1))
    assert not worker.end(claimed(1), [])
    assert dispatch.ended == []


@pytest.mark.parametrize("dispatch", [None, Dispatch(may=False)])
def test_what_a_worker_may_not_decide_is_left_to_the_dispatcher(bus: BusTwin, dispatch: Dispatch | None) -> None:
    worker = onward(bus, dispatch)
    worker.announce(claimed(1))
    assert not worker.end(claimed(1), [])
    worker.leave(claimed(1))
    assert bus.await_wake(["dispatcher:3"], seconds=0.01) == "dispatcher:3"


def test_a_claim_whose_commit_was_not_answered_is_asked_for_again(bus: BusTwin) -> None:
    worker = onward(bus, Dispatch(lost=True))
    worker.announce(claimed(1))
    assert not worker.end(claimed(1), [])
    assert worker.take() is None
    assert worker.asked is not None
    assert worker.asked[0] == 2
