"""What services rely on of Redis, said of the real bus and of its twin."""

from collections.abc import Callable, Iterator
from queue import SimpleQueue
from uuid import uuid4

import pytest
from tests.twins.pipes import Pipes, RealPipes, TwinPipes

from freshet.bus import Bus, FactReader, Heartbeat, Message, QueueWorker

SOON = 0.01


@pytest.fixture(params=["twin", "real"])
def pipes(request: pytest.FixtureRequest) -> Iterator[Pipes]:
    pipes = TwinPipes() if request.param == "twin" else RealPipes(request.getfixturevalue("redis"))
    yield pipes
    pipes.close()


@pytest.fixture
def bus(pipes: Pipes) -> Bus:
    return pipes.bus()


@pytest.fixture
def reader(pipes: Pipes) -> FactReader:
    reader = pipes.reader()
    assert reader.read(seconds=SOON) == []  # makes the group
    return reader


@pytest.fixture
def hear(pipes: Pipes) -> Iterator[Callable[..., QueueWorker]]:
    """Makes workers that have entered, and lets them leave."""
    made: list[QueueWorker] = []

    def make(*queues: str, stop: Callable[[int], None] = lambda _bundle: None) -> QueueWorker:
        worker = pipes.worker(f"w-{uuid4()}", queues, stop)
        worker.enter()
        made.append(worker)
        return worker

    yield make
    for worker in made:
        worker.leave()


def message(bundle: int, queue: str = "q") -> Message:
    return Message(queue=queue, bundle_id=bundle)


def beat(worker: str = "w", *, state: str = "busy", bundle: int | None = None) -> Heartbeat:
    return Heartbeat(
        worker=worker, state=state, busy_s=1.5, idle_s=2.25, wall_s=3.75, pid=7, hostname="h",
        queues=("a", "b"), started_at="2026-11-22T10:00:00Z", bundle=bundle,
    )  # fmt: skip


def told(reader: FactReader) -> list[int]:
    return [fact.outbox_id for fact in reader.read(seconds=SOON)]


# --- queues


def test_messages_come_out_in_the_order_they_went_in(bus: Bus, hear: Callable[..., QueueWorker]) -> None:
    assert bus.publish([message(1), message(2, "r"), message(3)]) == {"q": 2, "r": 1}
    assert bus.publish([message(4)]) == {"q": 3}
    assert bus.depths(["q", "r", "none"]) == {"q": 3, "r": 1, "none": 0}
    assert bus.queued("q") == {1, 3, 4}
    worker = hear("r", "q")
    assert [worker.pop(seconds=SOON) for _ in range(5)] == [2, 1, 3, 4, None]
    assert bus.publish([]) == {}


def test_a_message_may_go_ahead_of_what_waits(bus: Bus, hear: Callable[..., QueueWorker]) -> None:
    bus.publish([message(1), message(2)])
    ahead = Message(queue="q", bundle_id=9, ahead=True)
    assert bus.publish([message(3), ahead]) == {"q": 4}
    worker = hear("q")
    assert [worker.pop(seconds=SOON) for _ in range(4)] == [9, 1, 2, 3]


def test_a_queue_that_does_not_run_dry_starves_no_other(bus: Bus, hear: Callable[..., QueueWorker]) -> None:
    bus.publish([*(message(number, "wide") for number in range(1, 5)), message(9, "late"), message(8, "other")])
    worker = hear("wide", "other", "late")
    assert [worker.pop(seconds=SOON) for _ in range(7)] == [1, 8, 9, 2, 3, 4, None]


def test_a_served_message_leaves_nothing_behind(pipes: Pipes, bus: Bus, hear: Callable[..., QueueWorker]) -> None:
    bus.publish([message(1), message(2)])
    worker = hear("q")
    for _ in range(3):
        worker.pop(seconds=SOON)
    assert bus.depths(["q"]) == {"q": 0}
    assert pipes.leftovers() == []


def test_a_bundle_published_twice_is_there_twice(bus: Bus, hear: Callable[..., QueueWorker]) -> None:
    bus.publish([message(1)])
    assert bus.publish([message(1)]) == {"q": 2}
    assert bus.queued("q") == {1}
    worker = hear("q")
    assert [worker.pop(seconds=SOON), worker.pop(seconds=SOON)] == [1, 1]


def test_a_bundle_twice_in_one_call_is_refused(bus: Bus) -> None:
    with pytest.raises(ValueError, match="appears more than once"):
        bus.publish([message(1), message(1)])
    assert bus.depths(["q"]) == {"q": 0}


def test_a_foreign_message_names_no_bundle(pipes: Pipes, bus: Bus, hear: Callable[..., QueueWorker]) -> None:
    pipes.push_foreign("q", "somebody's-job")
    bus.publish([message(1)])
    assert bus.queued("q") == {1}
    worker = hear("q")
    assert [worker.pop(seconds=SOON), worker.pop(seconds=SOON)] == [None, 1]


