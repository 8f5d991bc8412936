"""`/queues`, `/workers` and `/tables`."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query

from freshet.bus import Heartbeat
from freshet.domain.errors import ConflictError, UnreachableError
from freshet.domain.states import WorkerState
from freshet.storage.database import Row
from freshet.storage.tables import TablePlace
from freshet_api import bodies
from freshet_api.door import Door, Json, TheDoor
from freshet_api.paging import After, Limit, Reply, number, page, read_cursor, text, write_cursor
from freshet_api.run_routes import REFUSALS
from freshet_api.strict_route import StrictRoute

router = APIRouter(prefix="/api/v1", route_class=StrictRoute, tags=["operations"])

Worker = Annotated[str, Path(max_length=512, description="The worker's id")]


@router.get("/queues", responses={200: {"model": bodies.PageAnswer}, **REFUSALS})
def list_queues(door: TheDoor, limit: Limit = 100, after: After = None) -> Reply:
    """Queues: how much waits and for how long, and who serves them."""
    rows = door.fleet.queues(after=read_cursor(after, text) or "", limit=limit + 1)
    return page(rows, limit, lambda row: [row["name"]])


@router.get("/workers", responses={200: {"model": bodies.PageAnswer}, **REFUSALS})
def list_workers(door: TheDoor, limit: Limit = 100, after: After = None) -> Reply:
    """Workers, those that are gone last. Seconds are totals since a worker's start; watching jobs is idle."""
    start = read_cursor(after, lambda gone, worker: (bool(gone), text(worker)))
    rows = door.fleet.workers(after=start or (False, ""), limit=limit + 1)
    beats = _heartbeats(door)
    return page(rows, limit, _worker_cursor, lambda row: _worker(row, beats.get(row["id"])))


@router.post("/workers/{worker}/kill", status_code=202, responses={202: {"model": bodies.WorkerAnswer}, **REFUSALS})
def kill_worker(door: TheDoor, worker: Worker) -> Reply:
    """End a worker; what it held is claimable again within seconds."""
    state = door.fleet.worker_state(worker)
    if state == WorkerState.OFFLINE:
        raise ConflictError(f"Worker {worker} is gone already.")
    door.bus.request_kill(worker)
    return Reply({"id": worker, "state": state}, 202)


@router.get("/tables/{table}", responses={200: {"model": bodies.PageAnswer}, **REFUSALS})
def list_table(
    door: TheDoor,
    table: Annotated[Literal["jobs_run_stats", "task_logging_stats"], Path()],
    run: Annotated[uuid.UUID | None, Query(description="Only rows of this run's group")] = None,
    limit: Limit = 100,
    after: After = None,
) -> Reply:
    """A logging table, newest rows first."""
    start = read_cursor(after, lambda at, skip: TablePlace(at=text(at), skip=number(skip)))
    rows, following = door.tables.page(table, run_id=run, after=start, limit=limit)
    cursor = None if following is None else write_cursor([following.at, following.skip])
    return Reply({"items": rows, "next": cursor})


def _heartbeats(door: Door) -> dict[str, Heartbeat]:
    try:
        return door.bus.heartbeats()
    except UnreachableError:
        return {}  # the rows still tell what was known last


def _worker_cursor(row: Row) -> list[Any]:
    return [row["state"] == WorkerState.OFFLINE, row["id"]]


def _worker(row: Row, beat: Heartbeat | None) -> Json:
    """The row, with what the heartbeat knows better."""
    shown = {**row, "alive": beat is not None, "bundle": beat.bundle if beat else None}
    if beat is not None:
        shown.update(state=beat.state, busy_s=beat.busy_s, idle_s=beat.idle_s, wall_s=beat.wall_s)
    return shown
