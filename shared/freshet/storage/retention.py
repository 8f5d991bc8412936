"""Days of the log made ahead, old days dropped, old runs and payloads forgotten.

Purpose: the statements of retention; when and how far is `freshet.recording.retention`. Guarantees: each verb is one
short transaction; what was done stays done. Never: a run that a younger rerun of its group still needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from uuid import UUID

from freshet.storage.database import Database
from freshet.storage.statements import statement

#: Advisory lock of whoever is at it. Any constant will do, as long as every recorder takes the same one.
LOCK = 7_235_421_907_002


class Retention:
    """The log's partitions and the engine's ended runs, by age."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether this is the only one at it, for as long as the block lasts."""
        with self._database.dedicated() as session:
            row = session.execute(statement("RetentionTry"), {"key": LOCK}).fetchone()
            # Ending the session gives the lock back, in whatever way the block ends.
            yield bool(row and row["held"])

    def missing(self, *, ahead: int) -> list[tuple[str, date]]:
        """Tables and days, from today on, that have no partition."""
        rows = self._database.rows("PartitionsMissing", {"ahead": ahead})
        return [(row["parent"], row["day"]) for row in rows]

    def make(self, parent: str, day: date) -> bool:
        """Make one partition; what the DEFAULT partition holds of that day moves into it.

        False when it is there already. Raises UnreachableError when readers kept it for two seconds.
        """
        row = self._database.row("PartitionMake", {"parent": parent, "day": day})
        return bool(row and row["made"])

    def old(self, *, days: int) -> list[str]:
        """Partitions of days more than `days` back."""
        return [row["partition"] for row in self._database.rows("PartitionsOld", {"days": days})]

    def drop(self, partition: str) -> bool:
        """Drop one. Raises UnreachableError when readers kept it for two seconds."""
        return self._database.row("PartitionDrop", {"partition": partition}) is not None

    def prune_defaults(self, *, days: int, limit: int) -> int:
        """Delete what is as old from the DEFAULT partitions, up to `limit` rows of each; how many went."""
        return self._count("DefaultPartitionsPrune", {"days": days, "limit": limit})

    def runs(self, *, days: int, limit: int) -> list[UUID]:
        """Runs that ended longer ago, with all of their group, the oldest first."""
        return [row["id"] for row in self._database.rows("RunsOld", {"days": days, "limit": limit})]

    def prune_run(self, run: UUID, *, limit: int) -> int:
        """Delete up to `limit` rows of a run, itself last; 0 when nothing is left of it."""
        return self._count("RunPrune", {"run": run, "limit": limit})

    def prune_payloads(self, *, limit: int) -> int:
        """Delete up to `limit` payloads of job services whose attempt is over; how many went."""
        return self._count("JobPayloadsPrune", {"limit": limit})

    def _count(self, name: str, parameters: dict[str, object]) -> int:
        row = self._database.row(name, parameters)
        return int(row["pruned"]) if row else 0