# --- wake-ups


def test_many_wakes_wake_once(bus: Bus) -> None:
    for _ in range(3):
        bus.wake("a")
    assert bus.await_wake(["a"], seconds=SOON) == "a"
    assert bus.await_wake(["a"], seconds=SOON) is None


def test_the_first_name_that_was_woken_answers(bus: Bus) -> None:
    bus.wake_dispatcher([3, 1, 3])
    bus.wake_watcher()
    names = ["dispatcher:2", "watcher", "dispatcher:1", "dispatcher:3"]
    assert [bus.await_wake(names, seconds=SOON) for _ in range(4)] == ["watcher", "dispatcher:1", "dispatcher:3", None]


def test_redis_is_fresh_once_until_a_flush(pipes: Pipes, bus: Bus) -> None:
    assert [bus.fresh(), bus.fresh(), pipes.bus().fresh()] == [True, False, False]
    pipes.flush()
    assert [bus.fresh(), bus.fresh()] == [True, False]


def test_everybody_sees_a_flush_by_the_epoch_that_follows(pipes: Pipes, bus: Bus) -> None:
    assert bus.epoch() is None
    bus.fresh()
    before = bus.epoch()
    assert before is not None
    assert pipes.bus().epoch() == bus.epoch() == before
    pipes.flush()
    assert bus.epoch() is None
    pipes.bus().fresh()
    assert bus.epoch() not in {None, before}


def test_a_flush_empties_every_pipe(pipes: Pipes, bus: Bus, reader: FactReader) -> None:
    bus.publish([message(1)])
    bus.wake("a")
    bus.announce([(1, b"[]")])
    bus.beat(beat(), expires_s=100)
    bus.request_stop("w", 1)
    bus.join("dispatcher", "d", expires_s=100)
    pipes.flush()
    assert bus.queued("q") == set()
    assert bus.await_wake(["a"], seconds=SOON) is None
    assert bus.heartbeats() == {}
    assert bus.last_entry() == "0-0"
    assert bus.beat(beat(), expires_s=100) == []
    assert bus.join("dispatcher", "e", expires_s=100) == ["e"]
    assert told(reader) == []


# --- facts


def test_each_fact_reaches_one_consumer_of_the_group(pipes: Pipes, bus: Bus, reader: FactReader) -> None:
    bus.announce([(1, b"[1]"), (2, b"[2]"), (3, b"[3]")])
    first = reader.read(seconds=SOON, count=2)
    assert [(fact.outbox_id, fact.body) for fact in first] == [(1, b"[1]"), (2, b"[2]")]
    assert told(pipes.reader("two")) == [3]
    assert told(reader) == []


def test_a_group_begins_with_what_was_there_before_it(pipes: Pipes, bus: Bus) -> None:
    bus.announce([(1, b"[]")])
    reader = pipes.reader()
    assert [told(reader), told(reader)] == [[], [1]]


def test_a_flushed_group_is_made_again_at_the_beginning(pipes: Pipes, bus: Bus, reader: FactReader) -> None:
    bus.announce([(1, b"[]")])
    assert told(reader) == [1]
    pipes.flush()
    bus.announce([(2, b"[]")])
    assert [told(reader), told(reader)] == [[], [2]]
    pipes.flush()
    assert reader.take_over() == []
    bus.announce([(3, b"[]")])
    assert told(reader) == [3]


def test_what_is_not_acknowledged_is_taken_over_after_ten_seconds(pipes: Pipes, bus: Bus, reader: FactReader) -> None:
    other = pipes.reader("two")
    bus.announce([(1, b"[]"), (2, b"[]"), (3, b"[]")])
    facts = reader.read(seconds=SOON)
    reader.acknowledge(facts[1:2])
    pipes.elapse(9)
    assert other.take_over() == []
    pipes.elapse(1)
    assert [fact.outbox_id for fact in other.take_over(count=1)] == [1]
    assert [fact.outbox_id for fact in other.take_over()] == [3]
    assert reader.take_over() == []
    pipes.elapse(10)
    assert [fact.outbox_id for fact in other.take_over()] == [1, 3]
    other.acknowledge(facts)
    pipes.elapse(10)
    assert other.take_over() == []


def test_what_the_cap_cut_off_does_not_come_again(pipes: Pipes, bus: Bus, reader: FactReader) -> None:
    bus.announce([(1, b"[]"), (2, b"[]"), (3, b"[]")])
    reader.read(seconds=SOON, count=2)
    pipes.trim(2)
    pipes.elapse(10)
    assert [fact.outbox_id for fact in reader.take_over()] == [2]
    pipes.trim(0)
    pipes.elapse(10)
    assert [reader.take_over(), told(reader)] == [[], []]


