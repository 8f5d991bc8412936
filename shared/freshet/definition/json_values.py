"""What JSON and Postgres's jsonb can both hold.

Purpose: values from YAML, Python and HTTP that could not be stored are refused at the door. Guarantee: what
passes comes back from jsonb as it went in. Never: a silent change of a value. Sources: RFC 8259 §6 and §8,
and https://www.postgresql.org/docs/current/datatype-json.html (no NUL in text).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from freshet.definition.errors import pointer
from freshet.domain.errors import DefinitionError

MAX_DEPTH = 64
_BITS = 2**63

Steps = tuple[str | int, ...]


def json_problems(value: Any, at: Steps = ()) -> Iterator[DefinitionError]:
    """A refusal for everything within `value` that could not be stored as it is; `at` leads to it."""
    if len(at) > MAX_DEPTH:
        yield _refusal(at, f"is nested more than {MAX_DEPTH} deep")
    elif isinstance(value, Mapping):
        for key, member in value.items():
            if not isinstance(key, str):
                yield _refusal((*at, str(key)), "has a key that is not text; put it in quotes")
            else:
                yield from json_problems(member, (*at, key))
    elif isinstance(value, list | tuple):
        for index, element in enumerate(value):
            yield from json_problems(element, (*at, index))
    elif (reason := _reason(value)) is not None:
        yield _refusal(at, reason)


def _reason(value: Any) -> str | None:
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        return _text_reason(value)
    if isinstance(value, int):
        return None if -_BITS <= value < _BITS else "is a whole number beyond 64 bits; write it as text"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"is {value}, which JSON does not know"
    return f"is a {type(value).__name__}, which JSON does not know"


def _text_reason(text: str) -> str | None:
    if "\0" in text:
        return "holds a NUL character, which Postgres does not store"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "holds half of a surrogate pair, which is not Unicode text"
    return None


def _refusal(at: Steps, reason: str) -> DefinitionError:
    subject = ".".join(str(step) for step in at) or "the document"
    return DefinitionError(f"{subject} {reason}", code="not_json", pointer=pointer(*at))
