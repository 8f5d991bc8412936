"""Faults become signals, cuts and restarts, in one loop in the main thread.

Guarantees: what a fault began it ends; when the last one is over everything runs. Never: a wait, beside the loop's own
short one.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence

from tests.chaos.installation import Installation
from tests.chaos.plan import Fault, Kind

#: Seconds between the cut and the restart that happens behind its back.
BEHIND = 0.3

Act = Callable[[], object]


class Execution:
    """A plan on an installation."""

    def __init__(self, made: Installation) -> None:
        self._made = made
        self._due: list[tuple[float, int, Act]] = []
        self._order = itertools.count()
        self.struck: list[tuple[float, Fault]] = []  # monotonic time of each blow that fell
        self.missed: Counter[str] = Counter()  # whom it was meant for was dead already
        self._cuts: Counter[str] = Counter()

    def run(self, faults: Sequence[Fault], length: float) -> None:
        """Let them fall; returns after `length` seconds with everything undone."""
        began = time.monotonic()
        for fault in faults:
            self._at(began + fault.at, lambda fault=fault: self._strike(fault))  # type: ignore[misc]
        while (now := time.monotonic()) < began + length or self._due:
            while self._due and self._due[0][0] <= now:
                heapq.heappop(self._due)[2]()
            self._made.look_after()
            time.sleep(0.02)
        self._undo()

    def _undo(self) -> None:
        self._made.fleet.thaw()
        for line in self._made.lines.values():
            line.heal()
        if self._made.disk is not None:
            self._made.disk.free()

    def _at(self, moment: float, act: Act) -> None:
        heapq.heappush(self._due, (moment, next(self._order), act))

    def _strike(self, fault: Fault) -> None:
        if self._fell(fault):
            self.struck.append((time.monotonic(), fault))
        else:
            self.missed[str(fault.kind)] += 1

    def _fell(self, fault: Fault) -> bool:
        match fault.kind:
            case Kind.KILL:
                return self._made.fleet[fault.target].send(signal.SIGKILL)
            case Kind.FLUSH:
                self._made.redis.flush()
            case Kind.REDIS_KEPT | Kind.REDIS_LOST:
                self._made.redis_rests = time.monotonic() + fault.seconds
                self._made.redis.kill(forget=fault.kind is Kind.REDIS_LOST)
            case Kind.POSTGRES_FAST | Kind.POSTGRES_IMMEDIATE:
                self._restart_postgres(fault.seconds, immediate=fault.kind is Kind.POSTGRES_IMMEDIATE)
            case Kind.DISK_FULL:
                return self._fill_disk(fault.seconds)
            case Kind.CUT | Kind.CUT_IN_RESTART:
                self._cut(fault)
            case _:
                return self._freeze(fault)
        return True

    def _restart_postgres(self, seconds: float, *, immediate: bool) -> None:
        self._made.postgres_rests = time.monotonic() + seconds
        self._made.postgres.stop(immediate=immediate)

    def _fill_disk(self, seconds: float) -> bool:
        disk = self._made.disk
        if disk is None:
            return False
        try:
            disk.fill()
        except OSError:  # it grew faster than it was asked
            return False
        self._at(time.monotonic() + seconds, disk.free)
        return True

    def _cut(self, fault: Fault) -> None:
        line, target = self._made.lines[fault.target], fault.target
        self._cuts[target] += 1
        line.cut()

        def heal() -> None:
            self._cuts[target] -= 1
            if not self._cuts[target]:  # another cut may still last
                line.heal()

        self._at(time.monotonic() + fault.seconds, heal)
        if fault.kind is Kind.CUT_IN_RESTART:
            self._at(time.monotonic() + BEHIND, lambda: self._restart_postgres(0.0, immediate=True))

    def _freeze(self, fault: Fault) -> bool:
        service = self._made.fleet[fault.target]
        pid = service.pid
        if not service.send(signal.SIGSTOP, children=fault.kind in {Kind.STOP_WORKER, Kind.STOP_WORKER_LONG}):
            return False
        frozen = set(service.frozen)

        def thaw() -> None:
            # Another life of this service was never stopped, and its numbers may belong to others by now.
            if service.pid == pid:
                for each in frozen & service.frozen:
                    with contextlib.suppress(ProcessLookupError):  # a child that was killed while it stood still
                        os.kill(each, signal.SIGCONT)
                service.frozen -= frozen

        self._at(time.monotonic() + fault.seconds, thaw)
        return True