def test_what_the_cap_cut_off_is_dropped_however_young_and_counts(pipes: Pipes, bus: Bus, reader: FactReader) -> None:
    bus.announce((k, b"[]") for k in range(4))
    facts = reader.read(seconds=SOON)
    pipes.trim(1)
    assert pipes.pending() == 4
    assert reader.take_over(count=2) == []
    assert pipes.pending() == 2
    pipes.elapse(10)
    assert [fact.outbox_id for fact in reader.take_over(count=2)] == [facts[-1].outbox_id]


def test_acknowledging_after_a_flush_is_harmless(pipes: Pipes, bus: Bus, reader: FactReader) -> None:
    bus.announce([(1, b"[]")])
    facts = reader.read(seconds=SOON)
    pipes.flush()
    reader.acknowledge(facts)
    reader.acknowledge([])


def test_the_tail_goes_on_where_it_was_left(bus: Bus) -> None:
    assert bus.last_entry() == "0-0"
    assert bus.tail(seconds=SOON) == []
    bus.announce([(1, b"[1]"), (2, b"[2]")])
    (first, _), (second, _) = entries = bus.tail("0-0", seconds=SOON)
    assert [body for _, body in entries] == [b"[1]", b"[2]"]
    assert bus.last_entry() == second
    assert bus.tail(first, seconds=SOON) == [(second, b"[2]")]
    assert bus.tail(second, seconds=SOON) == []


# --- signs of life


def test_a_heartbeat_says_what_it_said_and_ends(pipes: Pipes, bus: Bus) -> None:
    bus.beat(beat("a", bundle=9), expires_s=100)
    bus.beat(beat("b", state="available"), expires_s=10)
    assert bus.heartbeats() == {"a": beat("a", bundle=9), "b": beat("b", state="available")}
    pipes.elapse(11)
    assert set(bus.heartbeats()) == {"a"}
    bus.silence("a")
    bus.silence("nobody")
    assert bus.heartbeats() == {}


def test_a_heartbeat_brings_the_bundles_to_stop_once(pipes: Pipes, bus: Bus) -> None:
    bus.request_stop("w", 4)
    bus.request_stop("w", 5)
    bus.request_stop("x", 6)
    assert bus.beat(beat(), expires_s=100) == [4, 5]
    assert bus.beat(beat(), expires_s=100) == []
    bus.request_stop("w", 7)
    pipes.elapse(61)
    assert bus.beat(beat(), expires_s=100) == []


def test_members_are_those_of_a_role_who_said_so_within_their_time(pipes: Pipes, bus: Bus) -> None:
    assert bus.join("dispatcher", "b", expires_s=100) == ["b"]
    assert bus.join("dispatcher", "a", expires_s=10) == ["a", "b"]
    assert bus.join("other", "c", expires_s=100) == ["c"]
    pipes.elapse(11)
    assert bus.join("dispatcher", "d", expires_s=100) == ["b", "d"]
    bus.leave("dispatcher", "b")
    assert bus.join("dispatcher", "d", expires_s=100) == ["d"]


# --- workers


def test_a_worker_is_registered_from_entering_to_leaving(pipes: Pipes) -> None:
    worker = pipes.worker(f"w-{uuid4()}", ["a", "b"], lambda _bundle: None)
    assert not pipes.registered(worker)
    worker.enter()
    assert pipes.registered(worker)
    assert worker.queue_names() == ["a", "b"]
    worker.beat(busy=True)
    pipes.elapse(119)
    assert pipes.registered(worker)
    pipes.elapse(2)
    assert not pipes.registered(worker)
    worker.beat(busy=False)
    assert pipes.registered(worker)
    worker.leave()
    assert not pipes.registered(worker)


def test_a_worker_that_entered_before_may_enter_again(pipes: Pipes, bus: Bus, hear: Callable[..., QueueWorker]) -> None:
    stopped: SimpleQueue[int] = SimpleQueue()
    worker = hear("q", stop=stopped.put)
    worker.enter()
    bus.request_stop(worker.name, 1)
    bus.request_stop(worker.name, 2)
    assert [stopped.get(timeout=10) for _ in range(2)] == [1, 2]
    assert pipes.registered(worker)


def test_a_name_is_registered_once(pipes: Pipes, hear: Callable[..., QueueWorker]) -> None:
    first = hear("q")
    with pytest.raises(ValueError, match="There exists an active worker"):
        pipes.worker(first.name, ["q"], lambda _bundle: None).enter()


def test_a_worker_registers_again_after_a_flush(pipes: Pipes, hear: Callable[..., QueueWorker]) -> None:
    worker = hear("q")
    pipes.flush()
    assert not pipes.registered(worker)
    worker.beat(busy=False)
    assert pipes.registered(worker)


def test_a_stop_reaches_the_worker_that_listens(pipes: Pipes, bus: Bus, hear: Callable[..., QueueWorker]) -> None:
    stopped: SimpleQueue[int] = SimpleQueue()
    worker, other = hear("q", stop=stopped.put), hear("q", stop=lambda _bundle: pytest.fail("not for this one"))
    bus.request_stop(worker.name, 12)
    assert stopped.get(timeout=10) == 12
    other.beat(busy=False)
