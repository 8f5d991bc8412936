"""`POST /events`: CloudEvents of other systems, structured, binary or as a batch."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from freshet.events import parse_events
from freshet.events.envelope import BATCH, STRUCTURED
from freshet_api import bodies
from freshet_api.door import TheDoor
from freshet_api.paging import Reply
from freshet_api.run_routes import REFUSALS
from freshet_api.starting import runs_of, stored
from freshet_api.strict_route import StrictRoute

router = APIRouter(prefix="/api/v1/events", route_class=StrictRoute, tags=["events"])

_EVENT = {
    "type": "object",
    "required": ["specversion", "id", "source", "type"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "minLength": 1, "maxLength": 512},
        "source": {"type": "string", "minLength": 1, "maxLength": 1024},
        "type": {"type": "string", "minLength": 1, "maxLength": 256},
        "subject": {"type": "string", "maxLength": 1024},
        "time": {"type": "string", "format": "date-time"},
        "data": {},
    },
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            STRUCTURED: {"schema": _EVENT},
            BATCH: {"schema": {"type": "array", "items": _EVENT, "maxItems": 1000}},
        },
    }
}


@router.post("", status_code=202, responses={202: {"model": bodies.EventsAnswer}, **REFUSALS}, openapi_extra=_BODY)
async def receive_events(door: TheDoor, request: Request) -> Reply:
    """Store events, each once by `source` and `id`, and start the runs that triggers ask for, in one transaction."""
    events = parse_events(request.headers, await request.body())
    received = await run_in_threadpool(door.events.receive, [stored(event) for event in events], runs_of)
    if received.runs:
        await run_in_threadpool(door.wake_dispatcher, {run.partition for run in received.runs})
    answer = {
        "accepted": received.accepted,
        "duplicates": received.duplicates,
        "runs": [str(run.run_id) for run in received.runs],
    }
    return Reply(answer, 202)
