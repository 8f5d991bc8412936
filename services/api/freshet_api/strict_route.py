"""How every request comes in: known by its token, with text and JSON that can be stored.

Purpose: the checks that no handler should have to make. Guarantees: who is refused learns nothing but that; JSON is
read strictly (no NaN, no NUL, no number beyond 64 bits, no endless nesting). Never: a look at what is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from freshet.domain.errors import DefinitionError
from freshet.events.storable import read_json
from freshet_api.problems import Problem, refused

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class StrictRequest(Request):
    """A request whose body is bounded and whose JSON is read strictly."""

    async def body(self) -> bytes:
        """The body. Raises Problem for one that is too large, without reading all of it."""
        if not hasattr(self, "_kept"):
            self._kept = await self._read(self.app.state.max_body)
        return self._kept

    async def _read(self, limit: int) -> bytes:
        chunks = bytearray()
        announced = self.headers.get("content-length", "0")
        if announced.isdigit() and int(announced[:20]) > limit:
            raise _too_large(limit)
        async for chunk in self.stream():
            chunks += chunk
            if len(chunks) > limit:
                raise _too_large(limit)
        return bytes(chunks)

    async def json(self) -> Any:
        """The body. Raises Problem for what is not JSON, or can't be kept."""
        try:
            return read_json(await self.body())
        except DefinitionError as error:
            raise refused(error) from error


class StrictRoute(APIRoute):
    """A route behind the token, with a StrictRequest."""

    def get_route_handler(self) -> Handler:
        """FastAPI's handler with the checks in front."""
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            _refuse_nul(request)
            await _authenticate(request)
            return await handle(StrictRequest(request.scope, request.receive))

        return handler


def _too_large(limit: int) -> Problem:
    # The rest of the body stays unread, so the connection can't be used again.
    return Problem(413, "body_too_large", f"A request has at most {limit} bytes.", headers={"Connection": "close"})


async def _authenticate(request: Request) -> None:
    keeper = request.app.state.keeper
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    token = token.strip() if scheme.lower() == "bearer" else ""
    if token and (keeper.knows(token) or await run_in_threadpool(keeper.finds, token)):
        return
    raise Problem(
        401,
        "unauthorized",
        "The token is missing or unknown. Send it as `Authorization: Bearer TOKEN`; `freshet token create` makes one.",
        headers={"WWW-Authenticate": "Bearer"},
    )


def _refuse_nul(request: Request) -> None:
    """No text in Postgres may hold NUL, so nothing of that name can be there."""
    if "\0" in request.url.path or "\0" in request.scope["path"]:
        raise Problem(400, "bad_text", "A path may not hold the character NUL.")
    for name, value in request.query_params.multi_items():
        if "\0" in name or "\0" in value:
            raise Problem(
                400, "bad_text", "A query may not hold the character NUL.", errors=[(f"/query/{name}", "holds NUL")]
            )
