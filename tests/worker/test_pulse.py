"""A worker's signs of life, over twins of both servers."""

from __future__ import annotations

from collections.abc import Callable
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


def test_a_witness_that_could_not_take_its_lock_is_none() -> None:
    tables, redis, clock = Tables(lambda: datetime(2030, 1, 1, tzinfo=UTC)), RedisTwin(lambda: 0.0), TurnedClock()
    signals = Signals()
    pulse = Pulse(
        WorkerRow(id="w", lock_key=7, hostname="h", pid=1, queues=("q",)),
        store=WorkerStoreTwin(tables, Hindrance("witness.take")),
        bus=BusTwin(redis),
        queue_worker=QueueWorkerTwin(redis, name="w", queues=["q"], stop=lambda _bundle: None),
        signals=signals,
        stopwatch=Stopwatch(clock),
        holding=lambda: None,
        clock=clock,
        rhythm=Rhythm(),
    )
    with pytest.raises(UnreachableError, match="planted"):
        pulse.begin()
    assert tables.sessions == {}
    pulse.beat_once()
    assert len(tables.locks) == 1
    pulse.end()
    signals.close()
