"""`/runs`: runs, their tasks, items, results and logs."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Path, Query

from freshet.domain.states import RunState
from freshet.storage.items import LogPlace, Page, Place
from freshet.storage.requests import Asked
from freshet.telemetry import child_of
from freshet_api import bodies, starting
from freshet_api.door import TheDoor
from freshet_api.paging import After, Limit, Reply, number, page, read_cursor, text, write_cursor
from freshet_api.problems import MEDIA_TYPE, ProblemDocument
from freshet_api.strict_route import StrictRoute

router = APIRouter(prefix="/api/v1/runs", route_class=StrictRoute, tags=["runs"])

REFUSALS: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "Refused", "model": ProblemDocument, "content": {MEDIA_TYPE: {}}},
    "5XX": {"description": "Not possible now", "model": ProblemDocument, "content": {MEDIA_TYPE: {}}},
}
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[!-~]+$",
        description="Asking again with the same key answers the same run",
    ),
]
Trace = Annotated[str | None, Header(description="W3C trace context of the caller")]
Task = Annotated[str, Path(description="The task's dotted path", max_length=1024)]
ItemPath = Annotated[
    str | None, Query(max_length=512, pattern=r"^[0-9.]*$", description="Index path of an item: 17, or 3.17")
]
AttemptNumber = Annotated[int | None, Query(ge=1, le=2**31 - 1, description="The number of a try")]


@router.get("", responses={200: {"model": bodies.PageAnswer}, **REFUSALS})
def list_runs(
    *,
    door: TheDoor,
    workflow: Annotated[str | None, Query(max_length=256)] = None,
    state: RunState | None = None,
    group: uuid.UUID | None = None,
    limit: Limit = 100,
    after: After = None,
) -> Reply:
    """Runs, newest first."""
    rows = door.reads.page(
        before=read_cursor(after, _run_id), limit=limit + 1, workflow=workflow, state=state, group=group
    )
    return page(rows, limit, lambda row: [row["run_id"]])


@router.get("/{run_id}", responses={200: {"model": bodies.RunAnswer}, **REFUSALS})
def get_run(door: TheDoor, run_id: uuid.UUID) -> Reply:
    """The run object."""
    return Reply(door.run_object(run_id))


@router.post("/{run_id}/cancel", status_code=202, responses={202: {"model": bodies.RunAnswer}, **REFUSALS})
def cancel_run(door: TheDoor, run_id: uuid.UUID) -> Reply:
    """Ask for a run's end; its `finally` tasks still run."""
    partition = door.requests.cancel(run_id)
    if partition is not None:
        door.wake_dispatcher([partition])
    return Reply(door.run_object(run_id), 202)


@router.post(
    "/{run_id}/rerun", responses={200: {"model": bodies.RunAnswer}, 201: {"model": bodies.RunAnswer}, **REFUSALS}
)
def rerun_run(
    *,
    door: TheDoor,
    run_id: uuid.UUID,
    body: Annotated[bodies.RerunBody | None, Body()] = None,
    idempotency_key: IdempotencyKey = None,
    traceparent: Trace = None,
) -> Reply:
    """Run an ended run again, on its own version: all of it, what failed, or from a task on."""
    asked = starting.rerun(
        door, run_id, body or bodies.RerunBody(), key=idempotency_key, traceparent=context_of(traceparent)
    )
    return run_reply(door, asked)


@router.get("/{run_id}/tasks", responses={200: {"model": bodies.PageAnswer}, **REFUSALS})
def list_tasks(door: TheDoor, run_id: uuid.UUID, limit: Limit = 100, after: After = None) -> Reply:
    """The tasks of the run object, each with its path as `task`."""
    start = max(0, read_cursor(after, number) or 0)
    tasks = list(door.run_object(run_id)["tasks"].items())
    following = write_cursor([start + limit]) if start + limit < len(tasks) else None
    rows = [{"task": path, **task} for path, task in tasks[start : start + limit]]
    return Reply({"items": rows, "next": following})


@router.get("/{run_id}/tasks/{task}/items", responses={200: {"model": bodies.PageAnswer}, **REFUSALS})
def list_items(
    *, door: TheDoor, run_id: uuid.UUID, task: Task, item: ItemPath = None, limit: Limit = 100, after: After = None
) -> Reply:
    """The items of a task over all its scopes, or one of them."""
    found = door.items.page(run_id, task, item=item, after=read_cursor(after, _place), limit=limit)
    door.costs.add_to_items(run_id, task, found.rows)
    return _page_reply(found)


@router.get("/{run_id}/tasks/{task}/result", responses={200: {"model": bodies.ResultAnswer}, **REFUSALS})
def get_result(
    *, door: TheDoor, run_id: uuid.UUID, task: Task, item: ItemPath = None, limit: Limit = 100, after: After = None
) -> Reply:
    """`{"result": …}` of one item, or `{"results": […], "total", "next"}` of a fanned-out or yielding task."""
    start = read_cursor(after, number)
    found = door.items.result(run_id, task, item=item, after=-1 if start is None else start, limit=limit)
    if found.results is None:
        return Reply({"result": found.result})
    following = None if found.next is None else write_cursor([found.next])
    return Reply({"results": found.results, "total": found.total, "next": following})


@router.get("/{run_id}/tasks/{task}/logs", responses={200: {"model": bodies.PageAnswer}, **REFUSALS})
def list_logs(
    *,
    door: TheDoor,
    run_id: uuid.UUID,
    task: Task,
    item: ItemPath = None,
    attempt: AttemptNumber = None,
    limit: Limit = 100,
    after: After = None,
) -> Reply:
    """What a task's attempts wrote, in the order of writing. `next` never ends, for more may be written."""
    found = door.items.logs(run_id, task, item=item, attempt=attempt, after=read_cursor(after, _log_place), limit=limit)
    return _page_reply(found)


def run_reply(door: TheDoor, asked: Asked) -> Reply:
    """The answer to a request for a run: wake the dispatcher, and show the run."""
    door.wake_dispatcher([asked.partition])
    run = door.run_object(asked.run_id)
    headers = {"Location": f"/api/v1/runs/{asked.run_id}"}
    return Reply(run, 201 if asked.created else 200, headers)


def context_of(traceparent: str | None) -> str:
    """A run's own span, in the caller's trace if it has one."""
    return child_of(traceparent)


def _page_reply(found: Page) -> Reply:
    return Reply({"items": found.rows, "next": _cursor(found.next)})


def _cursor(place: Place | LogPlace | int | None) -> str | None:
    if isinstance(place, Place):
        return write_cursor([place.task_run, place.index])
    if isinstance(place, LogPlace):
        return write_cursor([place.at.isoformat(), place.item, place.attempt, place.part, str(place.claim)])
    return None


def _place(task_run: Any, index: Any) -> Place:
    return Place(task_run=number(task_run), index=number(index))


def _log_place(at: Any, item: Any, attempt: Any, part: Any, claim: Any) -> LogPlace:
    moment = datetime.fromisoformat(text(at))
    small = (number(attempt), number(part))
    if moment.tzinfo is None or max(map(abs, small)) >= 2**31:
        raise ValueError
    return LogPlace(at=moment, item=text(item), attempt=small[0], part=small[1], claim=uuid.UUID(text(claim)))


def _run_id(value: Any) -> uuid.UUID:
    return uuid.UUID(text(value))
