"""Random scripts of bus verbs on a real Redis and on its twin: the same answers, all the way."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from tests.twins.pipes import Pipes, RealPipes, TwinPipes

from freshet.bus import Fact, Heartbeat, Message

SOON = 0.01
STEPS = 150
#: Seconds that pass at once. No expiry of a script is a multiple, so the real one's own time decides nothing.
LEAP = 7.0


class Side:
    """One of the two, with what it was handed and gives back."""

    def __init__(self, pipes: Pipes, worker: str) -> None:
        self.pipes = pipes
        self.bus = pipes.bus()
        self.readers = {name: pipes.reader(name) for name in ("one", "two")}
        self.worker = pipes.worker(worker, ["a", "b"], lambda _bundle: None)
        self.read: list[Fact] = []
        self.seen = ["0-0"]

    def facts(self, facts: list[Fact]) -> list[Any]:
        self.read += facts
        return [(fact.outbox_id, fact.body) for fact in facts]

    def tail(self, place: int) -> list[bytes]:
        found = self.bus.tail(self.seen[place % len(self.seen)], seconds=SOON)
        self.seen += [entry for entry, _ in found]
        return [body for _, body in found]


Step = Callable[[Side], Any]


class Script:
    """Steps by chance; a step is drawn once and done on both sides."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._facts = 0

    def steps(self) -> Iterator[tuple[str, Step]]:
        verbs = {name: getattr(self, name) for name in sorted(vars(Script)) if name.startswith("step_")}
        weights = [3 if name in {"step_announce", "step_read", "step_publish", "step_pop"} else 1 for name in verbs]
        for _ in range(STEPS):
            (name,) = self._random.choices(list(verbs), weights)
            yield name, verbs[name]()

    def step_publish(self) -> Step:
        ids = self._random.sample(range(9), self._random.randint(0, 3))
        messages = [Message(queue=self._random.choice("abc"), bundle_id=bundle) for bundle in ids]
        return lambda side: side.bus.publish(messages)

    def step_pop(self) -> Step:
        return lambda side: side.worker.pop(seconds=SOON)

    def step_queues(self) -> Step:
        return lambda side: (side.bus.depths("abc"), side.bus.queued("a"))

    def step_wake(self) -> Step:
        names = self._random.choices("xyz", k=self._random.randint(0, 3))
        return lambda side: side.bus.wake(*names)

    def step_await(self) -> Step:
        names = self._random.sample("xyz", self._random.randint(1, 3))
        return lambda side: side.bus.await_wake(names, seconds=SOON)

    def step_fresh(self) -> Step:
        return lambda side: side.bus.fresh()

    def step_announce(self) -> Step:
        facts = [(self._facts + k, b"[%d]" % k) for k in range(self._random.randint(0, 4))]
        self._facts += len(facts)
        return lambda side: side.bus.announce(facts)

    def step_tail(self) -> Step:
        place = self._random.randrange(1 << 20)
        return lambda side: side.tail(place)

    def step_read(self) -> Step:
        consumer, count = self._consumer(), self._random.randint(1, 5)
        return lambda side: side.facts(side.readers[consumer].read(seconds=SOON, count=count))

    def step_take_over(self) -> Step:
        consumer, count = self._consumer(), self._random.randint(1, 5)
        return lambda side: side.facts(side.readers[consumer].take_over(count=count))

    def step_acknowledge(self) -> Step:
        consumer, kept = self._consumer(), self._random.random()
        chosen = random.Random(kept)
        rolls = [chosen.random() for _ in range(4 * STEPS)]
        return lambda side: side.readers[consumer].acknowledge(
            [fact for fact, roll in zip(side.read, rolls, strict=False) if roll < kept]
        )

    def step_beat(self) -> Step:
        heartbeat = Heartbeat(
            worker=self._random.choice("vw"), state="busy", busy_s=self._random.random(), idle_s=1.0, wall_s=2.0,
            pid=1, hostname="h", queues=("a",), started_at="", bundle=self._random.choice([None, 4]),
        )  # fmt: skip
        expires = self._random.choice([3.0, 10.0, 24.0])
        return lambda side: side.bus.beat(heartbeat, expires_s=expires)

    def step_heartbeats(self) -> Step:
        return lambda side: side.bus.heartbeats()

    def step_silence(self) -> Step:
        worker = self._random.choice("vw")
        return lambda side: side.bus.silence(worker)

    def step_stop(self) -> Step:
        worker, bundle = self._random.choice("vw"), self._random.randrange(9)
        return lambda side: side.bus.request_stop(worker, bundle)

    def step_join(self) -> Step:
        role, name, expires = self._random.choice("rs"), self._random.choice("lmn"), self._random.choice([3.0, 24.0])
        return lambda side: side.bus.join(role, name, expires_s=expires)

    def step_leave(self) -> Step:
        role, name = self._random.choice("rs"), self._random.choice("lmn")
        return lambda side: side.bus.leave(role, name)

    def step_worker_beats(self) -> Step:
        def step(side: Side) -> bool:
            side.worker.beat(busy=True)
            return side.pipes.registered(side.worker)

        return step

    def step_time_passes(self) -> Step:
        return lambda side: side.pipes.elapse(LEAP)

    def step_foreign(self) -> Step:
        return lambda side: side.pipes.push_foreign("a", "somebody's-job")

    def step_flush(self) -> Step:
        if self._random.random() < 0.7:
            return lambda _side: None
        return lambda side: side.pipes.flush()

    def _consumer(self) -> str:
        return self._random.choice(["one", "two"])


@pytest.mark.parametrize("seed", range(8))
def test_any_script_is_answered_alike(redis: str, seed: int) -> None:
    worker = f"w-{uuid4()}"
    twin, real = Side(TwinPipes(), worker), Side(RealPipes(redis), worker)
    real.worker.enter()
    twin.worker.enter()
    trail: list[tuple[str, Any]] = []
    for name, step in Script(seed).steps():
        trail.append((name, step(twin)))
        assert step(real) == trail[-1][1], "\n".join(map(str, trail[-40:]))
    real.worker.leave()
    real.pipes.close()
