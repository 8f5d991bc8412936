"""The HTTP side: every request of connectors 4 and 5, health, metrics and the fault switches.

No request is answered with HTTP 500: connectors repeat those for minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from freshet_emulator import protocol
from freshet_emulator.bodies import BadBodyError, body_of, object_in
from freshet_emulator.control import Control
from freshet_emulator.emulator import Emulator
from freshet_emulator.errors import LoginRefusedError, SqlError
from freshet_emulator.queries import Query
from freshet_emulator.results import status
from freshet_emulator.sessions import MASTER_EXPIRED, Session
from freshet_emulator.sql.lexer import count_placeholders
from freshet_emulator.sql.reader import parse_name

TOKEN = re.compile(r'Snowflake Token="([^"]*)"')
READS = re.compile(r"\s*(?:SELECT|WITH|SHOW|DESC|DESCRIBE)\b", re.IGNORECASE)

log = structlog.get_logger()

# Where a request carries the way to cut its connection off.
ABORT = "freshet.abort"

Endpoint = Callable[[Request], Awaitable[Response]]


def cut_off(cycle: Any) -> None:
    """Close the connection of a request without an answer, as a broken network does."""
    if cycle is not None:
        cycle.transport.abort()


class SingleSlashes:
    """Connector 5 asks for `/monitoring/queries//<id>`: runs of slashes count as one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on with the path made plain."""
        if scope["type"] == "http":
            # Only the server's own connection can be cut off in the middle, and its `send` is the way to it.
            cycle = getattr(send, "__self__", None)
            scope = {**scope, "path": re.sub("/+", "/", scope["path"]), ABORT: lambda: cut_off(cycle)}
        await self._app(scope, receive, send)


def token_of(request: Request) -> str:
    """The token in the Authorization header."""
    found = TOKEN.search(request.headers.get("authorization", ""))
    return found[1] if found else ""


class Requests:
    """The handlers of all requests."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    async def login(self, request: Request) -> Response:
        """`POST /session/v1/login-request`."""
        data = object_in(await body_of(request), "data")
        if (fault := await self._disturbed(request, "login")) is not None:
            return fault
        try:
            user, owner = self._emulator.sessions.authenticate(data)
        except LoginRefusedError as error:
            return JSONResponse(protocol.refused_login(error))
        asked: dict[str, str | None] = {key: identifier(value) for key, value in request.query_params.items()}
        if owner is not None:
            asked["databaseName"] = asked.get("databaseName") or owner.database
            asked["schemaName"] = asked.get("schemaName") or owner.schema
        session = self._emulator.open_session(user, asked)
        session.copies_files = str(data.get("CLIENT_APP_VERSION") or "4").partition(".")[0] in ("1", "2", "3", "4")
        for key, value in object_in(data, "SESSION_PARAMETERS").items():
            session.parameters[key.upper()] = str(value)
        return JSONResponse(protocol.login_answer(session, self._emulator.sessions.validity))

    async def renew(self, request: Request) -> Response:
        """`POST /session/token-request`."""
        session = self._emulator.sessions.renew(token_of(request))
        if session is None:
            return JSONResponse(protocol.failed(MASTER_EXPIRED, "Authentication token has expired. Log in again."))
        return JSONResponse(protocol.renewal_answer(session, self._emulator.sessions.validity))

    async def heartbeat(self, request: Request) -> Response:
        """`POST /session/heartbeat`."""
        session = self._session(request)
        return JSONResponse(protocol.succeeded() if isinstance(session, Session) else session)

    async def logout(self, request: Request) -> Response:
        """`POST /session?delete=true`."""
        self._emulator.close_session(token_of(request))
        return JSONResponse(protocol.succeeded())

    async def query(self, request: Request) -> Response:
        """`POST /queries/v1/query-request`."""
        body = await body_of(request)
        sql = str(body.get("sqlText") or "")
        if (fault := await self._disturbed(request, "query", sql)) is not None:
            return fault
        session = self._session(request)
        if not isinstance(session, Session):
            return JSONResponse(session)
        self._emulator.count_statement(sql)
        query = self._submit(session, request.query_params.get("requestId", ""), sql, body)
        is_async = bool(body.get("asyncExec"))
        answer = protocol.running_answer(query, is_async=True) if is_async else await self._answer(query)
        return await self._disturbed(request, "query", sql, when="after") or JSONResponse(answer)

    async def result(self, request: Request) -> Response:
        """`GET /queries/<id>/result`."""
        query = self._emulator.queries.find(request.path_params["query_id"])
        if (fault := await self._disturbed(request, "result", query.sql if query else "")) is not None:
            return fault
        session = self._session(request)
        if not isinstance(session, Session):
            return JSONResponse(session)
        if query is None:
            return JSONResponse(protocol.failed(709, "Statement not found"))
        return JSONResponse(await self._answer(query))

    async def monitor(self, request: Request) -> Response:
        """`GET /monitoring/queries/<id>`."""
        query = self._emulator.queries.find(request.path_params["query_id"])
        if (fault := await self._disturbed(request, "monitor", query.sql if query else "")) is not None:
            return fault
        session = self._session(request)
        if not isinstance(session, Session):
            return JSONResponse(session)
        return JSONResponse(protocol.monitoring_answer(query))

    async def abort(self, request: Request) -> Response:
        """`POST /queries/<id>/abort-request`."""
        session = self._session(request)
        if not isinstance(session, Session):
            return JSONResponse(session)
        self._emulator.queries.abort(request.path_params["query_id"])
        return JSONResponse(protocol.succeeded())

    async def abort_by_request(self, request: Request) -> Response:
        """`POST /queries/v1/abort-request`: the query is named by the request that brought it."""
        session = self._session(request)
        if not isinstance(session, Session):
            return JSONResponse(session)
        query = self._emulator.queries.of_request(session, str((await body_of(request)).get("requestId")))
        if query is not None:
            self._emulator.queries.abort(query.id)
        return JSONResponse(protocol.succeeded())

    async def put_file(self, request: Request) -> Response:
        """`PUT /stages/<grant>`: a file of a PUT, from a connector that can't copy it."""
        place = self._emulator.stages.granted(request.path_params["grant"])
        if place is None:
            return Response(status_code=403)
        if place.exists() and request.headers.get("x-goog-if-generation-match") == "0":
            return Response(status_code=412)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(await request.body())
        return Response()

    async def get_file(self, request: Request) -> Response:
        """`GET /stages/<grant>`: a file of a GET."""
        place = self._emulator.stages.granted(request.path_params["grant"])
        if place is None or not place.is_file():
            return Response(status_code=404)
        return Response(place.read_bytes(), media_type="application/octet-stream")

    async def telemetry(self, _request: Request) -> Response:
        """`POST /telemetry/send`: thrown away."""
        return JSONResponse(protocol.succeeded())

    async def healthy(self, _request: Request) -> Response:
        """`GET /healthz` and `/readyz`: it listens only when everything is ready."""
        return JSONResponse({"status": "ok"})

    async def metrics(self, _request: Request) -> Response:
        """`GET /metrics`."""
        return PlainTextResponse(self._emulator.metrics(), media_type="text/plain; version=0.0.4")

    async def _disturbed(
        self, request: Request, kind: str, statement: str = "", *, when: str = "before"
    ) -> Response | None:
        """What the fault switches make of a request: an answer instead of ours, or None after whatever else."""
        answer: Response | None = None
        for fault in self._emulator.faults.take_request(kind, statement, when):
            match fault.kind:
                case "slow_answer":
                    await asyncio.sleep(fault.seconds)
                case "expire_token":
                    self._emulator.sessions.expire(token_of(request))
                case "forget_session":
                    self._emulator.sessions.forget(token_of(request))
                case "drop_connection":
                    request.scope[ABORT]()
                    answer = Response(status_code=503)
                case "no_privilege":
                    answer = answer or JSONResponse(protocol.refused_privilege(fault.on))
                case _:
                    answer = answer or Response(status_code=503)
        return answer

    def _submit(self, session: Session, request_id: str, sql: str, body: dict[str, Any]) -> Query:
        """Start the query of a request. One that is only to be described has no values yet, and changes nothing."""
        bindings = object_in(body, "bindings")
        if not body.get("describeOnly"):
            asked = {key.upper(): str(value) for key, value in object_in(body, "parameters").items()}
            return self._emulator.queries.submit(session, request_id, sql, bindings, parameters=asked)
        unbound = range(len(bindings), count_placeholders(sql))
        bindings |= {str(at + 1): {"type": "TEXT", "value": None} for at in unbound}
        known_result = None if READS.match(sql) else status("Described.")
        return self._emulator.queries.submit(session, request_id, sql, bindings, known_result=known_result)

    def _session(self, request: Request) -> Session | protocol.Envelope:
        found = self._emulator.sessions.find(token_of(request))
        return found if isinstance(found, Session) else protocol.refused_session(found)

    async def _answer(self, query: Query) -> protocol.Envelope:
        await asyncio.wait({asyncio.wrap_future(query.outcome)}, timeout=self._emulator.settings.hold)
        return protocol.ended_answer(query) if query.outcome.done() else protocol.running_answer(query)


