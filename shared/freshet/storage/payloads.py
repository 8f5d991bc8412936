"""Payloads of job services, for the containers that fetch them.

Guarantees: read by a key of 122 random bits, in parts, and only while the attempt goes on. Never: a list of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from freshet.storage.database import Database

#: Bytes that one statement reads.
PART = 256 * 1024


class Payloads:
    """Reading what `WorkerStore.store_payload` has kept."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def size(self, key: UUID) -> int | None:
        """Bytes of the payload; None for an unknown key, or once its attempt is over. Raises UnreachableError."""
        row = self._database.row("JobPayloadSize", {"key": key})
        return int(row["size"]) if row else None

    def parts(self, key: UUID, size: int) -> Iterator[bytes]:
        """The payload, JSON; less than `size` bytes if its attempt ends meanwhile. Raises UnreachableError."""
        for at in range(0, size, PART):
            row = self._database.row("JobPayloadPart", {"key": key, "at": at, "size": PART})
            if row is None:
                return
            yield bytes(row["part"])
