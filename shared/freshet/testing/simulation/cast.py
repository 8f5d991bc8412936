"""Who and what takes part in an installation, and the twins that tell it what happens.

Guarantees: what is noted changes nothing. Never: a decision, or a pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from freshet.bus import Bus, Heartbeat
from freshet.domain.model import Workflow
from freshet.engine.eager import EagerDispatch
from freshet.recording import Measures
from freshet.storage.reads import Reads
from freshet.storage.record import Recorded
from freshet.testing.simulation.workload import QUEUES
from freshet.testing.simulation.world import Process
from freshet.testing.twins.bus import BusTwin
from freshet.testing.twins.engine_store import EngineStoreTwin
from freshet.testing.twins.passage import Passage
from freshet.testing.twins.redis import RedisTwin
from freshet.testing.twins.tables import Tables


@dataclass(frozen=True, kw_only=True, slots=True)
class Fleet:
    """How many of each service there are, and how they are set up."""

    dispatchers: int = 1
    workers: int = 1
    recorders: int = 1
    schedulers: int = 0
    lease: float = 60.0
    grace: float = 10.0
    queue_depth: int = 50
    batch: int = 200
    items_per_child: int = 10_000
    seconds_to_restart: float = 1.0


#: Seconds between a judge's look and its verdict at most, and of a silence that is more than a late heartbeat.
LOOK, GAP = 0.5, 3.0


@dataclass(frozen=True, slots=True)
class Burial:
    """A worker that was declared dead, as the world knew it at that moment."""

    worker: str
    at: float
    alive: bool
    silent: float  # seconds since its last sign of life reached Redis
    heard: bool  # its heartbeat was in Redis
    witnessed: bool  # its session held its lock


@dataclass(kw_only=True)
class SignsOfLife:
    """When heartbeats reached Redis. A worker that stood still may come back between a judge's look and its verdict:
    for so long it counts as it was seen.
    """

    last: dict[str, float] = field(default_factory=dict)
    back: dict[str, tuple[float, float]] = field(default_factory=dict)  # since when, after how long a silence

    def note(self, worker: str, now: float) -> None:
        """A heartbeat."""
        gap = now - self.last.get(worker, now)
        if gap > GAP:
            self.back[worker] = now, gap
        self.last[worker] = now

    def silent(self, worker: str, now: float) -> float:
        """Seconds since the last one, or of the silence that has only just ended."""
        since, gap = self.back.get(worker, (float("-inf"), 0.0))
        return gap if now - since < LOOK else now - self.last.get(worker, float("-inf"))

    def has_just_come_back(self, worker: str, now: float) -> bool:
        """Whether a judge may have looked before it did."""
        return now - self.back.get(worker, (float("-inf"), 0.0))[0] < LOOK


@dataclass(kw_only=True)
class Service:
    """One copy of a service, through all its lives."""

    kind: str
    number: int
    main: Callable[[Process], None]
    process: Process | None = None
    stop: Callable[[], None] = lambda: None  # SIGTERM
    lives: int = 0


class RunObjects(Reads):
    """The payload of `finally` tasks."""

    def __init__(self, passage: Passage) -> None:
        self._passage = passage

    def run_object(self, run_id: UUID) -> dict[str, Any]:
        """Its name, which is all that anybody looks at here."""
        self._passage.enter("run_object")
        return {"run_id": str(run_id)}


class Untold(Measures):
    """Measures that nobody reads."""

    def __init__(self) -> None:
        """No telemetry."""

    def tell(self, recorded: Recorded) -> None:
        """Say nothing."""


class NotedBus(BusTwin):
    """Notes when a worker gives a sign of life."""

    def __init__(self, redis: RedisTwin, passage: Passage, *, beaten: Callable[[str], None]) -> None:
        super().__init__(redis, passage=passage)
        self._beaten = beaten

    def beat(self, heartbeat: Heartbeat, *, expires_s: float) -> list[int]:
        """Give a sign of life."""
        stops = super().beat(heartbeat, expires_s=expires_s)
        self._beaten(heartbeat.worker)
        return stops


class WatchedStore(EngineStoreTwin):
    """Tells of each burial."""

    def __init__(
        self, tables: Tables, passage: Passage, *, owner: str, buried: Callable[[Sequence[str]], None]
    ) -> None:
        super().__init__(tables, passage, owner=owner)
        self._buried = buried

    def release_workers(self, workers: Sequence[str]) -> list[int]:
        """Take back what dead workers hold."""
        self._buried(workers)
        return super().release_workers(workers)


class WorkflowOfRun(Mapping[str, str]):
    """The workflow of each run."""

    def __init__(self, tables: Tables) -> None:
        self._runs = tables.runs

    def __getitem__(self, run: str) -> str:
        return self._runs[run].workflow

    def __iter__(self) -> Iterator[str]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)


def number_of(name: str) -> int:
    """A number for a name."""
    return int.from_bytes(name.encode()[-7:], "big")


def eager_dispatch(
    tables: Tables,
    passage: Passage,
    bus: Bus,
    definitions: Callable[[str, int], Workflow],
    *,
    worker: str,
    draw: Callable[[], float],
) -> EagerDispatch:
    """A worker's own dispatch of what follows."""
    store = EngineStoreTwin(tables, passage, owner=worker)
    return EagerDispatch(store, bus, definitions, worker=worker, queues=QUEUES, draw=draw)
