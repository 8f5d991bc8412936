"""How Postgres writes what the twin holds as Python values: times in JSON, and JSON as jsonb keeps and prints it.

Guarantees: the same text for the same value, also where Python would write it otherwise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, overload

import orjson

from freshet.storage.database import DataError

#: No value at all, which is not JSON's null.
ABSENT: Final = object()

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


@overload
def time_text(moment: datetime) -> str: ...
@overload
def time_text(moment: datetime | None) -> str | None: ...
def time_text(moment: datetime | None) -> str | None:
    """A timestamptz within jsonb: ISO 8601 in UTC, without the zeros at the end of a fraction."""
    if moment is None:
        return None
    text = moment.isoformat()
    return text if moment.microsecond % 10 or not moment.microsecond else f"{text[:-6].rstrip('0')}{text[-6:]}"


def jsonb(value: Any) -> Any:
    """A copy of a value as jsonb keeps it. Raises DataError for what jsonb refuses."""
    try:
        text = orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise DataError(f"invalid input syntax for type json: {error}") from error
    if b"\\u0000" in text and _NUL.search(text):
        raise DataError("unsupported Unicode escape sequence")
    return orjson.loads(text)


def copied(value: Any) -> Any:
    """A value to give away: whoever gets it may change it."""
    return orjson.loads(orjson.dumps(value)) if isinstance(value, dict | list) else value


def jsonb_type(value: Any) -> str:
    """jsonb_typeof, with null for no value."""
    match value:
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list() | tuple():
            return "array"
        case dict():
            return "object"
        case _:
            return "null"


def jsonb_text(value: Any) -> str:
    """A jsonb's text: keys by length, then by bytes."""
    return json.dumps(_in_order(value), ensure_ascii=False)


def at_path(value: Any, path: Sequence[str]) -> Any:
    """The #> of jsonb: ABSENT where the path leads nowhere."""
    for step in path:
        value = _step(value, step)
    return value


def _step(value: Any, step: str) -> Any:
    if isinstance(value, dict):
        return value.get(step, ABSENT)
    if isinstance(value, list) and re.fullmatch(r"[+-]?\d+", step) and -len(value) <= int(step) < len(value):
        return value[int(step)]
    return ABSENT


def _in_order(value: Any) -> Any:
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: (len(key.encode()), key.encode()))
        return {key: _in_order(value[key]) for key in keys}
    return [_in_order(each) for each in value] if isinstance(value, list | tuple) else value
