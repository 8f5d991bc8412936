"""The services as direct children, and who starts them again.

Purpose: kill, freeze, thaw and restart. Guarantees: a service that ended is started again after a short while; nothing
outlives us (each child has a pact with the kernel). Never: a process that this one did not start.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from freshet.runtime.child import Child, Command

ROOT = Path(__file__).parents[2]
#: Seconds between the end of a service and its new start.
ABSENCE = 1.0


@dataclass(kw_only=True)
class Service:
    """One copy of a service."""

    name: str  # worker-2
    env: Mapping[str, str]
    logs: Path
    prefix: tuple[str, ...] = ()
    starts: int = 0
    child: Child | None = None
    ended_at: float | None = None
    frozen: set[int] = field(default_factory=set)

    @property
    def module(self) -> str:
        """What `python -m` runs."""
        return f"freshet_{self.name.partition('-')[0]}"

    @property
    def pid(self) -> int | None:
        """Its process, while it runs."""
        return self.child.pid if self.child is not None and self.child.exit_code() is None else None

    def start(self) -> None:
        """Start it, from the main thread."""
        argv = (*self.prefix, sys.executable, "-m", self.module)
        self.child = Child(Command(argv=argv, env=self.env, cwd=str(ROOT)), self.logs / f"{self.name}.log")
        self.starts += 1
        self.ended_at = None
        self.frozen = set()

    def send(self, number: int, *, children: bool = False) -> bool:
        """Signal it, and with `children` what it started; whether it was there."""
        if (pid := self.pid) is None:
            return False
        pids = [pid, *(descendants(pid) if children else ())]
        for each in pids:
            with suppress(ProcessLookupError):
                os.kill(each, number)
        if number == signal.SIGSTOP:
            self.frozen |= set(pids)
        elif number == signal.SIGCONT:
            self.frozen.clear()
        return True

    def thaw(self) -> None:
        """SIGCONT whatever of this life was stopped; a later life was never stopped."""
        for each in self.frozen:
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGCONT)
        self.frozen.clear()


class Fleet:
    """All services."""

    def __init__(self, services: Iterable[Service]) -> None:
        self.services = {service.name: service for service in services}

    def __getitem__(self, name: str) -> Service:
        return self.services[name]

    def start(self) -> None:
        """Start all."""
        for service in self.services.values():
            service.start()

    def look_after(self) -> list[str]:
        """Start again what has been away for a while; the names of those."""
        started = []
        for service in self.services.values():
            if service.pid is not None:
                continue
            now = time.monotonic()
            if service.ended_at is None:
                service.ended_at = now
            elif now - service.ended_at >= ABSENCE:
                service.start()
                started.append(service.name)
        return started

    def thaw(self) -> None:
        """Nobody is frozen any more."""
        for service in self.services.values():
            service.thaw()

    def stop(self, chosen: Callable[[str], bool], grace: float) -> None:
        """Ask those to stop, and wait; who takes longer is killed."""
        children = [each.child for each in self.services.values() if chosen(each.name) and each.child is not None]
        for child in children:
            child.ask_to_stop()
        until = time.monotonic() + grace
        for child in children:
            child.stop(max(0.1, until - time.monotonic()))

    def ends(self) -> dict[str, int]:
        """How often each was started again."""
        return {name: service.starts - 1 for name, service in self.services.items() if service.starts > 1}


def descendants(pid: int) -> list[int]:
    """Everything below a process, from /proc."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in task.read_text().split():
                found += [int(child), *descendants(int(child))]
    return found
