"""Publishing what waits: backlog to queues, and messages that were lost again.

Purpose: Redis holds a few bundles for each worker (see Pace), the rest stays in Postgres and is taken by priority, turn
of the run, and age. Guarantees: a compute pool with a limit has no more jobs under way than places; a bundle without a
message is published again; publishing twice is harmless. Never: a decision about a run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from freshet.bus import Bus, Message
from freshet.engine.pace import Pace
from freshet.runtime import fault
from freshet.storage.engine_store import EngineStore

#: Seconds after which a published bundle that nobody has claimed is looked for in its queue.
LOST_AFTER = 5.0
#: Messages looked at in one repair of one queue.
REPAIRED = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Refilled:
    """What a refill did."""

    published: int
    more: frozenset[str]  # queues in which more may wait: full ones, and those whose pools have no place


class Refill:
    """Keeps queues filled."""

    def __init__(self, store: EngineStore, bus: Bus, pace: Pace) -> None:
        self._store = store
        self._bus = bus
        self._pace = pace

    def refill(self, queues: Iterable[str]) -> Refilled:
        """Publish the next bundles of each queue, as many as there is room for."""
        published, more = 0, set()
        for queue in sorted(set(queues)):
            room = self._pace.room(queue, self._pace.depth(queue))
            count, wanted = self._publish(queue, room)
            published += count
            if wanted or count == room:
                more.add(queue)
        return Refilled(published=published, more=frozenset(more))

    def _publish(self, queue: str, room: int) -> tuple[int, bool]:
        published, wanted = self._take(queue, room) if room else ([], False)
        if published:
            fault.reach("refill.marked")
            self._pace.lengths(self._bus.publish([Message(queue=queue, bundle_id=key) for _, _, key in published]))
            for priority, turn, _ in published:
                self._pace.published(queue, turn, priority)
        return len(published), wanted

    def _take(self, queue: str, room: int) -> tuple[list[tuple[int, int, int]], bool]:
        """The next bundles, and whether some wait for a place in their pool."""
        if self._pace.pool_limits:
            return self._store.publish_limited(queue, room=room, limits=self._pace.pool_limits)
        return self._store.publish_backlog(queue, room=room), False

    def repair(self, queues: Iterable[str]) -> int:
        """Bundles whose message is in no queue although nobody claimed them join the backlog again; how many."""
        found = 0
        for queue in queues:
            waiting = self._store.published_before(queue, age=LOST_AFTER, limit=REPAIRED)
            if waiting:
                lost = set(waiting) - self._bus.queued(queue)
                found += self._store.unpublish(sorted(lost)) if lost else 0
        return found

    def after_flush(self) -> int:
        """Redis was emptied: every message is gone, so every unclaimed bundle joins the backlog; how many."""
        self._pace.forget_lengths()
        return self._store.unpublish_all()
