"""`GET /payloads/{key}`: the payload of a job service, for its own containers.

Guarantees: the key is the permission, so a container needs no token of the api's; an unknown key and one whose attempt
is over are the same 404. Never: kept by a cache.
"""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter
from starlette.responses import Response

from freshet_api.door import TheDoor
from freshet_api.problems import Problem
from freshet_api.run_routes import REFUSALS

router = APIRouter(prefix="/api/v1/payloads", tags=["operations"])


@router.get("/{key}", response_class=Response, responses={200: {"content": {"application/json": {}}}, **REFUSALS})
def read_payload(door: TheDoor, key: UUID) -> Response:
    """What a container finds in FRESHET_PAYLOAD, when that is too large for an environment."""
    body = door.payloads.read(key)
    if body is None:
        raise Problem(404, "not_found", "There is no such payload, or its attempt is over.")
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})
