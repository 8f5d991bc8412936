"""`GET /payloads/{key}`: the payload of a job service, for its own containers.

Guarantees: the key is the permission, so a container needs no token of the api's; an unknown key and one whose attempt
is over are the same 404; no more of a payload is in memory than a part. Never: kept by a cache.
"""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from freshet_api.door import TheDoor
from freshet_api.problems import Problem
from freshet_api.run_routes import REFUSALS

router = APIRouter(prefix="/api/v1/payloads", tags=["operations"])


@router.get(
    "/{key}", response_class=StreamingResponse, responses={200: {"content": {"application/json": {}}}, **REFUSALS}
)
def read_payload(door: TheDoor, key: UUID) -> StreamingResponse:
    """What a container finds in FRESHET_PAYLOAD, when that is too large for an environment."""
    found = door.payloads.read(key)
    if found is None:
        raise Problem(404, "not_found", "There is no such payload, or its attempt is over.")
    size, parts = found
    headers = {"Cache-Control": "no-store", "Content-Length": str(size)}
    return StreamingResponse(parts, media_type="application/json", headers=headers)
