"""Keeps a set of programs running.

Purpose: one public pass that starts what is due, notices what ended or became ready, and says how long
nothing will be due. Guarantees: a program that ends is started again with back-off (0.2 s doubling to 5 s,
forgotten after 10 s of running); everything is stopped in the order given, in parallel within a step. Never:
a thread; children are bound to the thread that starts them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from freshet.cli.failures import StartError
from freshet.domain.errors import FreshetError
from freshet.runtime.child import Child, Program, last_lines
from freshet.runtime.clock import Clock
from freshet.runtime.service import PassResult, backoff

STEADY = 10.0  # seconds of running after which earlier failures are forgotten
PROBE = 0.02  # seconds between two looks at whether a starting program serves
LAST_GRACE = 10.0  # seconds for what no step names
WRONG_SETTING = 2  # the exit code of a service that refuses its settings


@dataclass(kw_only=True, slots=True)
class Unit:
    """A program and how its runs go."""

    program: Program
    log: Path
    child: Child | None = None
    ready: bool = False
    ever_ready: bool = False
    failures: int = 0  # ends in a row
    due: float = 0.0  # monotonic second of the next start
    started: float = 0.0
    code: int | None = None  # of its last end

    @property
    def name(self) -> str:
        """The program's word."""
        return self.program.name

    @property
    def service(self) -> str:
        """The word in `pids`: `worker` for `worker-2`."""
        return self.name.partition("-")[0]


class Supervisor:
    """Units, and the one pass over them."""

    def __init__(self, *, logs: Path, clock: Clock, say: Callable[[str], object]) -> None:
        """Logs of all units go to `logs`/<name>.log; `say` gets a sentence when one ended and is started again."""
        self.units: list[Unit] = []
        self._logs = logs
        self._clock = clock
        self._say = say

    def add(self, programs: Iterable[Program], *, fork: bool = False) -> None:
        """Start each at once; they are looked after from now on. Raises FreshetError when one can't be started.

        `fork`: Python services begin as forks of this process, which must have no other thread then.
        """
        for program in programs:
            unit = Unit(program=program, log=self._logs / f"{program.name}.log")
            self.units.append(unit)
            self._start(unit, fork=fork)

    def once(self) -> PassResult:
        """Look at every unit once; `did` counts the units that became ready."""
        now = self._clock.monotonic()
        became_ready = sum([self._look(unit, now) for unit in self.units])
        return PassResult(did=became_ready, wait=self._next(now))

    def waiting(self) -> list[Unit]:
        """The units that do not serve yet."""
        return [unit for unit in self.units if not unit.ready]

    def check_start(self, tries: int) -> None:
        """Raises StartError when a unit that never served has refused its settings or ended `tries` times."""
        for unit in self.units:
            if not unit.ever_ready and (unit.failures >= tries or unit.code == WRONG_SETTING):
                raise StartError(failure(unit))

    def pids(self) -> dict[str, list[int]]:
        """The pids of all that runs, by service."""
        found: dict[str, list[int]] = {}
        for unit in self.units:
            if unit.child is not None and unit.child.exit_code() is None:
                found.setdefault(unit.service, []).append(unit.child.pid)
        return found

    def stop(self, steps: Sequence[tuple[frozenset[str], float]]) -> None:
        """Stop step by step: services, and the seconds after which what is left of them is killed.

        What is named in no step is stopped at the end.
        """
        named = frozenset[str]().union(*(services for services, _ in steps))
        rest = frozenset(unit.service for unit in self.units) - named
        for services, grace in (*steps, (rest, LAST_GRACE)):
            children = [unit.child for unit in self.units if unit.service in services and unit.child]
            for child in children:
                child.ask_to_stop()
            deadline = self._clock.monotonic() + grace
            for child in children:
                child.stop(max(0.0, deadline - self._clock.monotonic()))
        self.units.clear()

    def kill(self) -> None:
        """End all at once."""
        for unit in self.units:
            if unit.child is not None:
                unit.child.stop(0.0)

    def _look(self, unit: Unit, now: float) -> bool:
        """Returns whether the unit became ready just now."""
        if unit.child is None:
            if now >= unit.due:
                self._try_start(unit)
            return False
        code = unit.child.exit_code()
        if code is not None:
            self._ended(unit, code, now)
        elif not unit.ready and unit.program.ready(unit.child.pid):
            unit.ready = unit.ever_ready = True
            return True
        return False

    def _ended(self, unit: Unit, code: int, now: float) -> None:
        unit.failures = 1 if now - unit.started >= STEADY else unit.failures + 1
        unit.due = now + backoff(unit.failures)
        unit.child, unit.ready, unit.code = None, False, code
        if unit.ever_ready:
            self._say(f"{unit.name} ended with code {code} and is started again.")

    def _try_start(self, unit: Unit) -> None:
        try:
            self._start(unit)
        except (FreshetError, OSError) as error:
            unit.failures += 1
            unit.due = self._clock.monotonic() + backoff(unit.failures)
            self._say(f"{unit.name} can't be started: {error}")

    def _start(self, unit: Unit, *, fork: bool = False) -> None:
        unit.child = Child(unit.program.command(), unit.log, fork=fork)
        unit.started = self._clock.monotonic()

    def _next(self, now: float) -> float:
        """Seconds until something may be due; the end of a child wakes the caller by SIGCHLD."""
        if any(unit.child is not None and not unit.ready for unit in self.units):
            return PROBE
        dues = [unit.due - now for unit in self.units if unit.child is None]
        return max(PROBE, min(dues, default=60.0))


def failure(unit: Unit) -> str:
    """What to say of a unit that can't be started: its name and the end of its log."""
    lines = last_lines(unit.log) or "(it logged nothing)"
    return f"The service {unit.name} does not start. The end of {unit.log}:\n{lines}"
