"""Lists: `{"items": […], "next": cursor or null}`.

Guarantees: following `next` shows every item once and ends; a cursor that was not made here is refused. Never: a total
(counting costs what the table holds).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import Query
from fastapi.responses import JSONResponse

from freshet_api.problems import Problem

Limit = Annotated[int, Query(ge=1, le=1000, description="Most items of the page")]
After = Annotated[str | None, Query(max_length=4096, description="The `next` of the page before")]

Value = TypeVar("Value")
Item = TypeVar("Item")


class Reply(JSONResponse):
    """JSON by orjson: times in UTC, ids as text."""

    def render(self, content: Any) -> bytes:
        """The body."""
        return orjson.dumps(content)


def page(
    rows: Sequence[Item], limit: int, cursor_of: Callable[[Item], list[Any]], shown: Callable[[Item], Any] | None = None
) -> Reply:
    """A page of `limit` items out of up to `limit` + 1 that were read; the one more says that there is a next page."""
    items = rows[:limit]
    following = write_cursor(cursor_of(items[-1])) if len(rows) > limit else None
    return Reply({"items": [shown(item) for item in items] if shown else items, "next": following})


def write_cursor(values: Sequence[Any]) -> str:
    """A cursor that carries these values."""
    return base64.urlsafe_b64encode(orjson.dumps(list(values))).decode().rstrip("=")


def read_cursor(cursor: str | None, read: Callable[..., Value]) -> Value | None:
    """What `read` makes of the values of a cursor, None without one. Raises Problem for one that was not made here."""
    if cursor is None:
        return None
    try:
        values = orjson.loads(base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)))
        return read(*values)
    except (ValueError, TypeError, OverflowError, binascii.Error) as error:
        raise bad_cursor() from error


def bad_cursor() -> Problem:
    """The refusal of a cursor."""
    text = "The cursor is not one that Freshet gave out: leave `after` away to begin at the first page."
    return Problem(422, "bad_cursor", text, errors=[("/query/after", "is not a cursor")])


def text(value: Any) -> str:
    """A cursor's text. Raises TypeError."""
    if not isinstance(value, str) or "\0" in value:
        raise TypeError
    return value


def number(value: Any) -> int:
    """A cursor's whole number, within a bigint. Raises TypeError."""
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise TypeError
    return value
