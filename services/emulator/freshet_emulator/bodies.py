"""The bodies of requests: JSON objects, packed or not."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import orjson
from starlette.requests import Request

from freshet_emulator.errors import EmulatorError


class BadBodyError(EmulatorError):
    """The request's body is not a JSON object."""


async def body_of(request: Request) -> dict[str, Any]:
    """The body as JSON, unpacked if it is gzipped; an empty one is an empty object. Raises BadBodyError."""
    raw = await request.body()
    try:
        if request.headers.get("content-encoding") == "gzip":
            raw = gzip.decompress(raw)
        found = orjson.loads(raw) if raw else {}
    except (OSError, EOFError, zlib.error, orjson.JSONDecodeError) as error:
        raise BadBodyError("not JSON") from error
    if not isinstance(found, dict):
        raise BadBodyError("not a JSON object")
    return found


def object_in(body: dict[str, Any], key: str) -> dict[str, Any]:
    """An object inside a body; an empty one if it is missing or something else."""
    found = body.get(key)
    return found if isinstance(found, dict) else {}
