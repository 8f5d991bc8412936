"""The dispatcher's verbs over dictionaries, and the locks on partitions.

Guarantees: of each verb what its statement in sql/engine.sql does. A batch locks its runs, lets others run once
(`batch.locked`: they skip these runs, and may bring new reports), and is then one step until its end; an exception
takes back all that it wrote. Whoever only updates a run is not kept out by such a lock: what it does then is what it
would have done had it come just before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import orjson

from freshet.domain.errors import UnreachableError
from freshet.storage.engine_rows import Overview
from freshet.storage.engine_store import EngineBatch, EngineStore, PartitionLocks
from freshet.testing.twins import ending
from freshet.testing.twins.engine_batch import EngineBatchTwin
from freshet.testing.twins.parking import park_run
from freshet.testing.twins.passage import Passage, open_passage, verb
from freshet.testing.twins.rows import Report, Request
from freshet.testing.twins.tables import Tables


class EngineStoreTwin(EngineStore):
    """What a dispatcher does to the tables."""

    def __init__(self, tables: Tables, passage: Passage = open_passage, *, owner: str = "dispatcher") -> None:
        """`owner` is the process: `Tables.end_session` of it frees the locks of its open batch."""
        self._tables = tables
        self._passage = passage
        self._owner = owner

    @contextmanager
    def batch(self) -> Iterator[EngineBatch]:
        """One transaction of a fold."""
        self._passage.enter("batch")
        batch = EngineBatchTwin(self._tables, self._passage, self._tables.open_session(self._owner))
        try:
            yield batch
        except BaseException:
            batch.roll_back()
            raise
        batch.commit()
        self._passage.leave("batch")

    @verb
    def runs_in_inbox(self, partitions: Sequence[int], *, limit: int) -> list[str]:
        """Runs that wait in the inbox, oldest first."""
        ours, oldest = frozenset(partitions), dict[str, int]()
        waiting: list[Report | Request] = [*self._tables.reports.values(), *self._tables.requests.values()]
        for row in waiting:
            if row.partition in ours:
                oldest[row.run_id] = min(row.id, oldest.get(row.run_id, row.id))
        return sorted(oldest, key=oldest.__getitem__)[:limit]

    @verb
    def park(self, run: str, error: str, fact: Mapping[str, Any]) -> list[tuple[int, bytes]]:
        """End a run that can't be decided as failed."""
        with self._tables.transaction():
            told = park_run(self._tables, run, error)
            if told is None:
                return []
            body = [{**fact, **told, "run_id": run, "at": told["finished_at"]}]
            return [self._tables.announce(run, orjson.dumps(body))]

    @verb
    def overview(self, partitions: Sequence[int]) -> Overview:
        """What waits, and until when."""
        tables, ours, now = self._tables, frozenset(partitions), self._tables.clock()
        bundles = tables.bundles.values()
        oldest = [rows[min(rows)].created_at for rows in (tables.reports, tables.requests) if rows]
        own = (row.created_at for row in tables.reports.values() if row.partition in ours)
        due = min((row.due_at for row in bundles if row.due_at), default=None)
        expiry = min((row.expires_at for row in bundles if row.expires_at), default=None)
        own_oldest = next(own, None)
        return Overview(
            due_in=None if due is None else (due - now).total_seconds(),
            expiry_in=None if expiry is None else (expiry - now).total_seconds(),
            claimed=any(row.worker is not None for row in bundles),
            own_age=None if own_oldest is None else (now - own_oldest).total_seconds(),
            age=(now - min(oldest)).total_seconds() if oldest else None,
            backlog=sorted({row.queue for row in bundles if row.waits}),
            published=sorted({row.queue for row in bundles if row.published_at and row.unheld}),
        )

    @verb
    def release_due(self, *, limit: int) -> list[str]:
        """Bundles whose delay is over join the backlog."""
        now, bundles = self._tables.clock(), self._tables.bundles
        due = sorted((row.due_at, row.id) for row in bundles.values() if row.due_at and row.due_at <= now)[:limit]
        for _, key in due:
            bundles[key] = bundles[key]._replace(due_at=None)
        return [bundles[key].queue for _, key in due]

    @verb
    def publish_backlog(self, queue: str, *, room: int) -> list[tuple[int, int, int]]:
        """Mark the next bundles of a queue as published, by priority, turn of the run, and age."""
        now, bundles = self._tables.clock(), self._tables.bundles
        waiting = (row for row in bundles.values() if row.queue == queue and row.waits)
        chosen = sorted((row.priority, row.turn, row.id) for row in waiting)[:room]
        for _, _, key in chosen:
            bundles[key] = bundles[key]._replace(published_at=now)
        return chosen

    @verb
    def publish_limited(
        self, queue: str, *, room: int, limits: Mapping[str, int]
    ) -> tuple[list[tuple[int, int, int]], bool]:
        """As `publish_backlog`, with no more bundles of a pool than it has places."""
        now, bundles = self._tables.clock(), self._tables.bundles
        places = dict(limits)
        for row in bundles.values():
            if row.limit_key in places and (row.published_at or not row.unheld):
                places[row.limit_key] -= 1
        chosen: list[tuple[int, int, int]] = []
        waiting = [row for row in bundles.values() if row.queue == queue and row.waits]
        for row in sorted(waiting, key=lambda row: (row.priority, row.turn, row.id)):
            if len(chosen) < room and places.get(row.limit_key or "", 1) > 0:
                bundles[row.id] = row._replace(published_at=now)
                chosen.append((row.priority, row.turn, row.id))
                if row.limit_key in places:
                    places[row.limit_key] -= 1
        left = [row for row in bundles.values() if row.queue == queue and row.waits]
        return sorted(chosen), any(row.limit_key in limits for row in left)

    @verb
    def unpublish_all(self) -> int:
        """After a flush: every bundle that nobody holds joins the backlog again."""
        return self._unpublish(list(self._tables.bundles))

    @verb
    def published_before(self, queue: str, *, age: float, limit: int) -> list[int]:
        """Bundles published more than `age` seconds ago that nobody has claimed."""
        before = self._tables.clock() - timedelta(seconds=age)
        rows = (row for row in self._tables.bundles.values() if row.queue == queue and row.unheld)
        return sorted(row.id for row in rows if row.published_at and row.published_at < before)[:limit]

    @verb
    def unpublish(self, bundles: Sequence[int]) -> int:
        """Bundles whose message is lost join the backlog again."""
        return self._unpublish(bundles)

    @verb
    def expire_bundles(self, *, limit: int) -> list[tuple[int, str | None, int]]:
        """End claims that are past their deadline."""
        return ending.expire(self._tables, limit)

    @verb
    def claimed_workers(self) -> list[str]:
        """Workers that hold bundles now."""
        return sorted({row.worker for row in self._tables.bundles.values() if row.worker is not None})

    @verb
    def witnessed(self, workers: Sequence[str]) -> set[str]:
        """Of these workers, those whose session still holds their advisory lock."""
        rows = (self._tables.workers.get(worker) for worker in workers)
        return {row.id for row in rows if row is not None and ("key", row.lock_key) in self._tables.locks}

    @verb
    def release_workers(self, workers: Sequence[str]) -> list[int]:
        """Take back what dead workers hold."""
        return ending.release_workers(self._tables, workers)

    def _unpublish(self, keys: Sequence[int]) -> int:
        bundles = self._tables.bundles
        rows = [bundles[key] for key in set(keys) if key in bundles]
        lost = [row for row in rows if row.published_at is not None and row.unheld]
        for row in lost:
            bundles[row.id] = row._replace(published_at=None)
        return len(lost)


