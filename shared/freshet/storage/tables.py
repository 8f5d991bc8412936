"""The logging tables that users of the original utility expect: `jobs_run_stats` and `task_logging_stats`.

Purpose: pages of the two views, newest first. Guarantee: no row is left out between two pages while none is added.
Never: a write.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

from freshet.domain.errors import NotFoundError
from freshet.storage.database import Database, Row

#: The statement of each table, and the column that orders it.
TABLES = {
    "jobs_run_stats": ("JobsRunStatsPage", "created_date"),
    "task_logging_stats": ("TaskLoggingStatsPage", "completed_time"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class TablePlace:
    """Where a page ended: a moment as the table writes it, and how many rows of that moment were shown."""

    at: str
    skip: int


class Tables:
    """Reading the logging tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(
        self, table: str, *, run_id: uuid.UUID | None = None, after: TablePlace | None = None, limit: int = 100
    ) -> tuple[list[Row], TablePlace | None]:
        """Rows of a table, of one run's group if named, and where the next page begins.

        Raises NotFoundError for an unknown table or run.
        """
        if table not in TABLES:
            raise NotFoundError(f"There is no table {table}; there are {', '.join(TABLES)}.")
        name, column = TABLES[table]
        parameters = {
            "at": after.at if after else None,
            "skip": after.skip if after else 0,
            "run": None if run_id is None else self._group(run_id),
            "limit": limit,
        }
        rows = self._database.rows(name, parameters)
        return rows, _next(rows, column, after) if len(rows) == limit else None

    def _group(self, run_id: uuid.UUID) -> str:
        row = self._database.row("RunGroup", {"run": run_id})
        if row is None:
            raise NotFoundError(f"There is no run {run_id}.")
        return str(row["group_id"])


def _next(rows: list[Row], column: str, after: TablePlace | None) -> TablePlace:
    last = rows[-1][column]
    at = last.isoformat() if isinstance(last, datetime) else str(last)
    same = sum(row[column] == last for row in rows)
    earlier = after.skip if after is not None and after.at == at else 0
    return TablePlace(at=at, skip=same + earlier)
