"""Who is dead: two witnesses, and no verdict while either can't be heard.

Purpose: a dead worker's work is claimable again within 5 seconds, and no live worker is declared dead. The witnesses
are the heartbeat in Redis, which lives 3 s, and the Postgres session that holds the worker's advisory lock (gone
milliseconds after kill -9, kept through SIGSTOP). One alone counts only after the lease (60 s). After a store came
back, or the judge itself stalled or has just begun, the clocks start anew (10 s). Never: a worker's own word about
itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long silence may last, in seconds."""

    confirm: float = 0.8  # between the first look that misses a heartbeat and the verdict
    lease: float = 60.0  # with one witness silent
    grace: float = 10.0  # after an outage, a stall of the judge, or its start
    stall: float = 3.0  # between two looks while there are claims; longer means that the judge itself was stopped


@dataclass(kw_only=True, slots=True)
class _Silence:
    heard: float  # last heartbeat heard, or the first look
    session: float  # last time its session was seen, or the first look
    missed: float | None = None  # the first look since then that missed the heartbeat


@dataclass(kw_only=True, slots=True)
class Judge:
    """Remembers when each worker was last heard by each witness. One look per second while there are claims."""

    clock: Callable[[], float]  # monotonic seconds
    patience: Patience = field(default_factory=Patience)
    _silence: dict[str, _Silence] = field(default_factory=dict)
    _last_look: float | None = None
    _not_before: float = field(init=False)

    def __post_init__(self) -> None:
        # A store may have come back just before this judge was there to see it.
        self._not_before = self.clock() + self.patience.grace

    def outage(self) -> None:
        """A store can't be read, or has lost everything: nobody is judged until the grace after it is over."""
        self._not_before = self.clock() + self.patience.grace
        self.rest()

    def rest(self) -> None:
        """Nobody holds a claim: there is nothing to look at, and the next look is a first one."""
        self._silence.clear()
        self._last_look = None

    def suspects(self, claimed: Collection[str], heard: Collection[str]) -> list[str]:
        """Of the workers that hold claims, those without a heartbeat: their session has to be looked for."""
        now = self._look(claimed)
        for worker in claimed:
            silence = self._silence.setdefault(worker, _Silence(heard=now, session=now))
            if worker in heard:
                silence.heard, silence.missed = now, None
            elif silence.missed is None:
                silence.missed = now
        return sorted(worker for worker in claimed if worker not in heard)

    def dead(self, suspects: Collection[str], witnessed: Collection[str]) -> list[str]:
        """Of the suspects, those who are dead, given who still holds a session."""
        now = self.clock()
        if now < self._not_before:
            return []
        return sorted(worker for worker in suspects if self._verdict(worker, witnessed, now))

    def sessionless(self, claimed: Collection[str], witnessed: Collection[str]) -> list[str]:
        """Workers that beat, but have had no session for a whole lease."""
        now = self.clock()
        for worker in claimed:
            silence = self._silence.setdefault(worker, _Silence(heard=now, session=now))
            if worker in witnessed:
                silence.session = now
        overdue = [w for w in claimed if now - self._silence[w].session >= self.patience.lease]
        return sorted(overdue) if now >= self._not_before else []

    def _verdict(self, worker: str, witnessed: Collection[str], now: float) -> bool:
        silence = self._silence[worker]
        if worker in witnessed:
            return now - silence.heard >= self.patience.lease
        return silence.missed is not None and now - silence.missed >= self.patience.confirm

    def _look(self, claimed: Collection[str]) -> float:
        """Note the time of this look. A judge that was stopped has heard nobody: that proves nothing."""
        now = self.clock()
        if self._last_look is not None and now - self._last_look > self.patience.stall:
            self._not_before = now + self.patience.grace
            self._silence.clear()
        self._last_look = now
        for worker in set(self._silence) - set(claimed):
            del self._silence[worker]
        return now
