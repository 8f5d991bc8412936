"""The rows of the twin's log.

Guarantees: named as the columns of `migrations/002_log.sql`; ids of runs and times as in `rows`. Never: a rule.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple


class LogEvent(NamedTuple):
    """log.event."""

    outbox_id: int
    position: int
    id: str
    type: str
    run_id: str | None
    at: datetime
    body: dict[str, Any]


class LogAttempt(NamedTuple):
    """log.attempt: one that has ended."""

    run_id: str
    workflow: str
    task: str
    index_path: str
    item: str
    mapped: bool
    kind: str
    attempt: int
    state: str
    final: bool
    worker: str | None
    claim: str | None
    started_at: datetime | None
    finished_at: datetime
    duration_s: float | None
    queue_wait_s: float | None
    error_class: str | None
    error: str | None
    at: datetime


class LogTask(NamedTuple):
    """log.task: one that has ended."""

    run_id: str
    task: str
    index_path: str
    kind: str
    state: str
    total: int
    succeeded: int
    failed: int
    skipped: int
    cancelled: int
    attempts: int
    started_at: datetime | None
    finished_at: datetime
    result: Any
    error_class: str | None
    error: str | None
    at: datetime


class LogRun(NamedTuple):
    """log.run: one row per run, from its start on."""

    run_id: str
    created_at: datetime
    group_id: str
    rerun_of: str | None
    workflow: str
    version: int | None
    root_task_name: str | None
    trigger: str | None
    state: str
    scheduled_for: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    error_class: str | None
    error: str | None
    traceparent: str | None
    at: datetime


class LogWorkerTime(NamedTuple):
    """log.worker_time."""

    worker: str
    at: datetime
    state: str
    busy_s: float
    idle_s: float
    wall_s: float