def identifier(text: str) -> str | None:
    """A name in a login's query string, folded like an identifier; None if it is empty or no name."""
    try:
        return parse_name(text).last if text else None
    except SqlError:
        return None


def guarded(emulator: Emulator, endpoint: Endpoint) -> Endpoint:
    """Count the request, and answer a body that can't be read; whatever else goes wrong is no HTTP 500 either."""

    async def handle(request: Request) -> Response:
        emulator.count_request(endpoint.__name__)
        try:
            return await endpoint(request)
        except BadBodyError:
            return JSONResponse(protocol.failed(391918, "The request body is not a JSON object."), status_code=400)
        except Exception as error:
            log.exception("request_crashed", kind=endpoint.__name__)
            return JSONResponse(protocol.failed(603, f"The emulator failed inside: {error!r}"))

    return handle


def build_app(emulator: Emulator, on_ready: Callable[[], None]) -> SingleSlashes:
    """The application; `on_ready` is called once everything runs."""
    requests = Requests(emulator)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await asyncio.to_thread(emulator.start)
        on_ready()
        try:
            yield
        finally:
            await asyncio.to_thread(emulator.stop)

    table: list[tuple[str, str, Endpoint]] = [
        ("POST", "/session/v1/login-request", requests.login),
        ("POST", "/session/token-request", requests.renew),
        ("POST", "/session/heartbeat", requests.heartbeat),
        ("POST", "/session", requests.logout),
        ("POST", "/queries/v1/query-request", requests.query),
        ("POST", "/queries/v1/abort-request", requests.abort_by_request),
        ("GET", "/queries/{query_id}/result", requests.result),
        ("POST", "/queries/{query_id}/abort-request", requests.abort),
        ("GET", "/monitoring/queries/{query_id}", requests.monitor),
        ("POST", "/telemetry/send", requests.telemetry),
        ("PUT", "/stages/{grant:path}", requests.put_file),
        ("GET", "/stages/{grant:path}", requests.get_file),
        ("GET", "/healthz", requests.healthy),
        ("GET", "/readyz", requests.healthy),
        ("GET", "/metrics", requests.metrics),
    ]
    routes = [Route(path, guarded(emulator, endpoint), methods=[method]) for method, path, endpoint in table]
    routes += Control(emulator).routes()
    return SingleSlashes(Starlette(routes=routes, lifespan=lifespan))
