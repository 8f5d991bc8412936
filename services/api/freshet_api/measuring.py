"""How long requests take, as OpenTelemetry's HTTP conventions name it.

Guarantees: a route is told by its pattern, never by an id; a method that HTTP does not know counts as `_OTHER`. Never:
a change of what passes.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

#: Takes seconds and attributes.
Record = Callable[[float, dict[str, str | None]], None]


class Measuring:
    """ASGI middleware around the whole app."""

    def __init__(self, app: ASGIApp, record: Record) -> None:
        self._app = app
        self._record = record

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and tell how long it took."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500  # what a server answers when an app has not

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started = time.monotonic()
        try:
            await self._app(scope, receive, noted)
        finally:
            self._record(time.monotonic() - started, _attributes(scope, status))


def _attributes(scope: Scope, status: int) -> dict[str, str | None]:
    route = getattr(scope.get("route"), "path", None)
    method = scope["method"] if scope["method"] in METHODS else "_OTHER"
    return {"http.request.method": method, "http.route": route, "http.response.status_code": str(status)}
