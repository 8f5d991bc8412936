"""`/healthz`, `/readyz` and `/metrics`: open to all, for probes and scrapers."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import PlainTextResponse, Response

from freshet.domain.errors import UnreachableError
from freshet_api.door import TheDoor

router = APIRouter(tags=["health"])


@router.get("/healthz", response_class=PlainTextResponse)
def healthz() -> str:
    """The process breathes."""
    return "ok\n"


@router.get("/readyz", response_class=PlainTextResponse, responses={503: {"description": "Not ready"}})
def readyz(door: TheDoor) -> PlainTextResponse:
    """Postgres and Redis answer."""
    try:
        door.database.rows("Now")
        door.bus.ping()
    except UnreachableError as error:
        return PlainTextResponse(f"{error.message}\n", 503)
    return PlainTextResponse("ready\n")


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(door: TheDoor) -> Response:
    """The exposition for Prometheus."""
    body, content_type = door.telemetry.exposition()
    return Response(body, media_type=content_type)
