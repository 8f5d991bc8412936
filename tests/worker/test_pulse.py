"""A worker's signs of life, over twins of both servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from freshet.domain.errors import UnreachableError
from freshet.execution.pulse import Pulse, Rhythm
from freshet.execution.signals import Signals
from freshet.execution.times import Stopwatch
from freshet.runtime.clock import TurnedClock
from freshet.storage.worker_store import WorkerRow
from freshet.testing.twins.bus import BusTwin, QueueWorkerTwin
from freshet.testing.twins.redis import RedisTwin
from freshet.testing.twins.tables import Tables
from freshet.testing.twins.worker_store import WorkerStoreTwin


class Hindrance:
    """Loses one question."""

    def __init__(self, verb: str) -> None:
        self.verb: str | None = verb

    def enter(self, verb: str) -> None:
        if verb == self.verb:
            self.verb = None
            raise UnreachableError("planted")

    def leave(self, verb: str) -> None:
        pass

    def block(self, verb: str, seconds: float, ready: Callable[[], bool]) -> bool:
        return ready()


class Worker:
    """A pulse on twins, before its begin."""

    def __init__(self, lost: str = "") -> None:
        """`lost`: the first question of this name to the store."""
        self.clock = TurnedClock()
        self.tables = Tables(lambda: datetime(2030, 1, 1, tzinfo=UTC))
        self.signals = Signals()
        redis = RedisTwin(lambda: 0.0)
        self.pulse = Pulse(
            WorkerRow(id="w", lock_key=7, hostname="h", pid=1, queues=("q",)),
            store=WorkerStoreTwin(self.tables, Hindrance(lost)),
            bus=BusTwin(redis),
            queue_worker=QueueWorkerTwin(redis, name="w", queues=["q"], stop=lambda _bundle: None),
            signals=self.signals,
            stopwatch=Stopwatch(self.clock),
            holding=lambda: None,
            clock=self.clock,
            rhythm=Rhythm(),
        )


@pytest.fixture
def make() -> Iterator[Callable[..., Worker]]:
    made: list[Worker] = []

    def worker(lost: str = "") -> Worker:
        made.append(Worker(lost))
        return made[-1]

    yield worker
    for each in made:
        each.pulse.end()
        each.signals.close()


def test_a_witness_that_could_not_take_its_lock_is_none(make: Callable[..., Worker]) -> None:
    worker = make(lost="witness.take")
    with pytest.raises(UnreachableError, match="planted"):
        worker.pulse.begin()
    assert worker.tables.sessions == {}
    worker.pulse.beat_once()
    assert len(worker.tables.locks) == 1


def test_a_worker_that_slept_registers_with_its_totals_as_of_now(make: Callable[..., Worker]) -> None:
    worker = make()
    worker.pulse.beat_once()
    worker.clock.turn(10.0)
    worker.pulse.beat_once()
    assert worker.tables.workers["w"].wall_s == 10.0
