"""Errors as problem documents (RFC 9457).

Guarantees: every error that leaves the api is `application/problem+json` with a stable `code`, a sentence, and for bad
input a JSON Pointer to each culprit; a server that can't be reached is a 503 with Retry-After. Never: a traceback, a
driver's text, or a 500 for what the client sent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, cast

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from freshet.definition import errors_of
from freshet.domain.errors import ConflictError, DefinitionError, FreshetError, NotFoundError, UnreachableError
from freshet.runtime import log
from freshet.storage.database import DataError

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = "2"  # seconds

_HTTP_CODES = {404: "no_such_route", 405: "method_not_allowed", 413: "body_too_large", 400: "bad_request"}


class Culprit(BaseModel):
    """What is wrong, and where: a JSON Pointer into the body, or /query/NAME, /path/NAME, /header/NAME."""

    pointer: str
    detail: str


class ProblemDocument(BaseModel):
    """RFC 9457, with a stable code and the culprits."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[Culprit]


class Problem(HTTPException):
    """A refusal with all that its document needs."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`errors` are (pointer, sentence)."""
        super().__init__(status, detail, dict(headers) if headers else None)
        self.code = code
        self.errors = list(errors)


def refused(error: DefinitionError, *, prefix: str = "") -> Problem:
    """A refused definition, event or parameter, with every culprit."""
    culprits = [(prefix + single.pointer, single.message) for single in errors_of(error)]
    first = errors_of(error)[0]
    return Problem(422, first.code, error.message, errors=culprits)


def response(problem: Problem) -> Response:
    """The document as a response."""
    status = problem.status_code
    document = {
        "type": f"urn:freshet:problem:{problem.code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": problem.detail,
        "code": problem.code,
        "errors": [{"pointer": pointer, "detail": detail} for pointer, detail in problem.errors],
    }
    return Response(orjson.dumps(document), status, dict(problem.headers or {}), MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answer every error of the app with a document."""
    for kind, translate in _TRANSLATIONS.items():
        app.add_exception_handler(kind, _handler(translate))


def _handler(translate: Callable[[Any], Problem]) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handle(_request: Request, error: Exception) -> Response:
        return response(translate(error))

    return handle


def _from_http(error: HTTPException) -> Problem:
    if isinstance(error, Problem):
        return error
    status = error.status_code
    code = _HTTP_CODES.get(status, HTTPStatus(status).phrase.lower().replace(" ", "_"))
    return Problem(status, code, str(error.detail), headers=error.headers)


def _from_validation(error: RequestValidationError) -> Problem:
    culprits = [(_pointer(each["loc"]), str(each["msg"])) for each in error.errors()]
    places = ", ".join(sorted({pointer or "the body" for pointer, _ in culprits}))
    return Problem(422, "invalid_request", f"The request is refused: see {places}.", errors=culprits)


def _from_unreachable(error: UnreachableError) -> Problem:
    return Problem(503, "unavailable", error.message, headers={"Retry-After": RETRY_AFTER})


def _from_data(error: DataError) -> Problem:
    return Problem(422, "bad_data", f"The data can't be stored: {error.message}")


def _from_unknown(error: Exception) -> Problem:
    log.logger().error("request_failed", message=f"{type(error).__name__}: {error}", exc_info=error)
    return Problem(500, "internal", "Something went wrong in Freshet; its log says more.")


_TRANSLATIONS: dict[type[Exception], Callable[[Any], Problem]] = {
    HTTPException: _from_http,
    RequestValidationError: _from_validation,
    NotFoundError: lambda error: Problem(404, "not_found", cast("NotFoundError", error).message),
    ConflictError: lambda error: Problem(409, "conflict", cast("ConflictError", error).message),
    DefinitionError: refused,
    UnreachableError: _from_unreachable,
    DataError: _from_data,
    FreshetError: _from_unknown,
    Exception: _from_unknown,
}


def _pointer(location: Sequence[str | int]) -> str:
    """A pointer into the body for what stands there, else below the place: /query/limit."""
    place, *rest = location
    parts = rest if place == "body" else location
    # RFC 6901, section 3
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)
