"""The rows of the twin's tables.

Guarantees: immutable, so that a savepoint is a copy of dictionaries; named as the columns of migrations/001_engine.sql,
in the types that Python has for them (ids of runs as text). What JSON they hold is never changed in place. Never: a
rule of the engine; the checks of the tables stand in `checks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from freshet.domain.model import INDEX_BITS

INDEX_MASK = (1 << INDEX_BITS) - 1

FINAL = frozenset({"succeeded", "failed", "skipped", "cancelled", "expired"})


class Run(NamedTuple):
    """engine.run."""

    id: str
    workflow: str
    version: int
    trigger: str
    group_id: str
    created_at: datetime
    origin: str | None = None
    params: Mapping[str, Any] = {}  # never changed in place
    scheduled_for: datetime | None = None
    rerun_of: str | None = None
    rerun_tasks: tuple[str, ...] | None = None
    priority: int = 100
    held: bool = False
    traceparent: str | None = None
    state: str = "pending"
    turn: int = 0
    cancel_requested_at: datetime | None = None
    error: Mapping[str, Any] | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def partition(self) -> int:
        """Which inbox is its own."""
        return int(self.id[-1], 16)

    @property
    def final(self) -> bool:
        """Whether it has ended."""
        return self.finished_at is not None


class Request(NamedTuple):
    """engine.request."""

    id: int
    partition: int
    run_id: str
    kind: str
    created_at: datetime


class TaskRun(NamedTuple):
    """engine.task_run."""

    id: int
    run_id: str
    task: str
    index_path: str
    scope: int | None
    kind: str
    parents: tuple[str, ...]
    created_at: datetime
    children: tuple[str, ...] | None = None
    state: str = "pending"
    total: int | None = None
    mark: int = 0
    succeeded: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0
    attempts: int = 0
    source_kind: str | None = None
    source: int | None = None
    copied_from: int | None = None
    busy_s: float = 0.0
    measured: int = 0
    error: Mapping[str, Any] | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def owner(self) -> int:
        """The TaskRun whose items are its own: of a rerun's copy, the original's."""
        return self.id if self.copied_from is None else self.copied_from

    @property
    def mapped(self) -> bool:
        """Whether it is a map that has been expanded."""
        return self.source_kind is not None


class WorkItem(NamedTuple):
    """engine.work_item."""

    id: int
    state: str = "queued"
    attempt: int = 1
    failures: int = 0
    losses: int = 0
    handbacks: int = 0
    row_count: int | None = None
    result: Any = None
    error: Mapping[str, Any] | None = None
    finished_at: datetime | None = None


class Bundle(NamedTuple):
    """engine.bundle."""

    id: int
    run_id: str
    partition: int
    task_run_id: int
    queue: str
    priority: int
    turn: int
    items: tuple[int, ...]
    attempts: tuple[int, ...]
    created_at: datetime
    done: int = 0
    timeout_s: float | None = None
    due_at: datetime | None = None
    published_at: datetime | None = None
    claim: UUID | None = None
    worker: str | None = None
    claimed_at: datetime | None = None
    expires_at: datetime | None = None
    job_name: str | None = None
    submitted_at: datetime | None = None
    log_parts: int = 0
    waits_for: str | None = None
    limit_key: str | None = None

    @property
    def left(self) -> int:
        """Items that are not reported."""
        return len(self.items) - self.done

    @property
    def unheld(self) -> bool:
        """Neither claimed nor watched."""
        return self.claim is None and self.submitted_at is None

    @property
    def waits(self) -> bool:
        """Part of the backlog."""
        return self.published_at is None and self.due_at is None and self.claim is None and self.submitted_at is None


class Report(NamedTuple):
    """engine.report."""

    id: int
    partition: int
    run_id: str
    task_run_id: int
    bundle_id: int
    worker: str | None
    claimed_at: datetime | None
    body: list[dict[str, Any]]
    created_at: datetime


class Outbox(NamedTuple):
    """engine.outbox."""

    id: int
    run_id: str | None
    body: bytes
    created_at: datetime


class Worker(NamedTuple):
    """engine.worker."""

    id: str
    state: str
    lock_key: int
    hostname: str
    pid: int
    queues: tuple[str, ...]
    started_at: datetime
    seen_at: datetime
    busy_s: float = 0.0
    idle_s: float = 0.0
    wall_s: float = 0.0


class Parked(NamedTuple):
    """engine.parked."""

    id: int
    what: str
    run_id: str | None
    error: str


class Effect(NamedTuple):
    """What user code has committed on `context.connection`: any value that the simulation likes."""

    id: int
    bundle_id: int
    claim: UUID
    value: Any


class LogLines(NamedTuple):
    """log.attempt_log."""

    id: int
    run_id: str
    task: str
    item: str
    attempt: int
    claim: UUID
    part: int
    text: str
