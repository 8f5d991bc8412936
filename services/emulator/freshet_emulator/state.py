"""What survives a restart besides the tables: JSON documents by kind and key, in one SQLite file."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import orjson

SCHEMA = """
CREATE TABLE IF NOT EXISTS document (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (kind, key)
) WITHOUT ROWID
"""


class StateStore:
    """Documents of pools, jobs and the catalog. Safe to call from any thread; kept in memory when there is no file."""

    def __init__(self, path: Path | None) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
        # A crash of the emulator loses nothing this way, only one of the machine might; that is enough here.
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute(SCHEMA)

    def save(self, kind: str, key: str, body: dict[str, Any]) -> None:
        """Write or overwrite one document."""
        with self._lock:
            self._connection.execute(
                "INSERT OR REPLACE INTO document (kind, key, body) VALUES (?, ?, ?)",
                (kind, key, orjson.dumps(body, default=str)),
            )

    def remove(self, kind: str, key: str) -> None:
        """Forget one document; nothing happens if there is none."""
        with self._lock:
            self._connection.execute("DELETE FROM document WHERE kind = ? AND key = ?", (kind, key))

    def load(self, kind: str) -> list[dict[str, Any]]:
        """All documents of a kind, by key."""
        with self._lock:
            found = self._connection.execute("SELECT body FROM document WHERE kind = ? ORDER BY key", (kind,))
            return [orjson.loads(body) for (body,) in found]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()
