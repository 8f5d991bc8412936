"""The app: routes, errors, the OpenAPI document.

Guarantee: nothing connects before the first request. Never: a route's own work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version

from fastapi import Depends, FastAPI
from fastapi.security import HTTPBearer

from freshet_api import (
    event_routes,
    fleet_routes,
    health_routes,
    payload_routes,
    problems,
    run_routes,
    server_sent_events,
    workflow_routes,
)
from freshet_api.door import Door
from freshet_api.keeper import Keeper
from freshet_api.measuring import Measuring
from freshet_api.paging import Reply

#: Bytes of a request's body, unless the settings say otherwise.
MAX_BODY = 8 * 1024 * 1024

#: For the OpenAPI document; the check itself stands before the body is read (strict_route).
_BEARER = Depends(HTTPBearer(auto_error=False, description="A token made by `freshet token create`"))


def create_app(door: Door, *, max_body: int = MAX_BODY) -> FastAPI:
    """The api over a door; closes the door when it is shut down."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        door.close()

    app = FastAPI(
        title="Freshet",
        version=version("freshet"),
        summary="Workflows, runs, events and their live feed",
        default_response_class=Reply,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        separate_input_output_schemas=False,
    )
    app.add_middleware(Measuring, record=partial(door.telemetry.record, "http.server.request.duration"))
    app.state.door = door
    app.state.max_body = max_body
    app.state.keeper = Keeper(door.tokens, door.token)
    problems.install(app)
    for module in (workflow_routes, server_sent_events, run_routes, event_routes, fleet_routes):
        app.include_router(module.router, dependencies=[_BEARER])
    app.include_router(payload_routes.router)
    app.include_router(health_routes.router)
    return app
