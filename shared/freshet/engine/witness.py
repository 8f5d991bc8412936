"""Who is dead: two witnesses, and no verdict while either can't be heard.

Purpose: a dead worker's work is claimable again within 5 seconds, and no live worker is declared dead. The witnesses
are the heartbeat in Redis (gone within 3 s) and the Postgres session that holds the worker's advisory lock (gone
milliseconds after kill -9, kept through SIGSTOP). One alone counts only after the lease (60 s). After a store came
back, or the judge itself stalled, the clocks start anew (10 s). Never: a worker's own word about itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long silence may last, in seconds."""

    dead_after: float = 3.0  # without a heartbeat, when the session is gone too
    lease: float = 60.0  # with one witness silent
    grace: float = 10.0  # after an outage, or a stall of the judge
    stall: float = 2.0  # between two looks; longer means that the judge itself was stopped


@dataclass(kw_only=True, slots=True)
class _Silence:
    heartbeat: float  # when it was last heard
    session: float


@dataclass(kw_only=True, slots=True)
class Judge:
    """Remembers when each worker was last heard by each witness. One look per second."""

    patience: Patience = field(default_factory=Patience)
    clock: Callable[[], float]  # monotonic seconds
    _silence: dict[str, _Silence] = field(default_factory=dict)
    _last_look: float | None = None
    _not_before: float = 0.0

    def outage(self) -> None:
        """A store can't be read: nobody is judged until the grace after it is over."""
        self._not_before = self.clock() + self.patience.grace
        self._last_look = None

    def suspects(self, claimed: Collection[str], heard: Collection[str]) -> list[str]:
        """Of the workers that hold claims, those whose session has to be looked for."""
        now = self._look(claimed)
        for worker in claimed:
            silence = self._silence.setdefault(worker, _Silence(heartbeat=now, session=now))
            if worker in heard:
                silence.heartbeat = now
        return sorted(w for w in claimed if now - self._silence[w].heartbeat >= self.patience.dead_after)

    def dead(self, suspects: Collection[str], witnessed: Collection[str]) -> list[str]:
        """Of the suspects, those who are dead, given who still holds a session."""
        now = self.clock()
        for worker in suspects:
            if worker in witnessed:
                self._silence[worker].session = now
        if now < self._not_before:
            return []
        return sorted(worker for worker in suspects if self._verdict(worker, witnessed, now))

    def sessionless(self, claimed: Collection[str], witnessed: Collection[str]) -> list[str]:
        """Workers that beat but have had no session for a whole lease."""
        now = self.clock()
        for worker in claimed:
            silence = self._silence.setdefault(worker, _Silence(heartbeat=now, session=now))
            if worker in witnessed:
                silence.session = now
        overdue = [w for w in claimed if now - self._silence[w].session >= self.patience.lease]
        return sorted(overdue) if now >= self._not_before else []

    def _verdict(self, worker: str, witnessed: Collection[str], now: float) -> bool:
        silent = now - self._silence[worker].heartbeat
        return silent >= (self.patience.lease if worker in witnessed else self.patience.dead_after)

    def _look(self, claimed: Collection[str]) -> float:
        """Note the time of this look. A judge that was stopped has heard nobody: that proves nothing."""
        now = self.clock()
        if self._last_look is not None and now - self._last_look > self.patience.stall + 1.0:
            self._not_before = now + self.patience.grace
            self._silence.clear()
        self._last_look = now
        self._forget(claimed)
        return now

    def _forget(self, claimed: Collection[str]) -> None:
        self._silence = {worker: silence for worker, silence in self._silence.items() if worker in claimed}
