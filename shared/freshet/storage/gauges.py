"""Levels that metrics show: how many runs are active, how much is queued.

Purpose: two counts, read when somebody looks. Guarantees: the cost follows what is active, never the history. Never:
called on a hot path.
"""

from __future__ import annotations

from freshet.storage.database import Database


class Gauges:
    """The engine's tables as levels."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def runs(self) -> dict[tuple[str, str], int]:
        """Runs that have not ended, by (workflow, state)."""
        return {(row["workflow"], row["state"]): row["runs"] for row in self._database.rows("RunsActive")}

    def queues(self) -> dict[str, int]:
        """Items that are queued and claimed by nobody, by queue; a queue without any is missing."""
        return {row["queue"]: row["items"] for row in self._database.rows("QueuesActive")}
