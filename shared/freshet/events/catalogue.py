"""Every event that Freshet says, with the fields of its data.

Purpose: one table, from which `docs/events.md` is written. Guarantees: a type's name and the meaning of a field never
change within a version; a new field may come. Never: an event that is not committed first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from freshet.domain.states import ItemState, RunState, TaskState, WorkerState

VERSION = "v1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """A member of an event's data."""

    name: str
    type: str  # a JSON type; `time` is ISO 8601 in UTC
    meaning: str
    nullable: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class EventType:
    """One type of event."""

    name: str
    meaning: str
    fields: tuple[Field, ...]


def _field(name: str, kind: str, meaning: str) -> Field:
    return Field(name=name, type=kind.removesuffix("?"), meaning=meaning, nullable=kind.endswith("?"))


_RUN_ID = _field("run_id", "uuid", "the run")
_AT = _field("at", "time", "when it was committed, by the database's clock")

RUN_FIELDS = (
    _RUN_ID,
    _AT,
    _field("workflow", "string", "the workflow's name"),
    _field("version", "integer", "the version that the run is pinned to"),
    _field("trigger", "string", "schedule, call, event, backfill, rerun or parent"),
    _field("scheduled_for", "time?", "the tick that the run stands for"),
    _field("group_id", "uuid", "the first run's id, shared by its reruns"),
    _field("rerun_of", "uuid?", "the run that this one runs again"),
    _field("created_at", "time", "when the run was asked for"),
    _field("started_at", "time?", "when its first item was queued"),
    _field("finished_at", "time?", "when it ended; null until then"),
    _field("error", "object?", "`class` and `message` of a run that was parked"),
    _field("root_task_name", "string?", "`root_task` when imported from a jobconfig"),
    _field("traceparent", "string?", "the run's W3C trace context"),
)
TASK_FIELDS = (
    _RUN_ID,
    _AT,
    _field("task", "string", "the task's dotted path"),
    _field("index_path", "string", "the scope's index path; empty in the run's own scope"),
    _field("kind", "string", "process, job_service, sql, python or map"),
    _field("total", "integer?", "items; null until the map is expanded"),
    _field("succeeded", "integer", "items that succeeded"),
    _field("failed", "integer", "items that failed or expired"),
    _field("skipped", "integer", "items that were skipped"),
    _field("cancelled", "integer", "items that were cancelled"),
    _field("attempts", "integer", "tries of all items"),
    _field("started_at", "time?", "when its first item was queued"),
    _field("finished_at", "time?", "when it ended; null until then"),
    _field("error", "object?", "`class` and `message` of its first failed item"),
    _field("result", "any?", "the result of a plain task that succeeded, if at most 8 KiB"),
)
ITEM_FIELDS = (
    _RUN_ID,
    _AT,
    _field("task", "string", "the task's dotted path"),
    _field("index_path", "string", "the scope's index path"),
    _field("kind", "string", "process, job_service, sql or python"),
    _field("workflow", "string", "the workflow's name"),
    _field("mapped", "boolean", "whether the task fans out"),
    _field("worker", "string?", "who held the bundle"),
    _field("claim", "string?", "the claim or bundle under which it happened"),
    _field("claimed_at", "time?", "when the bundle was claimed"),
    _field("items", "array", "[index, attempt, seconds or null, error or null] of each item: one event carries many"),
)
WORKER_FIELDS = (
    _AT,
    _field("worker", "string", "the worker's id"),
    _field("hostname", "string", "its host"),
    _field("pid", "integer", "its supervisor's process id"),
    _field("queues", "array", "the queues that it serves"),
    _field("busy_s", "number", "seconds since its start in which it ran items"),
    _field("idle_s", "number", "seconds since its start in which it did not"),
    _field("wall_s", "number", "seconds since its start"),
)

_MEANINGS: Mapping[str, Mapping[str, str]] = {
    "run": {
        RunState.PENDING: "A run was asked for.",
        RunState.RUNNING: "A run's first item was queued.",
        RunState.SUCCEEDED: "A run ended well.",
        RunState.FAILED: "A run ended with a failed task, or was parked.",
        RunState.SKIPPED: "A tick passed while an earlier run was going on.",
        RunState.CANCELLED: "A run was cancelled.",
    },
    "task": {
        TaskState.RUNNING: "A TaskRun's first item was queued.",
        TaskState.SUCCEEDED: "All items of a TaskRun succeeded.",
        TaskState.FAILED: "All items of a TaskRun have ended and one failed.",
        TaskState.SKIPPED: "A TaskRun's rule let it not run.",
        TaskState.CANCELLED: "A TaskRun was cancelled.",
    },
    "item": {
        ItemState.QUEUED: "Items went back into the queue: handed back, or their claim was lost.",
        ItemState.RUNNING: "A worker claimed items.",
        ItemState.WAITING: "A job service was submitted and is watched.",
        ItemState.RETRYING: "A try failed and another one will come.",
        ItemState.SUCCEEDED: "Items succeeded.",
        ItemState.FAILED: "Items failed for good.",
        ItemState.SKIPPED: "Items were skipped.",
        ItemState.CANCELLED: "Items were cancelled.",
        ItemState.EXPIRED: "Items ran longer than their timeout, for good.",
    },
    "worker": {
        WorkerState.AVAILABLE: "A worker waits for work.",
        WorkerState.BUSY: "A worker's totals, at most every 5 seconds while its busy time grows.",
        WorkerState.DRAINING: "A worker takes nothing more.",
        WorkerState.OFFLINE: "A worker has left, or was declared dead.",
    },
}
_FIELDS = {"run": RUN_FIELDS, "task": TASK_FIELDS, "item": ITEM_FIELDS, "worker": WORKER_FIELDS}


def type_name(noun: str, state: str) -> str:
    """The type of the event that says that a `noun` came into a state: freshet.run.failed.v1."""
    return f"freshet.{noun}.{state}.{VERSION}"


def noun_and_state(name: str) -> tuple[str, str]:
    """What a type's name says. Raises ValueError for a name that is not ours."""
    parts = name.split(".")
    if len(parts) != 4 or parts[0] != "freshet" or parts[1] not in _FIELDS:
        raise ValueError(f"{name!r} is not a type of Freshet's events")
    return parts[1], parts[2]


#: Every type by its name.
EVENT_TYPES: Mapping[str, EventType] = {
    type_name(noun, state): EventType(name=type_name(noun, state), meaning=meaning, fields=_FIELDS[noun])
    for noun, states in _MEANINGS.items()
    for state, meaning in states.items()
}


def document() -> str:
    """The catalogue as Markdown, for docs/events.md."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Events"
    yield ""
    command = "python -m freshet.events.document > docs/events.md"
    yield f"CloudEvents 1.0. Generated from `freshet.events.catalogue`: `{command}`."
    for noun, states in _MEANINGS.items():
        yield from ("", f"## {noun}", "", "| type | says |", "|---|---|")
        yield from (f"| `{type_name(noun, state)}` | {meaning} |" for state, meaning in states.items())
        yield from ("", "| field | type | meaning |", "|---|---|---|")
        for field in _FIELDS[noun]:
            kind = f"{field.type} or null" if field.nullable else field.type
            yield f"| `{field.name}` | {kind} | {field.meaning} |"
