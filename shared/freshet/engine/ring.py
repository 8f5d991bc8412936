"""Whatever happens because of time, in one pass.

Purpose: retries that are due, claims past their deadline, dead workers, lost messages, work that another dispatcher
left lying. Guarantees: an idle installation costs one statement per pass; each thing done leaves a report or a
message, never a decision. Never: a life cycle; the fold decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from freshet.bus import Bus
from freshet.domain.errors import UnreachableError
from freshet.engine.pace import Pace
from freshet.engine.refill import Refill
from freshet.engine.witness import Judge
from freshet.runtime import fault, log
from freshet.storage.engine_rows import Overview
from freshet.storage.engine_store import EngineStore

#: Bundles that one pass serves of each sort.
LIMIT = 500
#: Seconds after which work in another dispatcher's partitions is done by anyone.
OVERDUE = 5.0
#: Seconds between two looks at the sessions of all workers that hold claims.
ROLL_CALL = 15.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """What a pass did and saw."""

    overview: Overview
    partitions: frozenset[int] = frozenset()  # whose inbox has got reports
    published: int = 0
    repaired: int = 0
    dead: tuple[str, ...] = ()
    doubted: bool = False  # a worker that holds a claim has neither heartbeat nor session: the next look decides


class Ring:
    """Serves what is due."""

    def __init__(
        self,
        *,
        store: EngineStore,
        bus: Bus,
        refill: Refill,
        pace: Pace,
        judge: Judge,
        clock: Callable[[], float],
    ) -> None:
        """`clock` is monotonic, in seconds; the judge's own."""
        self._clock = clock
        self._next_roll_call = 0.0
        self._doubted = False
        self._epoch: bytes | None = None  # of Redis, when this dispatcher last looked
        self._store = store
        self._bus = bus
        self._refill = refill
        self._pace = pace
        self._judge = judge
        self._log = log.logger()

    def ring(self, partitions: frozenset[int]) -> Rung:
        """One pass. Raises UnreachableError; the judge then waits before it judges again."""
        try:
            return self._ring(partitions)
        except UnreachableError:
            self._judge.outage()
            raise

    def _ring(self, partitions: frozenset[int]) -> Rung:
        repaired = self._after_flush()
        overview = self._store.overview(sorted(partitions))
        if overview.idle:
            self._judge.rest()
            return Rung(overview=overview, repaired=repaired)
        queues = set(overview.backlog)
        if overview.due_in is not None and overview.due_in <= 0:
            queues |= set(self._store.release_due(limit=LIMIT))
            fault.reach("ring.released")
        if overview.published:
            found = self._refill.repair(overview.published)
            queues |= set(overview.published) if found else set()
            repaired += found
        expired = self._expire(overview)
        dead, released = self._bury(overview)
        published = self._refill.refill(queues).published
        return Rung(
            overview=overview,
            partitions=frozenset(expired + released),
            published=published,
            repaired=repaired,
            dead=tuple(dead),
            doubted=self._doubted,
        )

    def _after_flush(self) -> int:
        fresh, before = self._bus.fresh(), self._epoch
        self._epoch = self._bus.epoch()
        if fresh or before not in {None, self._epoch}:
            # Every heartbeat is gone, which says nothing about their workers. One dispatcher finds Redis fresh and
            # publishes again; each has a judge of its own, and has to hear of it.
            self._judge.outage()
        if not fresh:
            return 0
        fault.reach("ring.flush_seen")
        repaired = self._refill.after_flush()
        self._log.info(
            "redis_was_empty", message="Redis was empty: unclaimed bundles are published again.", bundles=repaired
        )
        return repaired

    def _expire(self, overview: Overview) -> list[int]:
        if overview.expiry_in is None or overview.expiry_in > 0:
            return []
        expired = self._store.expire_bundles(limit=LIMIT)
        fault.reach("ring.expired")
        for _, worker, bundle in expired:
            if worker is not None:
                self._bus.request_stop(worker, bundle)
        return [partition for partition, _, _ in expired]

    def _bury(self, overview: Overview) -> tuple[list[str], list[int]]:
        self._doubted = False
        heartbeats = self._bus.heartbeats()
        self._pace.see(heartbeats.values())
        if not overview.claimed:
            self._judge.rest()
            return [], []
        claimed = self._store.claimed_workers()
        dead = self._dead(claimed, self._judge.suspects(claimed, heartbeats))
        if not dead:
            return [], []
        self._log.warning("workers_lost", message=f"Lost: {', '.join(dead)}. Their work is queued again.", workers=dead)
        released = self._store.release_workers(dead)
        fault.reach("ring.buried")
        return dead, released

    def _dead(self, claimed: list[str], suspects: list[str]) -> list[str]:
        now = self._clock()
        roll_call = now >= self._next_roll_call
        if not suspects and not roll_call:
            return []
        witnessed = self._store.witnessed(claimed)
        dead = set(self._judge.dead(suspects, witnessed))
        self._doubted = bool(set(suspects) - set(witnessed) - dead)
        if roll_call:
            self._next_roll_call = now + ROLL_CALL
            dead |= set(self._judge.sessionless(claimed, witnessed))
        return sorted(dead)
