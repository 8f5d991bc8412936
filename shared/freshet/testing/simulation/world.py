"""Virtual time, actors, and the passage between them.

Purpose: processes of an installation as greenlets that take turns. Guarantees: one runs at a time, and only a seeded
draw decides which; time moves only when everybody waits; a process that was killed does nothing more, whatever its
`finally` clauses try. Never: a real wait, a thread, or an unordered choice.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import Any, Final

from greenlet import getcurrent, greenlet

from freshet.domain.errors import UnreachableError

#: Latencies are drawn from a table of so many.
DRAWS: Final = 1024

#: The verbs after which somebody who waits may be ready.
WAKING: Final = frozenset({"publish", "wake", "announce", "request_stop", "request_kill", "child.send"})


class Killed(BaseException):
    """The process was killed: nothing of it may happen any more."""


class ExhaustedError(Exception):
    """The world went on for longer than any history should."""


class Server:
    """Postgres, Redis or Snowflake as the network shows it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.down = False
        self.epoch = 0  # how often it went down

    def fall(self) -> None:
        """It is away from now on; whoever is in the middle of something hears of it."""
        self.down = True
        self.epoch += 1


class Actor:
    """One thread of a process."""

    __slots__ = ("deadline", "green", "name", "nudged", "process", "ready", "token")

    def __init__(self, process: Process, name: str, run: Callable[[object], None]) -> None:
        self.process = process
        self.name = name
        self.green: greenlet = greenlet(run)
        self.ready: Callable[[], bool] | None = None
        self.deadline = 0.0
        self.nudged = False
        self.token = 0  # of the wake-up that counts


