"""What the dispatcher's batch reads, as values.

Guarantees: frozen; times are ISO-8601 texts of the database's clock. Never: a driver's type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRow:
    """A run under this batch's lock."""

    id: str
    workflow: str
    version: int
    state: str
    trigger: str
    params: Mapping[str, Any]
    scheduled_for: str | None
    rerun_of: str | None
    rerun_tasks: Sequence[str] | None
    group_id: str
    priority: int
    held: bool
    turn: int
    cancel_requested_at: str | None
    error: Mapping[str, Any] | None
    traceparent: str | None
    created_at: str
    started_at: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskRunRow:
    """One task in one scope. Counters already hold the successes of this batch."""

    id: int
    run_id: str
    task: str
    index_path: str
    scope: int | None
    kind: str
    state: str
    total: int | None
    mark: int
    succeeded: int
    failed: int
    skipped: int
    cancelled: int
    attempts: int
    source_kind: str | None
    copied_from: int | None
    busy_s: float
    measured: int
    error: Mapping[str, Any] | None
    started_at: str | None

    @property
    def ended(self) -> int:
        """How many of its items are final."""
        return self.succeeded + self.failed + self.skipped + self.cancelled


@dataclass(frozen=True, kw_only=True, slots=True)
class OutcomeRow:
    """What became of one attempt, when it did not succeed. The claim's fence has been applied."""

    task_run_id: int
    run_id: str
    item: int
    attempt: int
    outcome: str
    seconds: float | None
    error: Mapping[str, Any] | None
    charged: bool | None
    ended: bool | None
    worker: str | None
    bundle_id: int
    claimed_at: str | None
    failures: int
    losses: int
    handbacks: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """The first half of a batch: what the inbox held, and what a decision needs to see."""

    now: str
    waited: float | None  # seconds since the oldest report was committed
    requests: Sequence[tuple[str, str]]  # run id, kind
    outcomes: Sequence[OutcomeRow]
    announced: Sequence[tuple[int, bytes]]  # outbox rows already written, to be announced after the commit
    full: bool  # the inbox may hold more
    runs: Sequence[RunRow]
    nodes: Sequence[TaskRunRow]


@dataclass(frozen=True, kw_only=True, slots=True)
class Put:
    """What the second half wrote."""

    bundles: Sequence[tuple[int, str]] = ()  # id, queue: to be published after the commit
    announced: Sequence[tuple[int, bytes]] = ()
    released: Sequence[int] = ()  # partitions of held runs that may start


@dataclass(frozen=True, kw_only=True, slots=True)
class Overview:
    """What waits, and until when. Seconds are from the database's now; None when nothing waits for it."""

    due_in: float | None
    expiry_in: float | None
    claimed: bool
    own_age: float | None  # of the oldest report in this dispatcher's partitions
    age: float | None  # of the oldest report or request in any partition
    backlog: Sequence[str] = field(default_factory=tuple)  # queues with unpublished bundles
    published: Sequence[str] = field(default_factory=tuple)  # queues with published, unclaimed bundles

    @property
    def idle(self) -> bool:
        """Whether nothing at all waits, runs or is due."""
        waits = (self.due_in, self.expiry_in, self.age)
        return not (self.claimed or self.backlog or self.published) and all(wait is None for wait in waits)


def read(row_type: type[R], row: Mapping[str, Any]) -> R:
    """The fields of a frozen row out of a JSON object that may hold more."""
    # The rows are dataclasses, which a type variable can't say.
    return row_type(**{each.name: row[each.name] for each in fields(row_type)})  # type: ignore[arg-type]
