"""Payloads of job services, for the containers that fetch them.

Guarantees: read by a key of 122 random bits, in parts, and only while the attempt goes on. Never: a list of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from freshet.storage.database import Database, Row

#: Bytes that one statement reads.
PART = 256 * 1024


class Payloads:
    """Reading what `WorkerStore.store_payload` has kept."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, key: UUID) -> tuple[int, Iterator[bytes]] | None:
        """The payload, JSON: its bytes, and its parts as they are asked for, fewer if the attempt ends meanwhile.

        None for an unknown key, or once the attempt is over. Raises UnreachableError, also while parts are read.
        """
        first = self._part(key, 0)
        return None if first is None else (int(first["size"]), self._parts(key, first))

    def _parts(self, key: UUID, first: Row) -> Iterator[bytes]:
        yield bytes(first["part"])
        for at in range(PART, first["size"], PART):
            row = self._part(key, at)
            if row is None:
                return
            yield bytes(row["part"])

    def _part(self, key: UUID, at: int) -> Row | None:
        return self._database.row("JobPayloadPart", {"key": key, "at": at, "size": PART})
