"""One seed: an installation, a storm, and the rest after it.

Guarantees: what a seed does depends on the seed alone; the laws are asked when everything has come to rest. Never:
output.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import structlog
import uuid_utils
from structlog.typing import EventDict

from freshet.domain.errors import ClaimLostError, UnreachableError
from freshet.execution.warm_child import ChildEndedError
from freshet.runtime import fault
from freshet.storage.database import StatementError
from freshet.testing.simulation.behaviour import Temper
from freshet.testing.simulation.cast import Fleet
from freshet.testing.simulation.client import Client
from freshet.testing.simulation.faults import Storm, Weather
from freshet.testing.simulation.installation import Installation
from freshet.testing.simulation.laws import Break, judge
from freshet.testing.simulation.workload import draw_workload
from freshet.testing.simulation.world import ExhaustedError, World
from freshet.testing.twins.schedules import schedules_of

#: Seconds after the storm by which everything has to be at rest.
PATIENCE = 1200.0
#: A history's most steps.
STEPS = 150_000
#: What a pass may raise when the world is rough.
EXPECTED = (UnreachableError, StatementError, ClaimLostError, ChildEndedError)
#: Items that are short travel together in bundles.
QUICK = Temper(seconds=(0.0, 0.0, 0.001))
TEMPERS = (Temper(), Temper(), Temper(fail=0.0, hang=0.0, crash=0.0, end=0.0, vanish=0.0), QUICK, QUICK)
LATENCIES = ((0.001,), (0.0005, 0.001, 0.003), (0.0005,) * 20 + (0.01, 0.1), (0.001,) * 200 + (0.05, 0.5, 1.5))


@dataclass(kw_only=True)
class Verdict:
    """What became of a seed."""

    seed: int
    breaks: list[Break] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0  # virtual
    items: int = 0
    digest: str = ""  # of the trace, if there is one
    trace: list[str] = field(default_factory=list)


class History:
    """One seed's world, from its making to its laws."""

    def __init__(self, seed: int, *, traced: bool = False) -> None:
        self.verdict = Verdict(seed=seed)
        self.errors: list[tuple[str, str]] = []  # swallowed by a pass: the log's event, and what it was
        world = self.world = World(seed, steps=STEPS)
        random = world.random
        world.set_latency(random.choice(LATENCIES))
        temper = random.choice(TEMPERS)
        workload = draw_workload(random, wide=temper is QUICK)
        scheduled = any(each.schedule for each in workload.workflows.values())
        self.installation = Installation(
            world=world,
            workload=workload,
            fleet=_fleet(random, scheduled=scheduled),
            temper=temper,
            seed=seed,
        )
        # Small scopes are seen in part in every second seed, as only wide ones are in Postgres.
        self.installation.tables.narrow = random.choice((0, 16))
        self.weather = Weather(installation=self.installation, storm=Storm.draw(random, jobs=bool(workload.jobs)))
        self.clients: list[Client] = []
        if traced:
            world.tracing = self._note

    def play(self) -> Verdict:
        """All of it."""
        with ExitStack() as stack:
            stack.enter_context(fault.armed(self.weather.reach))
            stack.enter_context(_ids(self.installation))
            stack.enter_context(_overheard(self.errors))
            stack.callback(self.world.close)
            self._play()
        verdict = self.verdict
        verdict.steps, verdict.seconds = self.world.steps, self.world.now
        verdict.items = len(self.installation.tables.items)
        verdict.digest = hashlib.sha256("\n".join(verdict.trace).encode()).hexdigest()[:16]
        return verdict

    def _play(self) -> None:
        world = self.world
        self.installation.begin()
        self._begin_clients()
        self.weather.begin()
        world.run(self.weather.storm.seconds)
        self._calm()
        world.run(world.now + PATIENCE)
        self.verdict.breaks += judge(self)

    def _begin_clients(self) -> None:
        process = self.world.process("api", "api")
        for number, wish in enumerate(self.installation.workload.wishes):
            client = Client(self.installation, process, wish, number)
            self.clients.append(client)
            process.spawn(f"client-{number}", client.main)

    def _calm(self) -> None:
        self.weather.end()
        schedules = schedules_of(self.installation.tables)
        for name, row in schedules.items():
            schedules[name] = row._replace(paused=True)
        self.world.at(self.world.now, self._look)

    def _look(self) -> None:
        if self.resting:
            self.world.end()
        else:
            self.world.at(self.world.now + 0.5, self._look)

    @property
    def rough(self) -> bool:
        """Whether anything was made to go wrong."""
        storm = self.weather.storm
        return bool(storm.events or storm.strike_every or storm.aim or storm.verb)

    @property
    def resting(self) -> bool:
        """Whether nothing is left to do."""
        tables, jobs = self.installation.tables, self.installation.account
        return (
            all(client.done for client in self.clients)
            and not (tables.requests or tables.reports or tables.bundles or tables.outbox)
            and all(run.final for run in tables.runs.values())
            and not jobs.jobs
        )

    def _note(self, who: str, how: str, what: str) -> None:
        self.verdict.trace.append(f"{self.world.now:10.4f} {who:<28} {how:<8} {what}")


def play(seed: int, *, traced: bool = False) -> Verdict:
    """Play a seed and judge it."""
    return History(seed, traced=traced).play()


def _fleet(random: Any, *, scheduled: bool) -> Fleet:
    return Fleet(
        dispatchers=random.choice((1, 1, 2, 3)),
        workers=random.choice((1, 2, 2, 3, 4)),
        recorders=random.choice((1, 1, 2)),
        schedulers=random.choice((1, 2)) if scheduled else 0,
        lease=random.choice((20.0, 60.0)),
        queue_depth=random.choice((1, 3, 50)),
        batch=random.choice((1, 5, 200)),
        items_per_child=random.choice((3, 10_000)),
        seconds_to_restart=random.choice((0.5, 3.0)),
    )


@contextmanager
def _ids(installation: Installation) -> Iterator[None]:
    """Ids of ticks' runs come from the seed."""
    with patch.object(uuid_utils, "uuid7", installation.new_run_id):
        yield


@contextmanager
def _overheard(errors: list[tuple[str, str]]) -> Iterator[None]:
    """Passes log what they swallow; here it is kept."""

    def keep(_logger: object, method: str, event: EventDict) -> EventDict:
        error = sys.exc_info()[1]
        if method in {"error", "exception"} and not isinstance(error, EXPECTED):
            errors.append((str(event.get("event")), f"{type(error).__name__}: {error} ({event.get('message')})"))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(
        processors=[keep], wrapper_class=structlog.make_filtering_bound_logger(40), cache_logger_on_first_use=False
    )
    try:
        yield
    finally:
        structlog.configure(**before)


__all__ = ["ExhaustedError", "History", "Verdict", "play"]
