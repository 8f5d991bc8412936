"""`/workflows`: definitions, and what starts their runs."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query

from freshet.domain.errors import DefinitionError
from freshet.scheduling import first_tick
from freshet_api import bodies, starting
from freshet_api.applying import apply
from freshet_api.door import Json, TheDoor
from freshet_api.paging import After, Limit, Reply, page, read_cursor, text
from freshet_api.run_routes import REFUSALS, IdempotencyKey, Trace, context_of, run_reply
from freshet_api.strict_route import StrictRoute

router = APIRouter(prefix="/api/v1/workflows", route_class=StrictRoute, tags=["workflows"])

Name = Annotated[str, Path(description="The workflow's name", min_length=1, max_length=256)]
Version = Annotated[int | None, Query(ge=1, le=2**31 - 1, description="An older version; by default the newest")]

_SHOWN = ("name", "version", "newest", "paused", "created_at", "updated_at", "next_fire_at", "document")


@router.get("", responses={200: {"model": bodies.PageAnswer}, **REFUSALS})
def list_workflows(door: TheDoor, limit: Limit = 100, after: After = None) -> Reply:
    """Workflows by name."""
    start = read_cursor(after, text)
    rows = door.definitions.page(after=start or "", limit=limit + 1)
    return page(rows, limit, lambda row: [row["name"]])


@router.put(
    "/{name}", responses={200: {"model": bodies.AppliedAnswer}, 201: {"model": bodies.AppliedAnswer}, **REFUSALS}
)
def put_workflow(door: TheDoor, name: Name, document: Annotated[dict[str, Any], Body()]) -> Reply:
    """Apply a workflow document: 201 when the workflow is new; a new version only if the document changed."""
    applied, stored = apply(door.definitions, name, document)
    door.wake_scheduler()
    answer = {
        "name": applied.name,
        "version": applied.version,
        "created": applied.created,
        "changed": applied.changed,
        "document": stored,
    }
    return Reply(answer, 201 if applied.created else 200)


@router.get("/{name}", responses={200: {"model": bodies.WorkflowAnswer}, **REFUSALS})
def get_workflow(door: TheDoor, name: Name, version: Version = None) -> Reply:
    """A workflow with its document."""
    return Reply(_workflow(door, name, version))


@router.delete("/{name}", status_code=204, responses=REFUSALS)
def delete_workflow(door: TheDoor, name: Name) -> None:
    """Delete a workflow: its schedule and triggers go, its runs stay, active ones are cancelled."""
    partitions = door.definitions.delete(name)
    door.wake_scheduler()
    door.wake_dispatcher(partitions)


@router.post("/{name}/pause", responses={200: {"model": bodies.WorkflowAnswer}, **REFUSALS})
def pause_workflow(door: TheDoor, name: Name) -> Reply:
    """No ticks and no triggers until it is resumed; running runs go on, and calls still start runs."""
    door.definitions.pause(name)
    door.wake_scheduler()
    return Reply(_workflow(door, name))


@router.post("/{name}/resume", responses={200: {"model": bodies.WorkflowAnswer}, **REFUSALS})
def resume_workflow(door: TheDoor, name: Name) -> Reply:
    """Ticks and triggers again; the next tick is the first one after now."""
    door.definitions.resume(name, first_tick)
    door.wake_scheduler()
    return Reply(_workflow(door, name))


@router.post("/{name}/runs", responses={200: {"model": bodies.RunAnswer}, 201: {"model": bodies.RunAnswer}, **REFUSALS})
def start_run(
    door: TheDoor,
    name: Name,
    body: Annotated[bodies.RunBody | None, Body()] = None,
    idempotency_key: IdempotencyKey = None,
    traceparent: Trace = None,
) -> Reply:
    """Start a run: 201, or 200 with the run that the same Idempotency-Key made before."""
    asked = starting.start(
        door, name, body or bodies.RunBody(), key=idempotency_key, traceparent=context_of(traceparent)
    )
    return run_reply(door, asked)


@router.post("/{name}/backfill", responses={200: {"model": bodies.BackfillAnswer}, **REFUSALS})
def backfill_workflow(door: TheDoor, name: Name, body: bodies.BackfillBody) -> Reply:
    """Make a run for each tick of a span, unless it was backfilled before."""
    if body.end < body.begin:
        raise DefinitionError("`from` lies after `to`.", code="invalid_request", pointer="/from")
    filled = starting.backfill(door, name, body)
    runs = [{"run_id": each.asked.run_id, "scheduled_for": each.tick, "created": each.asked.created} for each in filled]
    return Reply({"created": sum(each.asked.created for each in filled), "runs": runs})


def _workflow(door: TheDoor, name: str, version: int | None = None) -> Json:
    row = door.definitions.get(name, version)
    return {key: row[key] for key in _SHOWN}
