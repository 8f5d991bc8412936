"""A program that runs as our child.

Purpose: start, watch and stop one process, the same way for services and for embedded servers. Guarantees: it
dies with us (see `parentage`), does not hear the terminal's ctrl-C, and its output goes to one log file.
Never: started from a thread that ends before the process does, or the kernel would kill it then.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from freshet.runtime import forked
from freshet.runtime.parentage import PARENT_VARIABLE, death_pact

MAX_LOG_BYTES = 10 * 1024 * 1024  # a longer log is set aside as .1 when its program starts


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """What to run, and as whom."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)  # on top of our own environment
    cwd: str | None = None
    uid: int | None = None  # both given or both None: our own
    gid: int | None = None
    stop_signal: int = signal.SIGTERM
    death_signal: int = signal.SIGKILL  # what the kernel sends when we die
    module: str | None = None  # `argv` is `python -m module`, so a fork of this process can run it, too
    path: tuple[str, ...] = ()  # and these directories are importable then


class Program(Protocol):
    """Something that can be run as a child, again and again."""

    @property
    def name(self) -> str:
        """Its word in messages and the stem of its log file."""
        ...

    def command(self) -> Command:
        """Make everything ready and say what to run. Raises FreshetError."""
        ...

    def ready(self, pid: int) -> bool:
        """Whether the child with this pid serves."""
        ...


class Process(Protocol):
    """What Popen and a fork have in common."""

    pid: int

    def poll(self) -> int | None:
        """None while it runs, else its exit code."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises TimeoutExpired."""
        ...

    def send_signal(self, sig: int) -> None:
        """Signal it, if it still runs."""
        ...

    def kill(self) -> None:
        """SIGKILL."""
        ...


class Child:
    """One run of a command."""

    def __init__(self, command: Command, log: Path, *, fork: bool = False) -> None:
        """Start at once; `fork` spares a Python module the import of what this process has imported.

        Raises OSError when the program is not there.
        """
        self.command = command
        self.log = log
        self._asked = False
        rotate(log)
        with log.open("ab") as output:
            self._process = (_fork if fork and command.module else _spawn)(command, output.fileno())

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while it runs, else its exit code (negative: the signal that ended it)."""
        return self._process.poll()

    def wait(self, seconds: float) -> bool:
        """Whether it has ended within so many seconds."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def ask_to_stop(self) -> None:
        """Send its stop signal, once: a second one means "at once" to a service. Not waited for."""
        if not self._asked and self.exit_code() is None:
            self._asked = True
            self._process.send_signal(self.command.stop_signal)

    def stop(self, grace: float) -> None:
        """Ask to stop, and kill after `grace` seconds."""
        self.ask_to_stop()
        if not self.wait(grace):
            self._process.kill()
            self._process.wait()


def rotate(log: Path) -> None:
    """Set a log that has grown too long aside; one older generation is kept."""
    if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
        log.replace(log.with_name(log.name + ".1"))


def last_lines(log: Path, count: int = 15) -> str:
    """The end of a log, for a message about its program's failure."""
    if not log.exists():
        return ""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 65_536))
        return "\n".join(stream.read().decode(errors="replace").splitlines()[-count:])


def _spawn(command: Command, output: int) -> Process:
    account: dict[str, Any] = {}
    if command.uid is not None:
        account = {"user": command.uid, "group": command.gid, "extra_groups": []}
    return subprocess.Popen(  # noqa: S603  (the commands are ours)
        command.argv,
        env=_environment(command),
        cwd=command.cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # ctrl-C in the terminal reaches us alone; we stop the rest in order
        # Popen calls it after it has changed the user, which would clear the death signal.
        preexec_fn=death_pact(command.death_signal),  # noqa: PLW1509
        **account,
    )


def _fork(command: Command, output: int) -> Process:
    return forked.fork_module(
        str(command.module),
        environment=_environment(command),
        path=command.path,
        output=output,
        prepare=death_pact(command.death_signal),
    )


def _environment(command: Command) -> dict[str, str]:
    return {**os.environ, PARENT_VARIABLE: str(os.getpid()), **command.env}
