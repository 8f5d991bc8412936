"""Runs by call, by rerun, by backfill, by event: what is asked becomes rows.

Guarantee: a run's parameters are complete and typed before it exists. Never: a wake-up before the commit.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from freshet.definition import coerce_params, compile_workflow
from freshet.domain import graph
from freshet.domain.errors import ConflictError, DefinitionError
from freshet.domain.model import Overlap, Trigger, Workflow
from freshet.domain.schedule import ticks_between
from freshet.domain.states import TaskState
from freshet.events import CloudEvent
from freshet.events.storable import check_storable
from freshet.expressions import ExpressionError, compile_expression
from freshet.runtime import log
from freshet.scheduling import next_after
from freshet.storage.database import Row
from freshet.storage.external_events import StoredEvent
from freshet.storage.requests import Asked, NewRun, backfill_origin, call_origin, event_origin
from freshet_api.bodies import BackfillBody, RerunBody, RunBody
from freshet_api.door import Door, compiled

#: Ticks that one backfill makes runs for.
MAX_TICKS = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Filled:
    """A tick of a backfill and its run."""

    tick: datetime
    asked: Asked


def start(door: Door, name: str, body: RunBody, *, key: str | None, traceparent: str) -> Asked:
    """Make a run of the newest version, or find the one that the Idempotency-Key made."""
    row = door.definitions.get(name)
    workflow = compiled(row)
    run = NewRun(
        workflow=name,
        version=row["version"],
        trigger=Trigger.CALL,
        params=typed(workflow, body.params),
        origin=call_origin(name, key) if key else None,
        scheduled_for=body.scheduled_for,
        priority=workflow.priority,
        traceparent=traceparent,
    )
    return door.requests.create_run(run)


def rerun(door: Door, run_id: uuid.UUID, body: RerunBody, *, key: str | None, traceparent: str) -> Asked:
    """Make a run that runs an ended one again, on the pinned version."""
    if (body.mode == "from") != (body.task is not None):
        text = "`task` goes with the mode `from`, and only with it."
        raise DefinitionError(text, code="invalid_request", pointer="/task")
    old = door.requests.run_for_rerun(run_id)
    workflow = compiled(door.definitions.get(old["workflow"], old["version"]))
    states = door.requests.top_task_states(run_id)
    run = NewRun(
        workflow=old["workflow"],
        version=old["version"],
        trigger=Trigger.RERUN,
        params=old["params"],
        origin=f"rerun:{run_id}:{key}" if key else None,
        scheduled_for=old["scheduled_for"],
        priority=old["priority"],
        traceparent=traceparent,
        rerun_of=run_id,
        rerun_tasks=tasks_to_rerun(workflow, states, body),
        group_id=old["group_id"],
    )
    return door.requests.create_run(run)


def tasks_to_rerun(workflow: Workflow, states: Mapping[str, TaskState], body: RerunBody) -> tuple[str, ...] | None:
    """The tasks of the run's own scope that run again, in order of declaration; None for all.

    Only what succeeded can be copied. So besides the task asked for, all that did not succeed runs again, with
    everything after it, and the `finally` tasks, whose payload is the run.
    """
    if body.mode == "all":
        return None
    failed = {task.name for task in workflow.tasks if states.get(task.name) is not TaskState.SUCCEEDED}
    finals = {task.name for task in workflow.finals}
    if body.task is not None:
        chosen = failed | {_known_task(workflow, body.task)}
    elif failed or any(states.get(name) is not TaskState.SUCCEEDED for name in finals):
        chosen = failed
    else:
        raise ConflictError("Nothing failed in this run: run all of it again, or from a task on.")
    again = chosen | graph.descendants(workflow.tasks, chosen) | finals
    return tuple(task.name for task in (*workflow.tasks, *workflow.finals) if task.name in again)


def backfill(door: Door, name: str, body: BackfillBody) -> list[Filled]:
    """Make a run for each tick of a span, once; unless runs may overlap, one after the other."""
    row = door.definitions.get(name)
    workflow = compiled(row)
    if workflow.schedule is None or row["anchor"] is None:
        raise ConflictError(f"Workflow {name} has no schedule, so it has no ticks to fill in.")
    rule = next_after(workflow.schedule, row["anchor"])
    ticks = _bounded(list(islice(ticks_between(body.begin, body.end, rule), MAX_TICKS + 1)))
    params = typed(workflow, body.params)
    runs = [
        NewRun(
            workflow=name,
            version=row["version"],
            trigger=Trigger.BACKFILL,
            params=params,
            origin=backfill_origin(name, tick),
            scheduled_for=tick,
            priority=workflow.priority,
        )
        for tick in ticks
    ]
    one_by_one = workflow.schedule.overlap is not Overlap.ALLOW
    asked = door.requests.backfill(runs, one_by_one=one_by_one)
    released = door.requests.release_held() if one_by_one else []
    door.wake_dispatcher({each.partition for each in (*asked, *released)})
    return [Filled(tick=tick, asked=each) for tick, each in zip(ticks, asked, strict=True)]


def runs_of(event: StoredEvent, triggers: Sequence[Row]) -> list[NewRun]:
    """The runs that an event starts: one for each workflow with a trigger whose `when` holds."""
    runs: dict[str, NewRun] = {}
    for trigger in triggers:
        if trigger["workflow"] not in runs and (run := _run_of(event, trigger)):
            runs[trigger["workflow"]] = run
    return list(runs.values())


def stored(event: CloudEvent) -> StoredEvent:
    """The event as it is kept."""
    return StoredEvent(source=event.source, id=event.id, type=event.type, subject=event.subject, body=event.body)


def typed(workflow: Workflow, given: Mapping[str, Any]) -> dict[str, Any]:
    """The value of every parameter. Raises DefinitionError with the pointer /params/NAME."""
    params = coerce_params(workflow, given, from_text=False)
    check_storable(params, "/params")
    return params


def _run_of(event: StoredEvent, trigger: Row) -> NewRun | None:
    """The trigger's run. What a trigger can't make of an event is logged: the sender can't do anything about it."""
    try:
        if not _holds(trigger["condition"], event):
            return None
        workflow = compile_workflow(trigger["document"])
        params = typed(workflow, dict(_mapped(trigger["params"], event)))
    except (ExpressionError, DefinitionError) as error:
        log.logger().warning(
            "trigger_failed",
            message=f"Trigger {trigger['position']} of {trigger['workflow']} can't use the event: {error.message}",
            workflow=trigger["workflow"],
            event_id=event.id,
            event_source=event.source,
        )
        return None
    return NewRun(
        workflow=trigger["workflow"],
        version=trigger["version"],
        trigger=Trigger.EVENT,
        params=params,
        origin=event_origin(event.source, event.id, trigger["workflow"]),
        priority=workflow.priority,
    )


def _holds(condition: str | None, event: StoredEvent) -> bool:
    return condition is None or compile_expression(condition).evaluate({"event": event.body}) is True


def _mapped(params: Mapping[str, str], event: StoredEvent) -> Iterator[tuple[str, Any]]:
    for name, expression in params.items():
        yield name, compile_expression(expression).evaluate({"event": event.body})


def _known_task(workflow: Workflow, name: str) -> str:
    if any(task.name == name for task in workflow.tasks):
        return name
    choice = ", ".join(task.name for task in workflow.tasks)
    text = f"There is no task {name!r} to begin with; there are {choice}."
    raise DefinitionError(text, code="unknown_task", pointer="/task")


def _bounded(ticks: list[datetime]) -> list[datetime]:
    if len(ticks) > MAX_TICKS:
        text = f"One backfill makes at most {MAX_TICKS} runs; this span has more ticks. Choose a shorter one."
        raise DefinitionError(text, code="too_many_ticks", pointer="/to")
    return ticks
