"""The life cycles of run, task, item and worker: one table each.

Purpose: everything about which state may follow which lives here, and only here. One machine moves by one event
and one look-up in its table; what several machines do together (the graph) is `freshet.domain.settle`. Guarantees:
what the table does not hold is refused and changes nothing; a final state is final. Never: a clock, a row, a
counter. The diagrams in docs/states.md are generated from these tables (`freshet.domain.diagram`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, overload

from freshet.domain.errors import IllegalTransitionError


class RunState(StrEnum):
    """Where a run stands."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


class TaskState(StrEnum):
    """Where a TaskRun stands."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


class ItemState(StrEnum):
    """Where a WorkItem stands."""

    PENDING = "pending"
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class WorkerState(StrEnum):
    """Where a worker stands."""

    AVAILABLE = "available"
    BUSY = "busy"
    DRAINING = "draining"
    OFFLINE = "offline"


class RunEvent(StrEnum):
    """What moves a run."""

    STARTED = "started"  # its first item was queued
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"  # the overlap policy let the tick pass
    CANCELLED = "cancelled"
    PARKED = "parked"  # a data error: the run ends failed, class internal, all else goes on


class TaskEvent(StrEnum):
    """What moves a TaskRun."""

    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


class ItemEvent(StrEnum):
    """What moves a WorkItem."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    SUBMITTED = "submitted"  # a job service is in flight; the worker is free again
    HANDED_BACK = "handed_back"  # the worker could not serve it, or drains
    CLAIM_LOST = "claim_lost"
    WATCH_LOST = "watch_lost"
    RETRIED = "retried"  # a further attempt was decided and waits for its time
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class WorkerEvent(StrEnum):
    """What moves a worker."""

    CLAIMED = "claimed"
    FINISHED = "finished"
    DRAINED = "drained"  # it was asked to take nothing more
    LEFT = "left"  # it said goodbye, or was declared dead
    REGISTERED = "registered"


State = RunState | TaskState | ItemState | WorkerState
Event = RunEvent | TaskEvent | ItemEvent | WorkerEvent

R, T, I, W = RunState, TaskState, ItemState, WorkerState  # noqa: E741  (the tables below read as columns)

RUN: Mapping[RunState, Mapping[RunEvent, RunState]] = {
    R.PENDING: {
        RunEvent.STARTED: R.RUNNING,
        RunEvent.SKIPPED: R.SKIPPED,
        RunEvent.CANCELLED: R.CANCELLED,
        RunEvent.PARKED: R.FAILED,
    },
    R.RUNNING: {
        RunEvent.SUCCEEDED: R.SUCCEEDED,
        RunEvent.FAILED: R.FAILED,
        RunEvent.CANCELLED: R.CANCELLED,
        RunEvent.PARKED: R.FAILED,
    },
    R.SUCCEEDED: {},
    R.FAILED: {},
    R.SKIPPED: {},
    R.CANCELLED: {},
}

TASK: Mapping[TaskState, Mapping[TaskEvent, TaskState]] = {
    T.PENDING: {
        TaskEvent.STARTED: T.RUNNING,
        TaskEvent.SKIPPED: T.SKIPPED,
        TaskEvent.CANCELLED: T.CANCELLED,
    },
    T.RUNNING: {
        TaskEvent.SUCCEEDED: T.SUCCEEDED,
        TaskEvent.FAILED: T.FAILED,
        TaskEvent.SKIPPED: T.SKIPPED,
        TaskEvent.CANCELLED: T.CANCELLED,
    },
    T.SUCCEEDED: {},
    T.FAILED: {},
    T.SKIPPED: {},
    T.CANCELLED: {},
}

