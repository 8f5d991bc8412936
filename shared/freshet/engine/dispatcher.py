"""A dispatcher: woken, it folds its partitions; by the clock, it rings.

Purpose: the one step that the service's loop repeats. Guarantees: several copies at once are safe, since partitions
are a preference and row locks the guard; work overdue by 5 s is done by anyone; idle, it asks Postgres once in 5 s.
Never: a sleep; it blocks on its wake-ups, and only until the next thing is due.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from freshet.bus import Bus
from freshet.domain.errors import UnreachableError
from freshet.engine.fold import Folded, Folder
from freshet.engine.refill import Refill
from freshet.engine.ring import OVERDUE, Ring, Rung
from freshet.runtime import log
from freshet.storage.engine_store import PartitionLocks

PARTITIONS = tuple(range(16))
#: Seconds between two rings while something runs, and while nothing does.
BUSY_RING = 1.0
IDLE_RING = 5.0
#: The same while workers hold claims, and while one of them is in doubt: a death is seen at the first look after its
#: heartbeat has gone (3 s) and judged at the second, and both have to fit into 5 s on a machine that is busy.
CLAIM_RING = 0.5
DOUBT_RING = 0.4
#: Seconds between two looks at who else dispatches.
SHARE_EVERY = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What one step did."""

    folded: Folded | None = None
    rang: bool = False


class Dispatcher:
    """One copy."""

    def __init__(
        self,
        *,
        name: str,
        bus: Bus,
        folder: Folder,
        refill: Refill,
        ring: Ring,
        locks: PartitionLocks,
        clock: Callable[[], float],
    ) -> None:
        """`name` is unique among dispatchers; `clock` is monotonic, in seconds."""
        self._name = name
        self._bus = bus
        self._folder = folder
        self._refill = refill
        self._ring = ring
        self._locks = locks
        self._clock = clock
        self._next_ring = 0.0
        self._next_share = 0.0
        self._pending = True  # the inbox may hold something: at start, nobody has looked
        self._backlog: frozenset[str] = frozenset()

    def step(self) -> Step:
        """Wait for a wake-up or the next due moment, then do what there is to do. Raises UnreachableError."""
        self._share()
        if not self._pending:
            self._await()
        folded = self._fold() if self._pending else None
        rang = self._clock() >= self._next_ring
        if rang:
            self._ring_now()
        return Step(folded=folded, rang=rang)

    def close(self) -> None:
        """Give the partitions up."""
        try:
            self._bus.leave("dispatcher", self._name)
        except UnreachableError as error:
            log.logger().info("goodbye_lost", message=error.message)  # it is forgotten a moment later anyway
        self._locks.close()

    def _await(self) -> None:
        seconds = min(self._next_ring, self._next_share) - self._clock()
        if seconds <= 0:
            return
        names = [f"dispatcher:{partition}" for partition in sorted(self._locks.held)]
        self._pending = self._bus.await_wake(names or ["dispatcher:standby"], seconds=seconds) is not None

    def _fold(self) -> Folded:
        folded = self._folder.fold(sorted(self._locks.held))
        self._pending = folded.again
        self._backlog |= folded.backlog
        if self._backlog:
            self._backlog = self._refill.refill(self._backlog).more
        if folded.runs:
            self._next_ring = min(self._next_ring, self._clock() + BUSY_RING)
        return folded

    def _ring_now(self) -> None:
        held = self._locks.held
        rung = self._ring.ring(held)
        seen = rung.overview
        self._backlog |= frozenset(seen.backlog)
        self._pending = self._pending or bool(rung.partitions & held) or seen.own_age is not None
        if rung.partitions - held:
            self._bus.wake_dispatcher(rung.partitions - held)
        if seen.age is not None and seen.age > OVERDUE:
            self._folder.fold(PARTITIONS)
        self._next_ring = self._clock() + self._until_next(longest_rest(rung), seen.due_in, seen.expiry_in)

    def _until_next(self, longest: float, *moments: float | None) -> float:
        return max(0.01, min([longest, *(moment for moment in moments if moment is not None and moment > 0)]))

    def _share(self) -> None:
        """Take a fair share of the partitions: all of them when alone."""
        if self._clock() < self._next_share:
            return
        self._locks.check()
        others = self._bus.join("dispatcher", self._name, expires_s=3 * SHARE_EVERY)
        fair = -(-len(PARTITIONS) // max(1, len(others)))
        held = self._locks.held
        if len(held) > fair:
            self._locks.release(sorted(held)[fair:])
        elif len(held) < fair:
            self._locks.take(PARTITIONS, wanted=fair - len(held))
            self._pending = self._pending or self._locks.held != held
        self._next_share = self._clock() + SHARE_EVERY


def longest_rest(rung: Rung) -> float:
    """Seconds to the next ring if nothing is due before."""
    if rung.doubted:
        return DOUBT_RING
    if rung.overview.claimed:
        return CLAIM_RING
    return IDLE_RING if rung.overview.idle else BUSY_RING
