"""The recorder's pass: announcements, and what the stream lost."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from tests.recording.facts import Outbox, Run

from freshet.bus import Bus, Fact, FactReader
from freshet.domain.errors import UnreachableError
from freshet.recording import Measures, Recorder
from freshet.recording.recorder import ANNOUNCED_WITHIN, SWEEP_BUSY, SWEEP_SILENT, SWEPT
from freshet.runtime.clock import TurnedClock
from freshet.storage.database import Database
from freshet.storage.record import Recording
from freshet.telemetry import Telemetry

SOON = 0.01  # seconds that a pass waits for news in a test


@pytest.fixture
def bus(redis: str) -> Iterator[Bus]:
    opened = Bus(redis)
    yield opened
    opened.close()


class Bench:
    """One recorder with its clock in our hand."""

    def __init__(self, redis: str, store: Database, *, consumer: str = "one") -> None:
        self.clock = TurnedClock()
        self.reader = FactReader(redis, group="recorder", consumer=consumer)
        self.telemetry = Telemetry("recorder", environ={})
        self.recorder = Recorder(
            reader=self.reader,
            store=Recording(store),
            measures=Measures(self.telemetry),
            clock=self.clock,
        )

    def pass_(self) -> int:
        return self.recorder.record_batch(seconds=SOON).entries

    def started(self) -> "Bench":
        self.pass_()  # the first look
        self.pass_()  # makes the group
        return self

    def close(self) -> None:
        self.reader.close()
        self.telemetry.close()


@pytest.fixture
def bench(redis: str, store: Database) -> Iterator[Bench]:
    made = Bench(redis, store)
    yield made
    made.close()


def announce(bus: Bus, *entries: int) -> None:
    bus.announce((entry, b"[]") for entry in entries)


def test_what_is_announced_is_recorded_and_acknowledged(bench: Bench, bus: Bus, outbox: Outbox) -> None:
    bench.started()
    announce(bus, *(outbox.commit(Run().item("a", "succeeded")) for _ in range(3)))
    assert bench.pass_() == 3
    assert outbox.waiting() == 0
    pending = bus.client.xpending("freshet:facts", "recorder")
    assert pending["pending"] == 0
    assert bench.pass_() == 0


def test_the_outbox_row_is_the_fact_and_not_the_streams_body(bench: Bench, bus: Bus, outbox: Outbox) -> None:
    bench.started()
    bus.announce([(outbox.commit(Run().item("a", "succeeded")), b"not even json")])
    assert bench.pass_() == 1
    assert outbox.rows("select task from log.attempt") == [{"task": "a"}]


def test_the_first_pass_takes_what_was_left_behind(bench: Bench, outbox: Outbox) -> None:
    outbox.commit(Run().item("a", "succeeded"))
    assert bench.pass_() == 1


def test_a_lost_announcement_is_swept_up_after_a_silence(bench: Bench, outbox: Outbox) -> None:
    bench.started()
    outbox.commit(Run().item("a", "succeeded"), age_s=ANNOUNCED_WITHIN + 1)
    assert bench.pass_() == 0
    bench.clock.turn(SWEEP_SILENT)
    assert bench.pass_() == 1


def test_a_lost_announcement_is_swept_up_under_load_too(bench: Bench, bus: Bus, outbox: Outbox) -> None:
    bench.started()
    outbox.commit(Run().item("lost", "succeeded"), age_s=ANNOUNCED_WITHIN + 1)
    bench.clock.turn(SWEEP_SILENT)
    announce(bus, outbox.commit(Run().item("a", "succeeded")))
    assert bench.pass_() == 1
    bench.clock.turn(SWEEP_BUSY)
    announce(bus, outbox.commit(Run().item("b", "succeeded")))
    assert bench.pass_() == 2


def test_a_fresh_row_is_left_to_its_announcement(bench: Bench, outbox: Outbox) -> None:
    bench.started()
    outbox.commit(Run().item("a", "succeeded"))
    bench.clock.turn(SWEEP_SILENT)
    assert bench.pass_() == 0
    assert outbox.waiting() == 1


def test_a_flush_loses_nothing_and_doubles_nothing(bench: Bench, bus: Bus, outbox: Outbox) -> None:
    bench.started()
    entry = outbox.commit(Run().item("a", "succeeded"), age_s=ANNOUNCED_WITHIN + 1)
    announce(bus, entry)
    bus.client.flushdb()
    bench.pass_()  # finds no group, makes it again
    announce(bus, outbox.commit(Run().item("b", "succeeded")))
    assert bench.pass_() == 1
    bench.clock.turn(SWEEP_SILENT)
    assert bench.pass_() == 1
    assert outbox.value("select count(*) from log.attempt") == 2


def test_more_than_one_sweep_can_take_is_taken_without_waiting(bench: Bench, outbox: Outbox, store: Database) -> None:
    with store.session() as session:
        session.execute("insert into engine.outbox (body) select '[]' from generate_series(1, %s)", [SWEPT + 10])
    assert bench.pass_() == SWEPT
    assert bench.pass_() == 10


def test_two_recorders_share_the_announcements(
    bench: Bench, redis: str, bus: Bus, outbox: Outbox, store: Database
) -> None:
    other = Bench(redis, store, consumer="two").started()
    bench.started()
    announce(bus, *(outbox.commit(Run().item("a", "succeeded")) for _ in range(5)))
    assert bench.pass_() + other.pass_() == 5
    assert outbox.value("select count(*) from log.attempt") == 5
    other.close()


class Away:
    """A Redis that can't be reached."""

    def read(self, *, seconds: float = 0, count: int = 0) -> list[Fact]:
        raise UnreachableError

    def take_over(self, *, count: int = 0) -> list[Fact]:
        raise UnreachableError

    def acknowledge(self, facts: list[Fact]) -> None:
        if facts:
            raise UnreachableError


def test_recording_goes_on_from_postgres_while_redis_is_away(outbox: Outbox, store: Database) -> None:
    clock = TurnedClock()
    measures = Measures(Telemetry("recorder", environ={}))
    recorder = Recorder(reader=Away(), store=Recording(store), measures=measures, clock=clock)
    for _ in range(3):
        outbox.commit(Run().item("a", "succeeded"), age_s=ANNOUNCED_WITHIN + 1)
        with pytest.raises(UnreachableError):
            recorder.record_batch(seconds=SOON)
        clock.turn(SWEEP_SILENT)
    assert outbox.value("select count(*) from log.attempt") == 3


def test_a_dead_recorders_entries_are_acknowledged_by_another(
    redis: str, bus: Bus, outbox: Outbox, store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("freshet.bus.facts.ABANDONED_MS", 0)
    dead = FactReader(redis, group="recorder", consumer="dead")
    dead.read(seconds=SOON)
    announce(bus, outbox.commit(Run().item("a", "succeeded")))
    assert len(dead.read(seconds=SOON)) == 1
    dead.close()
    bench = Bench(redis, store)
    assert bench.pass_() == 1
    assert bus.client.xpending("freshet:facts", "recorder")["pending"] == 0
    bench.close()


def test_a_run_is_recorded_when_its_last_row_has_left_the_outbox(bench: Bench, bus: Bus, outbox: Outbox) -> None:
    run = Run(id=uuid4())
    bench.started()
    announce(bus, *(outbox.commit(run.fact(state), run=run.id) for state in ("running", "succeeded")))
    bench.pass_()
    assert outbox.value("select count(*) from engine.outbox where run_id = %s", run.id) == 0
    assert outbox.value("select count(*) from log.run where run_id = %s and finished_at is not null", run.id) == 1
