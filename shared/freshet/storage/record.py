"""Committed facts into the logging tables, once each.

Purpose: the recorder's verb. `record` takes outbox rows by id and writes what they say into `log.*`; `left` finds
those that nobody announced, or whose announcement was lost. Guarantees: the delete of the outbox row and the log's
rows are one transaction, so two recorders, a replay or a crash record a fact once; a row whose data Postgres refuses
is parked alone with its error, and everything else goes on. Never: a loop over items in Python; the database unfolds
and counts them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from freshet.storage.database import Database, DataError, Row


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """How often something happened with the same names, and how long it took, in one bucket of the histogram."""

    measure: str  # attempts | claims | returns | tasks | runs | starts
    workflow: str | None
    task: str | None
    kind: str | None
    state: str
    error_class: str | None
    queue: str | None
    bucket: int | None  # index among the bounds, one past the last for longer; None: nothing was timed
    count: int
    number: int  # items in them
    seconds: float | None  # sum
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """A run (task is None) or TaskRun that ended, as its span wants it."""

    run_id: UUID
    task: str | None
    index_path: str | None
    workflow: str | None
    kind: str | None
    state: str
    traceparent: str
    started_at: datetime  # UTC
    finished_at: datetime
    error: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """What one call recorded."""

    entries: int = 0  # outbox rows
    facts: int = 0
    items: int = 0
    parked: int = 0  # outbox rows that Postgres refused
    tallies: tuple[Tally, ...] = ()
    ended: tuple[Ended, ...] = ()

    def __add__(self, other: Recorded) -> Recorded:
        """Both together."""
        return Recorded(
            entries=self.entries + other.entries,
            facts=self.facts + other.facts,
            items=self.items + other.items,
            parked=self.parked + other.parked,
            tallies=self.tallies + other.tallies,
            ended=self.ended + other.ended,
        )


class Recording:
    """The outbox and the log."""

    def __init__(self, database: Database, *, bounds: Sequence[float] = (), spans: bool = False) -> None:
        """`bounds`: upper, inclusive bounds in seconds of the histogram that tallies fit; `spans`: answer `ended`."""
        self._database = database
        self._shape = {
            "bounds": [float(bound) for bound in bounds],
            # Postgres counts from the lower bound on, the histogram from the upper: both signs turned is the same.
            "mirrored": [-float(bound) for bound in reversed(bounds)],
            "spans": spans,
        }

    def record(self, ids: Sequence[int]) -> Recorded:
        """Record these outbox rows; those that are gone are recorded already.

        A data error halves the batch until the culprit stands alone; it is parked. Raises UnreachableError and
        StatementError, and then what was not committed stays in the outbox.
        """
        if not ids:
            return Recorded()
        try:
            row = self._database.row("OutboxRecord", {"ids": sorted(ids), **self._shape})
        except DataError as error:
            return self._halve(ids, error)
        return _recorded(row or {})

    def left(self, *, older_than_s: float, limit: int) -> list[int]:
        """Outbox rows at least that old which nobody is recording just now, the oldest first."""
        rows = self._database.rows("OutboxLeft", {"older_than_s": older_than_s, "limit": limit})
        return [row["id"] for row in rows]

    def sweep(self, *, older_than_s: float, limit: int = 500) -> Recorded:
        """Record what was never announced, or whose announcement was lost, up to `limit` outbox rows."""
        return self.record(self.left(older_than_s=older_than_s, limit=limit))

    def _halve(self, ids: Sequence[int], error: DataError) -> Recorded:
        if len(ids) == 1:
            return Recorded(parked=self._database.run("OutboxPark", {"id": ids[0], "error": error.message}))
        middle = len(ids) // 2
        return self.record(ids[:middle]) + self.record(ids[middle:])


def _recorded(row: Row) -> Recorded:
    return Recorded(
        entries=row["entries"],
        facts=row["facts"],
        items=row["items"],
        tallies=tuple(Tally(**tally) for tally in row["tallies"]),
        ended=tuple(_ended(span) for span in row["spans"]),
    )


def _ended(span: dict[str, Any]) -> Ended:
    # Inside jsonb a uuid and a time are text.
    return Ended(
        **{
            **span,
            "run_id": UUID(span["run_id"]),
            "started_at": datetime.fromisoformat(span["started_at"]),
            "finished_at": datetime.fromisoformat(span["finished_at"]),
        }
    )
