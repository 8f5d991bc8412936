"""A worker's child, and the signals between its threads, without a process, a pipe or a socket.

Purpose: the real Bench works through bundles in an actor of its own, at the other end of a channel in memory.
Guarantees: what was sent before a death is still heard; the child dies with its worker; killing it is immediate.
Never: printed output; what items do is drawn (see `behaviour`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from freshet.execution.channel import Channel, Sent
from freshet.execution.contract import Executor
from freshet.execution.registry import Registry
from freshet.execution.signals import Signals
from freshet.execution.turns import Bench
from freshet.execution.warm_child import ChildEndedError, ChildOptions, WarmChild
from freshet.storage.session import ProcessSession
from freshet.testing.simulation.world import Doorway, Killed, Process, World

#: Bytes of JSON of one result.
LIMIT = 1 << 20


class SignalsTwin(Signals):
    """What wakes a supervisor's main thread."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._monotonic = lambda: world.now
        self._stops: set[int] = set()
        self.drain_deadline: float | None = None
        self.woken = False

    def wake(self) -> None:
        """Interrupt a wait."""
        self.woken = self._world.stirred = True

    def clear(self) -> None:
        """Forget the wake-ups that have been heeded."""
        self.woken = False

    def wait(self, seconds: float) -> None:
        """Wait until woken, at most so long."""
        self._world.await_ready("signal", seconds, lambda: self.woken)
        self.clear()

    def close(self) -> None:
        """There is no pipe."""


class ChannelTwin(Channel):
    """The child's end. Messages are handed over as they are: nobody changes one that was sent."""

    def __init__(self, world: World, process: Process) -> None:
        self._world = world
        self._process = process
        self._door = Doorway(world, process, None)
        self.sent: deque[dict[str, Any] | Sent] = deque()
        self.given: deque[dict[str, Any]] = deque()

    def send(self, message: dict[str, Any]) -> None:
        """To the supervisor."""
        self._put(message)

    def send_outcome(self, outcome: Sent) -> None:
        """To the supervisor."""
        self._put(outcome)

    def send_outcomes(self, outcomes: Iterable[Sent]) -> None:
        """To the supervisor, which may hear one of them before the next."""
        for outcome in outcomes:
            self._put(outcome)

    def receive(self) -> dict[str, Any] | None:
        """Wait for a message of the supervisor."""
        self._world.await_ready("receive", 1e9, lambda: bool(self.given))
        return self.given.popleft()

    def arrived(self) -> tuple[list[dict[str, Any] | Sent], bool]:
        """What the supervisor has sent."""
        messages: list[dict[str, Any] | Sent] = [*self.given]
        self.given.clear()
        return messages, True

    def close(self) -> None:
        """Nothing is open."""

    def _put(self, message: dict[str, Any] | Sent) -> None:
        self._door.enter("child.send")
        self.sent.append(message)
        self._door.leave("child.send")


class BenchTwin(Bench):
    """The real bench, but for what reaches the operating system."""

    def __init__(
        self,
        *,
        world: World,
        channel: Channel,
        session: ProcessSession,
        registry: Registry,
        script: Executor,
        controls: Callable[[], bytes],
    ) -> None:
        """`script` stands in for executors that start programs; `controls` is what the supervisor has said beside."""
        super().__init__(
            channel=channel,
            output=-1,
            control=-1,
            session=session,
            registry=registry,
            limit=LIMIT,
            mark=b"",
            connections={},
            monotonic=lambda: world.now,
        )
        self._script = script
        self._said = controls

    def _executor(self, kind: str, spec: Mapping[str, Any]) -> Executor:
        return self._script if kind == "python" else super()._executor(kind, spec)

    def _read_control(self) -> None:
        self._controls = self._said()

    def _end_output(self, position: int) -> None:
        """Nothing is printed."""

    def _complain(self, error: BaseException) -> None:
        """Nobody reads it. What ends the process is no failure of an item."""
        if isinstance(error, Killed):
            raise error


class ChildTwin(WarmChild):
    """The supervisor's side of a child that is an actor."""

    def __init__(
        self,
        options: ChildOptions,
        *,
        world: World,
        worker: Process,
        name: str,
        serve: Callable[[Process, ChannelTwin, Callable[[], bytes]], None],
        processes: Mapping[str, str],
    ) -> None:
        """`serve` is the child's main loop; `processes` is isolation by `name@version`."""
        del options
        self._world = world
        self.mark = b""
        self.items = 0
        self.process = world.process(name, "child", parent=worker)
        self.pipe = ChannelTwin(world, self.process)
        self._said = b""
        self._served = processes
        self._is_ready = False
        self.process.spawn("bench", lambda: serve(self.process, self.pipe, lambda: self._said))

    @property
    def pid(self) -> int:
        """There is none."""
        return 0

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process.alive

    @property
    def has_spoken(self) -> bool:
        """Whether `processes` need not wait."""
        return self._is_ready or bool(self.pipe.sent) or not self.alive

    @property
    def processes(self) -> Mapping[str, str]:
        """Isolation by `name@version` of what it serves."""
        if not self._is_ready:
            self._world.await_ready("child", 1e9, lambda: bool(self.pipe.sent) or not self.process.alive)
            if not self.pipe.sent:
                raise ChildEndedError("The worker's child ended at its start.")
            self.pipe.sent.popleft()
            self._is_ready = True
        return self._served

    def send(self, message: dict[str, Any]) -> bool:
        """Send a message; False when it is dead."""
        if not self.process.alive:
            return False
        self.pipe.given.append(message)
        self._world.stirred = True
        return True

    def tell(self, control: bytes) -> None:
        """Say `d` (drain) or `c` (cancel) beside the channel."""
        self._said += control

    def await_heard(self, signals: Signals, seconds: float | None) -> None:
        """Wait until it has sent something or died, or a signal came."""
        assert isinstance(signals, SignalsTwin)
        pipe, process = self.pipe, self.process
        self._world.await_ready(
            "child",
            1e9 if seconds is None else seconds,
            lambda: bool(pipe.sent) or signals.woken or not process.alive,
        )
        signals.clear()

    def heard(self) -> tuple[list[dict[str, Any] | Sent], bool]:
        """Messages that have arrived, and whether it still lives."""
        frames = list(self.pipe.sent)
        self.pipe.sent.clear()
        return frames, self.process.alive

    def printed(self) -> bytes:
        """Nothing is printed."""
        return b""

    def kill(self) -> str:
        """Kill it."""
        self._world.kill(self.process)
        return "by signal SIGKILL"

    def end_of(self, seconds: float = 1.0) -> str:
        """How it ended."""
        del seconds
        return self.kill()

    def close(self) -> None:
        """Kill it."""
        self.kill()
