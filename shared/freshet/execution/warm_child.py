"""The supervisor's side of its child.

Purpose: start, feed, hear and kill one child. Guarantees: it dies with the supervisor; killing it kills what it
started; what it sent and printed before its death is still heard. Never: started from a thread that may end before
the supervisor does (the kernel ties the death to the thread).
"""

from __future__ import annotations

import fcntl
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from freshet.domain.errors import DefinitionError, FreshetError
from freshet.execution.channel import Channel, Sent
from freshet.execution.signals import Signals
from freshet.runtime.parentage import PARENT_VARIABLE, death_pact

#: So much output may wait in the pipe before a child that prints has to wait for its supervisor.
PIPE_BYTES = 1 << 20


class ChildEndedError(FreshetError):
    """The worker's child ended before it was ready."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChildOptions:
    """What a child is told at its start."""

    modules: tuple[str, ...]  # of processes
    database_url: str  # of context.connection
    limit: int  # bytes of JSON of one result
    connections: Mapping[str, str] = field(default_factory=dict, repr=False)  # URLs of the named Postgres servers


class WarmChild:
    """One child process. Made and used by one thread."""

    def __init__(self, options: ChildOptions) -> None:
        """Start it; `processes` waits until it is ready."""
        self.mark = b"\0freshet:" + secrets.token_hex(8).encode() + b":"
        self.items = 0  # that it was given
        ours, theirs = socket.socketpair()
        self.output, output = os.pipe()
        control, self._control = os.pipe()
        os.set_blocking(self.output, False)
        with suppress(OSError, AttributeError):  # beyond the user's quota, or no Linux: the usual size does too
            fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        try:
            self._process = _spawn(theirs.fileno(), output, control)
        finally:
            theirs.close()
            os.close(output)
            os.close(control)
        self.channel = Channel(ours)
        self._processes: Mapping[str, str] | None = None
        self.channel.send(
            {
                "modules": list(options.modules),
                "database_url": options.database_url,
                "limit": options.limit,
                "mark": self.mark.decode(),
                "connections": dict(options.connections),
            }
        )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    @property
    def processes(self) -> Mapping[str, str]:
        """Isolation by `name@version` of what it serves; waits until its modules are imported.

        Raises DefinitionError when a module is refused, ChildEndedError when it died over it.
        """
        if self._processes is None:
            message = self.channel.receive()
            if message is None:
                how, printed = self.end_of(), self.printed().decode(errors="replace").strip()
                raise ChildEndedError(f"The worker's child ended at its start, {how}.\n{printed}".strip())
            if message["op"] == "refused":
                raise DefinitionError(message["message"], code="module_refused")
            self._processes = message["processes"]
        return self._processes

    @property
    def has_spoken(self) -> bool:
        """Whether `processes` need not wait: it is ready, or refused, or dead."""
        return self._processes is not None or bool(select.select([self.channel.socket.fileno()], [], [], 0)[0])

    def send(self, message: dict[str, Any]) -> bool:
        """Send a message; False when it is dead."""
        try:
            self.channel.send(message)
        except OSError:
            return False
        return True

    def tell(self, control: bytes) -> None:
        """Say `d` (drain) or `c` (cancel) beside the channel, where user code at work hears it."""
        with suppress(OSError):  # dead: its end is noticed elsewhere
            os.write(self._control, control)

    def await_heard(self, signals: Signals, seconds: float | None) -> None:
        """Wait until it has sent or printed something, or a signal came; at most so long, None for ever."""
        select.select([self.channel.socket.fileno(), self.output, signals.readable], [], [], seconds)
        signals.clear()

    def heard(self) -> tuple[list[dict[str, Any] | Sent], bool]:
        """Messages that have arrived, and whether it still has its end of the channel."""
        return self.channel.arrived()

    def printed(self) -> bytes:
        """What it has printed by now, without waiting."""
        chunks = []
        with suppress(BlockingIOError):
            while chunk := os.read(self.output, PIPE_BYTES):
                chunks.append(chunk)
        return b"".join(chunks)

    def kill(self) -> str:
        """Kill it with everything it started; how it ended: `with exit code 0`, `by signal SIGSEGV`."""
        code = self._process.poll()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        ended = self._process.wait() if code is None else code
        return f"with exit code {ended}" if ended >= 0 else f"by signal {_signal_name(-ended)}"

    def end_of(self, seconds: float = 1.0) -> str:
        """How it ended, when its channel has closed: a moment later its exit code is there."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self.kill()

    def close(self) -> None:
        """Kill it and let go of everything."""
        self.kill()
        self.channel.close()
        os.close(self.output)
        os.close(self._control)


def _spawn(channel: int, output: int, control: int) -> subprocess.Popen[bytes]:
    numbers = {"channel": channel, "output": output, "control": control}
    return subprocess.Popen(  # noqa: S603  (our own module)
        [
            sys.executable,
            "-m",
            "freshet.execution.child",
            *(text for name, number in numbers.items() for text in (f"--{name}", str(number))),
        ],
        pass_fds=(channel, output, control),
        stdin=subprocess.DEVNULL,
        # A session of its own: one kill reaches all that user code starts, and the terminal's ctrl-C reaches nobody.
        start_new_session=True,
        preexec_fn=death_pact(),  # noqa: PLW1509  (what it calls was looked up before the fork)
        env={**os.environ, PARENT_VARIABLE: str(os.getpid())},
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
