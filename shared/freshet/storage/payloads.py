"""Payloads of job services, for the containers that fetch them.

Guarantee: read by a key of 122 random bits, which only the job's own environment holds. Never: a list of them.
"""

from __future__ import annotations

from uuid import UUID

from freshet.storage.database import Database


class Payloads:
    """Reading what `WorkerStore.store_payload` has kept."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, key: UUID) -> bytes | None:
        """The payload, JSON; None for an unknown key, or once its attempt is over."""
        row = self._database.row("JobPayloadRead", {"key": key})
        return bytes(row["body"]) if row else None