class PartitionLocksTwin(PartitionLocks):
    """Session locks on partitions."""

    def __init__(self, tables: Tables, passage: Passage = open_passage, *, owner: str = "dispatcher") -> None:
        self._tables = tables
        self._passage = passage
        self._owner = owner
        self._open: int | None = None
        self.held: frozenset[int] = frozenset()

    def take(self, partitions: Sequence[int], *, wanted: int) -> frozenset[int]:
        """Try to lock as many of these partitions as are wanted."""
        if self._open not in self._tables.sessions:
            self._open, self.held = self._tables.open_session(self._owner), frozenset()
        free = sorted(set(partitions) - self.held)
        if free:
            self.held |= self._exchange("locks.take", free, wanted)
        return self.held

    def release(self, partitions: Sequence[int]) -> None:
        """Give partitions up to another dispatcher."""
        ours = sorted(set(partitions) & self.held)
        if self._open is not None and ours:
            self._exchange("locks.release", ours, 0)
        self.held -= set(partitions)

    def close(self) -> None:
        """Give all up."""
        session, self._open, self.held = self._open, None, frozenset()
        if session is not None:
            self._tables.close_session(session)

    def check(self) -> None:
        """Notice that the session is gone."""
        if self._open is not None and self._open not in self._tables.sessions:
            self.close()

    def _exchange(self, name: str, partitions: Sequence[int], wanted: int) -> frozenset[int]:
        """One statement of the session; the session does not survive a server that can't be reached."""
        try:
            self._passage.enter(name)
            taken = self._lock(partitions, wanted) if wanted else self._unlock(partitions)
            self._passage.leave(name)
        except UnreachableError:
            if self._open is not None:
                self._tables.close_session(self._open)
            raise
        return taken

    def _lock(self, partitions: Sequence[int], wanted: int) -> frozenset[int]:
        session, taken = self._session_alive(), list[int]()
        for partition in partitions:
            if len(taken) < wanted and self._tables.try_lock(session, ("partition", partition)):
                taken.append(partition)
        return frozenset(taken)

    def _unlock(self, partitions: Sequence[int]) -> frozenset[int]:
        session = self._session_alive()
        for partition in partitions:
            if self._tables.locks.get(("partition", partition)) == session:
                del self._tables.locks["partition", partition]
        return frozenset()

    def _session_alive(self) -> int:
        if self._open is None or self._open not in self._tables.sessions:
            raise UnreachableError("Postgres can't be reached: the server has ended this session.")
        return self._open
