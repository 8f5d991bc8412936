"""The stream of facts, read once per process and handed to every subscriber.

Guarantees: one thread and one Redis connection however many clients, and none without clients; a subscriber that is
too slow is cut off rather than kept in memory; a break in the stream is told as a gap. Never: the truth; that is
Postgres, and a gap means to look there.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from freshet.bus import Bus
from freshet.domain.errors import UnreachableError

#: Entries that wait for one subscriber at most.
BACKLOG = 2_000
_STREAM_ID = re.compile(r"([0-9]{1,19})(?:-([0-9]{1,19}))?")
RETRY = 1.0  # seconds until Redis is asked again after it could not be reached


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A stream entry: its id and a JSON array of facts. Without an id it stands for a gap."""

    id: str = ""
    body: bytes = b"[]"


GAP = Entry()


@dataclass(kw_only=True, eq=False)
class Subscription:
    """One client's end. `after` is where the live entries begin."""

    after: str
    loop: asyncio.AbstractEventLoop
    queue: asyncio.Queue[Entry | None] = field(default_factory=asyncio.Queue)

    def put(self, entry: Entry | None) -> None:
        """Hand over an entry, or None for the end; called by the feed's thread."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._put, entry)

    def _put(self, entry: Entry | None) -> None:
        if self.queue.qsize() < BACKLOG:
            self.queue.put_nowait(entry)
        elif self.queue.qsize() == BACKLOG:
            self.queue.put_nowait(None)  # cut off: it comes back with its Last-Event-ID


class LiveFeed:
    """The feed of one process."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        # Reentrant: a signal's handler closes the feed from the thread that may be holding it.
        self._lock = threading.RLock()
        self._subscriptions: set[Subscription] = set()
        self._after = ""
        self._thread: threading.Thread | None = None
        self._closed = False

    @contextmanager
    def subscribe(self, loop: asyncio.AbstractEventLoop) -> Iterator[Subscription]:
        """Entries from now on. May block for one round trip. Raises UnreachableError."""
        newest = self._bus.last_entry()
        with self._lock:
            if self._thread is None:
                self._after = newest
                self._thread = threading.Thread(target=self._run, name="live feed", daemon=True)
                self._thread.start()
            subscription = Subscription(after=self._after, loop=loop)
            self._subscriptions.add(subscription)
            if self._closed:
                subscription.put(None)
        try:
            yield subscription
        finally:
            with self._lock:
                self._subscriptions.discard(subscription)

    def history(self, after: str, *, until: str) -> Iterator[Entry]:
        """What the stream still holds after an id and up to another. Raises UnreachableError."""
        while stream_key(after) < stream_key(until):
            entries = self._bus.tail(after, seconds=0.0)
            if not entries:
                return
            for stream_id, body in entries:
                if stream_key(stream_id) > stream_key(until):
                    return
                yield Entry(id=stream_id, body=body)
            after = entries[-1][0]

    def close(self) -> None:
        """End every subscription, and with them the thread."""
        with self._lock:
            self._closed = True
            for subscription in self._subscriptions:
                subscription.put(None)

    def _run(self) -> None:
        while self._is_wanted():
            try:
                entries = [Entry(id=stream_id, body=body) for stream_id, body in self._bus.tail(self._after)]
            except UnreachableError:
                entries = [GAP]
                threading.Event().wait(RETRY)
            self._hand_out(entries)

    def _is_wanted(self) -> bool:
        with self._lock:
            if self._subscriptions and not self._closed:
                return True
            self._thread = None
            return False

    def _hand_out(self, entries: list[Entry]) -> None:
        with self._lock:
            for entry in entries:
                self._after = entry.id or self._after
                for subscription in self._subscriptions:
                    subscription.put(entry)


def stream_key(stream_id: str) -> tuple[int, int]:
    """The order of stream ids: milliseconds, then a sequence. Raises ValueError for what is none."""
    found = _STREAM_ID.fullmatch(stream_id)
    if found is None:
        raise ValueError(stream_id)
    return int(found[1]), int(found[2] or 0)
