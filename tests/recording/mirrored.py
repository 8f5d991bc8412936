"""The two tables in Snowflake beside the views that they are copies of."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tests.recording.facts import Outbox, Run

from freshet.snowflake import JobServices
from freshet.storage.database import Database
from freshet.storage.record import Recording

TABLES = ("jobs_run_stats", "task_logging_stats")


def finish(outbox: Outbox, recording: Recording, run: Run, facts: Sequence[dict[str, Any]]) -> None:
    """Record a run that ends now, as runs do; facts made by hand end long ago."""
    recording.record([outbox.commit(fact) for fact in facts])
    outbox.rows("update log.run set finished_at = clock_timestamp() where run_id = %s returning run_id", run.id)


def copies(services: JobServices, table: str) -> Counter[tuple[Any, ...]]:
    """The rows that are in Snowflake, and how often each is."""
    return Counter(_rows(services.execute(f"SELECT * FROM {table}")))


def originals(store: Database, table: str) -> Counter[tuple[Any, ...]]:
    """The rows that Postgres shows."""
    with store.session() as session:
        return Counter(_rows(session.execute(f"select * from log.{table}").fetchall()))


def assert_equal(services: JobServices, store: Database) -> None:
    """Row for row, column for column."""
    for table in TABLES:
        assert copies(services, table) == originals(store, table)


def _rows(rows: Any) -> list[tuple[Any, ...]]:
    return [tuple((name, _plain(value)) for name, value in row.items()) for row in rows]


def _plain(value: Any) -> Any:
    return value.astimezone(dt.UTC) if isinstance(value, dt.datetime) else value
