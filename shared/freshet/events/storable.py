"""What JSON from outside must be, so that it can be kept.

Purpose: to refuse at the door what Postgres's jsonb or a JSON reader can't hold. Guarantee: what passes can be stored
and read back as it was. Never: a look at what it means.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from freshet.domain.errors import DefinitionError

#: So many digits in a row may be a whole number beyond 64 bits.
_LONG = re.compile(rb"\d{19}")
#: Stands for a whole number of more digits than anybody needs to read.
_HUGE = 2**64

#: Levels of nesting.
MAX_DEPTH = 100


def read_json(body: bytes) -> Any:
    """The value of a JSON text, checked. Raises DefinitionError: `not_json`, or as check_storable."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise DefinitionError(f"The body is not JSON: {error}", code="not_json") from error
    check_storable(value)
    if _LONG.search(body):
        # orjson reads whole numbers beyond 64 bits as floats, which are near them and not they.
        check_storable(json.loads(body, parse_int=_whole_number))
    return value


def _whole_number(text: str) -> int:
    return int(text) if len(text) <= 20 else _HUGE


def check_storable(value: Any, at: str = "") -> None:
    """Refuse what Postgres's jsonb or a JSON reader can't hold: NUL, whole numbers beyond 64 bits, deep nesting.

    Raises DefinitionError with the pointer of what is wrong, `at` in front. Walks without recursion.
    """
    work: list[tuple[Any, str, int]] = [(value, at, 0)]
    while work:
        here, pointer, depth = work.pop()
        if isinstance(here, dict | list):
            if depth >= MAX_DEPTH:
                raise _refusal(pointer, f"JSON may be nested {MAX_DEPTH} levels deep, not deeper.", "too_deep")
            work += [(inner, f"{pointer}/{_escaped(name)}", depth + 1) for name, inner in _members(here, pointer)]
        else:
            _check_scalar(here, pointer)


def _members(value: Mapping[str, Any] | Sequence[Any], pointer: str) -> Iterable[tuple[str | int, Any]]:
    if isinstance(value, dict):
        for name in value:
            _check_scalar(name, pointer)
        return value.items()
    return enumerate(value)


def _check_scalar(value: Any, pointer: str) -> None:
    if isinstance(value, str) and "\0" in value:
        raise _refusal(pointer, "Text may not hold the character NUL (\\u0000).", "bad_text")
    if isinstance(value, str) and not value.isascii() and _has_surrogate(value):
        raise _refusal(pointer, "Text may not hold half of a surrogate pair.", "bad_text")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise _refusal(pointer, "A whole number has at most 64 bits.", "too_large")
    if isinstance(value, float) and value - value != 0:
        raise _refusal(pointer, "A number has to be finite.", "not_finite")


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _escaped(part: str | int) -> str:
    # RFC 6901, section 3
    return str(part).replace("~", "~0").replace("/", "~1")


def _refusal(pointer: str, message: str, code: str) -> DefinitionError:
    return DefinitionError(message, code=code, pointer=pointer)
