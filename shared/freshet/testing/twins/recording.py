"""The recorder's store over the twin's tables.

Purpose: committed facts into rows of the log, once each. Guarantees: the log's rows and the delete of the outbox's are
one step; what Postgres would refuse is halved out and parked alone. Never: tallies and spans, for no law is about
metrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from freshet.storage.database import DataError
from freshet.storage.record import Recorded, Recording
from freshet.testing.twins.log_rows import LogAttempt, LogEvent, LogRun, LogTask, LogWorkerTime
from freshet.testing.twins.passage import Passage, open_passage, verb
from freshet.testing.twins.projection import Projected, furthest
from freshet.testing.twins.rows import Parked
from freshet.testing.twins.tables import Tables


class Log:
    """The recorder's tables. Rows that are only ever appended are keyed by their number."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.events: dict[tuple[int, int], LogEvent] = tables.table("log.event")  # by outbox row and position
        self.attempts: dict[int, LogAttempt] = tables.table("log.attempt")
        self.tasks: dict[int, LogTask] = tables.table("log.task")
        self.runs: dict[tuple[str, datetime], LogRun] = tables.table("log.run")
        self.worker_times: dict[int, LogWorkerTime] = tables.table("log.worker_time")

    def write(self, projected: Projected) -> None:
        """Everything; a run's row never goes back to an earlier state."""
        self.events.update({(event.outbox_id, event.position): event for event in projected.events})
        self._append("log.attempt", self.attempts, projected.attempts)
        self._append("log.task", self.tasks, projected.tasks)
        self._append("log.worker_time", self.worker_times, projected.times)
        for run in furthest(projected.runs):
            self._put_run(run)

    def _append(self, name: str, table: dict[int, Any], rows: Sequence[Any]) -> None:
        for row in rows:
            table[self._tables.next_id(name)] = row

    def _put_run(self, new: LogRun) -> None:
        key = new.run_id, new.created_at
        old = self.runs.get(key)
        if old is None:
            self.runs[key] = new
        elif old.finished_at is None and (new.finished_at is not None or old.state == "pending"):
            self.runs[key] = old._replace(
                state=new.state,
                started_at=new.started_at or old.started_at,
                finished_at=new.finished_at,
                error_class=new.error_class,
                error=new.error,
                at=new.at,
            )


class RecordingTwin(Recording):
    """The outbox and the log."""

    def __init__(self, tables: Tables, passage: Passage = open_passage) -> None:
        self._tables = tables
        self._passage = passage
        self._log = Log(tables)

    def record(self, ids: Sequence[int]) -> Recorded:
        """Record these outbox rows; those that are gone are recorded already."""
        if not ids:
            return Recorded()
        self._passage.enter("record")
        try:
            recorded = self._take(ids)
        except DataError as error:
            return self._halved(ids, error)
        self._passage.leave("record")
        return recorded

    @verb
    def left(self, *, older_than_s: float, limit: int) -> list[int]:
        """Outbox rows at least that old, the oldest first."""
        before = self._tables.clock() - timedelta(seconds=older_than_s)
        return sorted(row.id for row in self._tables.outbox.values() if row.created_at <= before)[:limit]

    def sweep(self, *, older_than_s: float, limit: int = 500) -> Recorded:
        """Record what was never announced, or whose announcement was lost."""
        return self.record(self.left(older_than_s=older_than_s, limit=limit))

    def _take(self, ids: Sequence[int]) -> Recorded:
        rows = [self._tables.outbox[key] for key in sorted(set(ids)) if key in self._tables.outbox]
        projected = Projected()
        for row in rows:
            projected.take(row)
        self._log.write(projected)
        for row in rows:
            del self._tables.outbox[row.id]
        return Recorded(entries=len(rows), facts=projected.facts, items=projected.items)

    def _halved(self, ids: Sequence[int], error: DataError) -> Recorded:
        if len(ids) == 1:
            return Recorded(parked=self._park(ids[0], error.message))
        middle = len(ids) // 2
        return self.record(ids[:middle]) + self.record(ids[middle:])

    def _park(self, key: int, error: str) -> int:
        self._passage.enter("park")
        row = self._tables.outbox.pop(key, None)
        if row is not None:
            parked = self._tables.next_id("parked")
            self._tables.parked[parked] = Parked(parked, "outbox", row.run_id, error)
        self._passage.leave("park")
        return int(row is not None)
