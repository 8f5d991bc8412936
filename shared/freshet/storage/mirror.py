"""Finished runs and their rows of the two logging tables, for the mirror into Snowflake.

Purpose: which runs are not mirrored, their rows, and the mark that they are. Guarantees: a run is named only when all
of it is recorded, so its rows are the same each time they are read; what is marked is not named again. Never: a row's
place in Snowflake; that is `freshet.snowflake.mirror`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from uuid import UUID

from freshet.storage.database import Database, Row
from freshet.storage.statements import statement

#: The statement of each table.
TABLES = {"jobs_run_stats": "MirrorJobRows", "task_logging_stats": "MirrorTaskRows"}
#: Rows that one trip to Postgres brings.
PORTION = 500


class Mirroring:
    """What the mirror reads and marks. Raises what Database raises."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def pending(self, *, limit: int) -> list[UUID]:
        """Recorded runs that are not mirrored, the first ended first."""
        return [row["run_id"] for row in self._database.rows("MirrorPending", {"limit": limit})]

    def rows(self, table: str, run: UUID) -> Iterator[Row]:
        """A run's rows of a table, in an order that is the same each time; not all of them in memory."""
        with self._database.transaction() as session, session.cursor(name="mirror") as cursor:
            cursor.itersize = PORTION
            cursor.execute(statement(TABLES[table]), {"run": run})
            yield from cursor

    def mark(self, runs: Sequence[UUID]) -> None:
        """These are mirrored."""
        self._database.run("MirrorMark", {"runs": list(runs)})

    def advance(self) -> None:
        """Forget marks that nobody needs: of runs before which all are mirrored."""
        self._database.run("MirrorAdvance")
