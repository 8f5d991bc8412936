"""The recorder's pass: announced facts into the log, and a look for those that nobody announced.

Purpose: `record_batch` is one round: read ids from the stream, record, acknowledge. Guarantees: an entry is
acknowledged after its commit, never before; what the stream lost (a flush, a trim, a crash between commit and
announcement) is found in Postgres within `SWEEP_SILENT` seconds of silence and `SWEEP_BUSY` else; while Redis is away
recording goes on from Postgres. Never: a fact's body from Redis; the outbox row is the fact.
"""

from __future__ import annotations

from typing import Protocol

from freshet.bus import Fact
from freshet.domain.errors import UnreachableError
from freshet.recording.measures import Measures
from freshet.runtime import fault
from freshet.runtime.clock import Clock, SystemClock
from freshet.storage.record import Recorded, Recording

#: Stream entries per batch. At a hundred items each this is one statement of about 0.2 s.
BATCH = 200
#: Outbox rows per sweep; a full sweep is followed by the next at once.
SWEPT = 500
#: Seconds between two looks into Postgres while nothing is announced, and while much is.
SWEEP_SILENT = 5.0
SWEEP_BUSY = 30.0
#: Seconds that a row is left to whoever announces it. The first look takes everything.
ANNOUNCED_WITHIN = 2.0


class Reader(Protocol):
    """The stream of announcements (freshet.bus.FactReader)."""

    def read(self, *, seconds: float = ..., count: int = ...) -> list[Fact]:
        """New entries, blocking up to `seconds`."""
        ...

    def take_over(self, *, count: int = ...) -> list[Fact]:
        """Entries that a dead recorder has read and not acknowledged."""
        ...

    def acknowledge(self, facts: list[Fact]) -> None:
        """The entries need not come again."""
        ...


class Recorder:
    """One recorder; several share the work through the reader's group and the outbox's delete."""

    def __init__(self, *, reader: Reader, store: Recording, measures: Measures, clock: Clock | None = None) -> None:
        """Nothing connects before the first pass."""
        self._reader = reader
        self._store = store
        self._measures = measures
        self._clock = clock or SystemClock()
        self._swept_at: float | None = None

    def record_batch(self, *, seconds: float = 2.0) -> Recorded:
        """Record what is announced, waiting up to `seconds` for it; sweep when that is due.

        Raises UnreachableError when Redis or Postgres can't be reached; a sweep is made first if only Redis is away.
        """
        try:
            facts = [] if self._swept_at is None else self._reader.read(seconds=seconds, count=BATCH)
        except UnreachableError:
            self._sweep_if_due(SWEEP_SILENT)
            raise
        recorded = self._record(facts)
        return recorded + self._sweep_if_due(SWEEP_BUSY if facts else SWEEP_SILENT)

    def _record(self, facts: list[Fact]) -> Recorded:
        fault.reach("record.read")
        recorded = self._store.record([fact.outbox_id for fact in facts])
        fault.reach("record.committed")
        self._measures.tell(recorded)
        self._reader.acknowledge(facts)
        return recorded

    def _sweep_if_due(self, every: float) -> Recorded:
        now = self._clock.monotonic()
        first = self._swept_at is None
        if self._swept_at is not None and now - self._swept_at < every:
            return Recorded()
        recorded = self._store.sweep(older_than_s=0.0 if first else ANNOUNCED_WITHIN, limit=SWEPT)
        self._measures.tell(recorded)
        # A full sweep has left some behind: the next pass goes on with it instead of waiting for news.
        if recorded.entries + recorded.parked < SWEPT:
            self._swept_at = now
            recorded += self._record(self._reader.take_over(count=BATCH))
        return recorded
