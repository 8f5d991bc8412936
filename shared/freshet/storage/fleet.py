"""Queues and workers, as operators look at them.

Purpose: what `GET /queues` and `GET /workers` answer. Guarantee: the backlog is counted where it stands, in Postgres.
Never: a judgement about who is dead.
"""

from __future__ import annotations

from typing import Any

from freshet.domain.errors import NotFoundError
from freshet.storage.database import Database, Row


class Fleet:
    """Reading queues and workers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def queues(self, *, after: str = "", limit: int = 100) -> list[dict[str, Any]]:
        """Queues by name, after a name.

        `depth` counts bundles that nobody has claimed and `items` what they hold; `oldest_s` is the age of the
        oldest; `delayed` bundles wait for their time, `waiting` ones for a job service. `note` says when a queue with
        work has no worker.
        """
        return [_queue(row) for row in self._database.rows("QueuesList", {"after": after, "limit": limit})]

    def workers(self, *, after: tuple[bool, str] = (False, ""), limit: int = 100) -> list[Row]:
        """Workers by id, those that are gone last; `after` is (gone, id)."""
        return self._database.rows("WorkersPage", {"after_offline": after[0], "after_id": after[1], "limit": limit})

    def worker_state(self, worker: str) -> str:
        """The state in the worker's row. Raises NotFoundError."""
        row = self._database.row("WorkerGet", {"id": worker})
        if row is None:
            raise NotFoundError(f"There is no worker {worker}.")
        return str(row["state"])


def _queue(row: Row) -> dict[str, Any]:
    unserved = bool(row["depth"] or row["delayed"]) and not row["workers"]
    note = f"Nobody serves queue {row['name']}: start a worker that does." if unserved else None
    return {**row, "served": bool(row["workers"]), "note": note}
