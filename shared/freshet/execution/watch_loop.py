"""The thread of a watch: one turn after the other, a pause between them, and a wake-up that shortens it.

Purpose: what every watch does around its turns. Guarantees: an error ends no watch, and one that is not an outage gives
the candidacy away; who stands by takes no wake-up from who leads. Never: a look at what is watched.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from freshet.bus import Bus
from freshet.domain.errors import UnreachableError
from freshet.runtime import log
from freshet.runtime.beside import Running, Spawn
from freshet.runtime.clock import Clock
from freshet.runtime.service import backoff

#: Seconds between two polls right after something changed, and between two looks while nothing is in flight.
QUICK, CALM = 0.2, 10.0
#: Seconds that the end waits for the thread.
JOIN = 5.0


class Candidate(Protocol):
    """One of the workers that could watch."""

    def campaign(self) -> bool:
        """Whether this one does."""
        ...

    def resign(self) -> None:
        """Let another one do it."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """What one turn did."""

    leads: bool = True
    ended: int = 0
    reaped: int = 0
    in_flight: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Rhythm:
    """How a watch is woken, and what paces it."""

    name: str  # of its thread
    wake: str  # what wakes it
    standby: float  # seconds between two candidacies of those that stand by
    poll: float  # seconds between two polls while nothing changes


class WatchLoop(ABC):
    """One worker's candidacy for a watch."""

    def __init__(
        self, rhythm: Rhythm, *, bus: Bus, candidate: Candidate, clock: Clock, spawn: Spawn, close: Callable[[], None]
    ) -> None:
        """`close` ends the session that the watch has."""
        self._rhythm = rhythm
        self._bus = bus
        self._candidate = candidate
        self._clock = clock
        self._spawn = spawn
        self._close = close
        self._end = threading.Event()
        self._beside: Running | None = None

    @abstractmethod
    def turn(self) -> Watched:
        """Poll once, if this worker has the watch. Raises UnreachableError."""

    def begin(self) -> None:
        """Watch in a thread of its own."""
        self._beside = self._spawn(self._rhythm.name, self.run)

    def end(self) -> None:
        """Stop watching and let another worker do it."""
        self._end.set()
        if self._beside is not None:
            self._beside.join(JOIN)
        self._candidate.resign()
        self._close()

    def run(self) -> None:
        """Turn after turn until the end."""
        wait, failures = QUICK, 0
        while not self._end.is_set():
            try:
                turn = self.turn()
                failures = 0
                wait = self._next_wait(turn, wait)
                self._rest(turn, max(QUICK, min(wait, self._at_most())))
            except Exception as error:  # noqa: BLE001  (whatever it is, work goes on and must be watched)
                failures += 1
                self._complain(error, failures)
                self._clock.wait(self._end, backoff(failures))

    def _complain(self, error: Exception, failures: int) -> None:
        logger = log.logger(watch=self._rhythm.name)
        if isinstance(error, UnreachableError):
            if failures == 1:
                logger.warning("server_unreachable", message=error.message)
            return
        logger.exception("watch_failed", message=str(error))
        self._candidate.resign()  # another worker may do better

    def _next_wait(self, turn: Watched, wait: float) -> float:
        if not turn.leads:
            return self._rhythm.standby
        if turn.ended or turn.reaped:
            return QUICK
        if not turn.in_flight and not self._is_waited_for():
            return CALM
        return min(self._rhythm.poll, max(QUICK, wait) * 1.5) if wait <= self._rhythm.poll else QUICK

    def _rest(self, turn: Watched, seconds: float) -> None:
        """Wait, but no longer than until something is submitted; those that stand by must not take the wake-up away."""
        if not turn.leads:
            self._clock.wait(self._end, seconds)
            return
        until = self._clock.monotonic() + seconds
        while not self._end.is_set() and (left := until - self._clock.monotonic()) > 0:
            if self._bus.await_wake([self._rhythm.wake], seconds=left) is not None:
                self._woken()
                return

    # --- what one watch may have beyond others ----------------------------------------------------------------------

    def _at_most(self) -> float:
        """Seconds until something should be looked at, whatever the pause."""
        return float("inf")

    def _is_waited_for(self) -> bool:
        """Whether something is there although nothing is in flight."""
        return False

    def _woken(self) -> None:  # noqa: B027  (most watches have nothing to do then)
        """A wake-up came."""