ITEM: Mapping[ItemState, Mapping[ItemEvent, ItemState]] = {
    I.PENDING: {
        ItemEvent.QUEUED: I.QUEUED,
        ItemEvent.SKIPPED: I.SKIPPED,
        ItemEvent.CANCELLED: I.CANCELLED,
    },
    I.QUEUED: {
        ItemEvent.CLAIMED: I.RUNNING,
        ItemEvent.CANCELLED: I.CANCELLED,
        ItemEvent.EXPIRED: I.EXPIRED,
    },
    I.RUNNING: {
        ItemEvent.SUBMITTED: I.WAITING,
        ItemEvent.HANDED_BACK: I.QUEUED,
        ItemEvent.CLAIM_LOST: I.QUEUED,
        ItemEvent.RETRIED: I.RETRYING,
        ItemEvent.SUCCEEDED: I.SUCCEEDED,
        ItemEvent.FAILED: I.FAILED,
        ItemEvent.SKIPPED: I.SKIPPED,
        ItemEvent.CANCELLED: I.CANCELLED,
        ItemEvent.EXPIRED: I.EXPIRED,
    },
    I.WAITING: {
        ItemEvent.WATCH_LOST: I.QUEUED,
        ItemEvent.RETRIED: I.RETRYING,
        ItemEvent.SUCCEEDED: I.SUCCEEDED,
        ItemEvent.FAILED: I.FAILED,
        ItemEvent.CANCELLED: I.CANCELLED,
        ItemEvent.EXPIRED: I.EXPIRED,
    },
    I.RETRYING: {
        ItemEvent.QUEUED: I.QUEUED,
        ItemEvent.CANCELLED: I.CANCELLED,
    },
    I.SUCCEEDED: {},
    I.FAILED: {},
    I.SKIPPED: {},
    I.CANCELLED: {},
    I.EXPIRED: {},
}

WORKER: Mapping[WorkerState, Mapping[WorkerEvent, WorkerState]] = {
    W.AVAILABLE: {
        WorkerEvent.CLAIMED: W.BUSY,
        WorkerEvent.DRAINED: W.DRAINING,
        WorkerEvent.LEFT: W.OFFLINE,
    },
    W.BUSY: {
        WorkerEvent.FINISHED: W.AVAILABLE,
        WorkerEvent.DRAINED: W.DRAINING,
        WorkerEvent.LEFT: W.OFFLINE,
    },
    W.DRAINING: {
        WorkerEvent.FINISHED: W.DRAINING,
        WorkerEvent.LEFT: W.OFFLINE,
    },
    W.OFFLINE: {
        # The same worker comes back: Redis was flushed, or it slept through its own funeral.
        WorkerEvent.REGISTERED: W.AVAILABLE,
    },
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """A life cycle: what it is of, its event type, where it begins, and its table."""

    noun: str
    events: type[StrEnum]
    start: StrEnum
    table: Mapping[Any, Mapping[Any, StrEnum]]  # Any: a mapping is invariant in its key


#: The table of each machine, by the type of its states. States of two machines compare equal when they read
#: alike (they are strings), so a look-up always goes by type first.
TRANSITIONS: Mapping[type[StrEnum], Machine] = {
    RunState: Machine(noun="Run", events=RunEvent, start=R.PENDING, table=RUN),
    TaskState: Machine(noun="TaskRun", events=TaskEvent, start=T.PENDING, table=TASK),
    ItemState: Machine(noun="WorkItem", events=ItemEvent, start=I.PENDING, table=ITEM),
    WorkerState: Machine(noun="Worker", events=WorkerEvent, start=W.OFFLINE, table=WORKER),
}


@overload
def advance(state: RunState, event: RunEvent) -> RunState: ...
@overload
def advance(state: TaskState, event: TaskEvent) -> TaskState: ...
@overload
def advance(state: ItemState, event: ItemEvent) -> ItemState: ...
@overload
def advance(state: WorkerState, event: WorkerEvent) -> WorkerState: ...
def advance(state: State, event: Event) -> StrEnum:
    """Answer the state that follows. Raises IllegalTransitionError for what the table does not hold."""
    machine = TRANSITIONS[type(state)]
    after = machine.table[state].get(event) if type(event) is machine.events else None
    if after is None:
        raise IllegalTransitionError(f"A {machine.noun} that is {state} cannot be moved by {event}.")
    return after


def is_final(state: State) -> bool:
    """Say whether nothing can follow. No state of a worker is final."""
    return not TRANSITIONS[type(state)].table[state]
