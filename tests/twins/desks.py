"""One recorder's store to be treated alike: the real one, or the twin's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

import orjson
from tests.recording.facts import FACT, Outbox

from freshet.storage.database import Database
from freshet.storage.record import Recording
from freshet.testing.twins import rows
from freshet.testing.twins.log_rows import LogAttempt, LogEvent, LogRun, LogTask, LogWorkerTime
from freshet.testing.twins.recording import Log, RecordingTwin
from freshet.testing.twins.tables import Tables

#: The log's tables, their columns, and the order in which their rows were written.
TABLES: dict[str, tuple[tuple[str, ...], str]] = {
    "event": (LogEvent._fields, "outbox_id, position"),
    "attempt": (LogAttempt._fields, "at, task, item, attempt"),
    "task": (LogTask._fields, "at, task, index_path"),
    "run": (LogRun._fields, "run_id"),
    "worker_time": (LogWorkerTime._fields, "at, worker"),
}


class Desk(Protocol):
    recording: Recording

    def commit(self, *facts: FACT, run: UUID | None = None, age_s: float = 0.0) -> int: ...
    def logged(self, table: str) -> list[dict[str, Any]]: ...
    def waiting(self) -> list[int]: ...
    def parked(self) -> list[tuple[str, str | None]]: ...


class TwinDesk:
    def __init__(self) -> None:
        self.tables = Tables(lambda: datetime(2026, 11, 22, 12, tzinfo=UTC))
        self.recording: Recording = RecordingTwin(self.tables)
        log = Log(self.tables)
        self._log: dict[str, dict[Any, Any]] = {
            "event": log.events, "attempt": log.attempts, "task": log.tasks, "run": log.runs,
            "worker_time": log.worker_times,
        }  # fmt: skip

    def commit(self, *facts: FACT, run: UUID | None = None, age_s: float = 0.0) -> int:
        key, body = self.tables.announce(str(run) if run else None, orjson.dumps(facts))
        at = self.tables.clock() - timedelta(seconds=age_s)
        self.tables.outbox[key] = rows.Outbox(key, str(run) if run else None, body, at)
        return key

    def logged(self, table: str) -> list[dict[str, Any]]:
        found = [row._asdict() for row in self._log[table].values()]
        order = TABLES[table][1].split(", ")
        return sorted(found, key=lambda row: [row[name] for name in order])

    def waiting(self) -> list[int]:
        return sorted(self.tables.outbox)

    def parked(self) -> list[tuple[str, str | None]]:
        return [(row.what, row.run_id) for row in self.tables.parked.values() if row.error]


class RealDesk:
    def __init__(self, database: Database) -> None:
        self.recording = Recording(database)
        self._outbox = Outbox(database)

    def commit(self, *facts: FACT, run: UUID | None = None, age_s: float = 0.0) -> int:
        return self._outbox.commit(*facts, run=run, age_s=age_s)

    def logged(self, table: str) -> list[dict[str, Any]]:
        columns, order = TABLES[table]
        found = self._outbox.rows(f"select {', '.join(columns)} from log.{table} order by {order}")
        return [{name: str(each) if isinstance(each, UUID) else each for name, each in row.items()} for row in found]

    def waiting(self) -> list[int]:
        return [row["id"] for row in self._outbox.rows("select id from engine.outbox order by id")]

    def parked(self) -> list[tuple[str, str | None]]:
        return [
            (row["what"], row["run"])
            for row in self._outbox.rows("select what, run_id::text as run from engine.parked where error <> ''")
        ]