class Process:
    """A process of the installation: it lives, stands still, or is dead; its sessions bear its name."""

    def __init__(self, world: World, name: str, kind: str) -> None:
        self.world = world
        self.name = name
        self.kind = kind
        self.alive = True
        self.resumes_at = 0.0
        self.born = world.now
        self.actors: list[Actor] = []
        self.children: list[Process] = []
        self.at_death: list[Callable[[], None]] = []

    @property
    def stopped(self) -> bool:
        """Whether it stands still (SIGSTOP)."""
        return self.world.now < self.resumes_at

    def spawn(self, name: str, run: Callable[[], None]) -> Beside:
        """A thread of this process."""
        return Beside(self.world, self.world.start(self, name, run))

    def stop(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after so many seconds."""
        self.resumes_at = max(self.resumes_at, self.world.now + seconds)


class Beside:
    """What `Process.spawn` answers: a thread that can be joined."""

    def __init__(self, world: World, actor: Actor) -> None:
        self._world = world
        self._actor = actor

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end."""
        self._world.await_ready("join", 1e9 if timeout is None else timeout, lambda: self._actor.green.dead)


class World:
    """Time, actors, and who goes next."""

    def __init__(self, seed: int, *, latency: Sequence[float] = (0.001,), steps: int = 200_000) -> None:
        """`latency`: seconds that a round trip takes, one of them drawn each time; `steps`: a history's most."""
        self.random = random.Random(seed)
        self.now = 0.0
        self.steps = 0
        self.most_steps = steps
        self.stirred = False  # somebody who waits may be ready
        self.tracing: Callable[[str, str, str], None] | None = None
        self.strike: Callable[[Process, Server | None, str, str], None] | None = None
        self.atomic: Callable[[], bool] = lambda: False  # whether a transaction is open in which nobody else may go on
        self.aimed = ""  # the verb whose answers are in danger all the time
        self.strike_at = 1 << 60  # the step at which the next fault may strike
        self.processes: list[Process] = []
        self.current: Actor | None = None
        self.failures: list[tuple[str, BaseException]] = []
        self.set_latency(latency)
        self._heap: list[tuple[float, int, int, Actor | None, Callable[[], None] | None]] = []
        self._waiting: list[Actor] = []
        self._number = 0
        self._draw = self.random.random
        self._hub = getcurrent()
        self._over = False

    # --- building ---------------------------------------------------------------------------------------------------

    def process(self, name: str, kind: str, *, parent: Process | None = None) -> Process:
        """A new process; it dies with its parent. Raises Killed when that is dead already."""
        if parent is not None and not parent.alive:
            raise Killed
        process = Process(self, name, kind)
        self.processes.append(process)
        if parent is not None:
            parent.children.append(process)
        return process

    def start(self, process: Process, name: str, run: Callable[[], None]) -> Actor:
        """A new actor, ready to go."""

        def guarded(_answer: object) -> None:
            try:
                run()
            except Killed:
                pass
            except Exception as error:  # noqa: BLE001  (kept, and judged at the end)
                self.failures.append((actor.name, error))

        actor = Actor(process, f"{process.name}/{name}", guarded)
        actor.green.parent = self._hub
        process.actors.append(actor)
        self._wake_at(self.now + self.latency(), actor)
        return actor

    def at(self, moment: float, happens: Callable[[], None]) -> None:
        """Something happens at that time, in nobody's process."""
        self._number += 1
        heappush(self._heap, (max(moment, self.now), self._number, 0, None, happens))

    def set_latency(self, latency: Sequence[float]) -> None:
        """Seconds that a round trip takes, one of them drawn each time."""
        self._latency = [latency[int(place * len(latency) / DRAWS)] for place in range(DRAWS)]

    # --- going on ---------------------------------------------------------------------------------------------------

    def run(self, until: float) -> None:
        """Let time pass until then. Raises ExhaustedError."""
        heap = self._heap
        self._over = False
        while not self._over:
            if self.stirred:
                self._nudge()
            if not heap or heap[0][0] > until:
                self.now = max(self.now, until)
                return
            moment, _, token, actor, happens = heappop(heap)
            if actor is None:
                self.now = max(self.now, moment)
                assert happens is not None  # what is nobody's turn is an event
                happens()
            elif token == actor.token:
                self.now = max(self.now, moment)
                self._turn(actor)

    def end(self) -> None:
        """`run` returns at once."""
        self._over = True

    def close(self) -> None:
        """Kill everybody."""
        for process in list(self.processes):
            self.kill(process)
        self._heap.clear()

    def _turn(self, actor: Actor) -> None:
        process = actor.process
        if self.now < process.resumes_at:
            actor.nudged = True
            self._wake_at(process.resumes_at, actor)
        elif actor.ready is None:
            self._resume(actor, answer=True)
        elif actor.ready():
            self._take_from_waiting(actor)
            self._resume(actor, answer=True)
        elif self.now >= actor.deadline:
            self._take_from_waiting(actor)
            self._resume(actor, answer=False)
        else:  # another was faster
            actor.nudged = False
            self._wake_at(actor.deadline, actor)

    def _take_from_waiting(self, actor: Actor) -> None:
        actor.ready = None
        self._waiting.remove(actor)

    def _resume(self, actor: Actor, *, answer: bool) -> None:
        self.current = actor
        actor.green.switch(answer)
        self.current = None

    def _nudge(self) -> None:
        """Those for whom something has come are woken, each after a moment of its own."""
        self.stirred = False
        for actor in self._waiting:
            if not actor.nudged and actor.ready is not None and actor.ready():
                actor.nudged = True
                self._wake_at(self.now + self.latency(), actor)

    def _wake_at(self, moment: float, actor: Actor) -> None:
        self._number += 1
        actor.token += 1
        heappush(self._heap, (moment, self._number, actor.token, actor, None))

    # --- what actors do ---------------------------------------------------------------------------------------------

    def latency(self) -> float:
        """Seconds, drawn."""
        return self._latency[int(self._draw() * DRAWS)]

    def pause(self, seconds: float) -> None:
        """The current actor waits. Raises Killed."""
        actor = self.current
        assert actor is not None  # only actors wait
        if not actor.process.alive:
            raise Killed
        if self.atomic():
            return
        moment = self.now + seconds
        if (self._heap and self._heap[0][0] <= moment) or self.stirred or moment < actor.process.resumes_at:
            self._wake_at(moment, actor)
            self._hub.switch()
            if not actor.process.alive:
                raise Killed
        else:  # nobody else has anything to do before
            self.now = moment

    def await_ready(self, what: str, seconds: float, ready: Callable[[], bool]) -> bool:
        """The current actor waits until something is ready, at most so long; whether it is. Raises Killed."""
        actor = self.current
        assert actor is not None  # only actors wait
        if not actor.process.alive:
            raise Killed
        self._count()
        if ready():
            return True
        # No wait is shorter than a clock's tick: a turned clock would else stand just before a deadline for ever.
        actor.ready, actor.deadline, actor.nudged = ready, self.now + max(seconds, 1e-6), False
        self._waiting.append(actor)
        self._wake_at(actor.deadline, actor)
        answer: bool = self._hub.switch()
        if not actor.process.alive:
            raise Killed
        if self.tracing is not None:
            self.tracing(actor.name, "woke" if answer else "waited", what)
        return answer

    def enter(self, process: Process, server: Server | None, verb: str) -> None:
        """The way into a verb. Raises Killed, UnreachableError."""
        if not process.alive:
            raise Killed
        self._count()
        if self.tracing is not None:
            self.tracing(self._name(process), "calls", verb)
        epoch = 0 if server is None else server.epoch
        self.pause(self._latency[int(self._draw() * DRAWS)])
        if server is not None and (server.down or server.epoch != epoch):
            raise UnreachableError(f"{server.name} can't be reached: it is away.")
        if self.steps >= self.strike_at and self.strike is not None:
            self.strike(process, server, verb, "question")

    def leave(self, process: Process, server: Server | None, verb: str) -> None:
        """The way out of a verb: its effects are there. Raises Killed, UnreachableError."""
        if not process.alive:
            raise Killed
        if verb in WAKING:
            self.stirred = True
        if (self.steps >= self.strike_at or verb == self.aimed) and self.strike is not None:
            self.strike(process, server, verb, "answer")

    def _count(self) -> None:
        self.steps += 1
        if self.steps > self.most_steps:
            self._over = True
            raise ExhaustedError(f"More than {self.most_steps} steps.")

    def _name(self, process: Process) -> str:
        return process.name if self.current is None else self.current.name

    # --- ending -----------------------------------------------------------------------------------------------------

    def kill(self, process: Process) -> None:
        """SIGKILL, by whomever: its actors do nothing more. The killer's own actor ends at its next step."""
        if not process.alive:
            return
        process.alive = False
        if self.tracing is not None:
            self.tracing(process.name, "dies", "")
        for child in process.children:
            self.kill(child)
        for actor in process.actors:
            self._end_actor(actor)
        for happens in process.at_death:
            happens()
        self.processes.remove(process)
        self.stirred = True

    def exit(self, process: Process) -> None:
        """It ended by itself, in its last actor."""
        self.kill(process)

    def _end_actor(self, actor: Actor) -> None:
        if actor is self.current:
            return  # it is told by the passage that it stands in
        actor.token += 1
        if actor.ready is not None:
            self._take_from_waiting(actor)
        if actor.green:  # begun, and not over
            before, self.current = self.current, actor
            actor.green.parent = getcurrent()
            actor.green.throw(Killed)
            self.current = before


class Doorway:
    """A process's passage to one server: freshet.testing.twins.passage.Passage."""

    __slots__ = ("_process", "_server", "_world")

    def __init__(self, world: World, process: Process, server: Server | None) -> None:
        self._world = world
        self._process = process
        self._server = server

    def enter(self, verb: str) -> None:
        """Before a verb."""
        self._world.enter(self._process, self._server, verb)

    def leave(self, verb: str) -> None:
        """After it."""
        self._world.leave(self._process, self._server, verb)

    def block(self, verb: str, seconds: float, ready: Callable[[], bool]) -> bool:
        """While it waits for something."""
        return self._world.await_ready(verb, seconds, ready)


class WorldClock:
    """freshet.runtime.clock.Clock on virtual time."""

    def __init__(self, world: World) -> None:
        self._world = world

    def monotonic(self) -> float:
        """Seconds since the world began."""
        return self._world.now

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Until the event is set, at most so long."""
        return self._world.await_ready("wait", seconds, event.is_set)


def text(value: Any) -> str:
    """A short form for traces."""
    shown = repr(value)
    return shown if len(shown) < 200 else f"{shown[:200]}…"
