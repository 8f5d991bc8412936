"""What may be a result: JSON that Postgres can keep and every reader gets back unchanged.

Purpose: to refuse with a sentence what would else be changed in silence (orjson writes NaN as null) or poison the
report of other items (jsonb refuses NUL). Guarantee: what `encode` accepts is read back equal, tuples as lists. Never:
a conversion by guess: a date is refused, not turned into text.
"""

from __future__ import annotations

import math
from typing import Any

import orjson

from freshet.domain.errors import FreshetError
from freshet.execution.results import Results

LOWEST, HIGHEST = -(2**63), 2**64 - 1


class ValueRefusedError(FreshetError):
    """The value is not JSON."""


def encode(value: Any, *, limit: int) -> bytes:
    """The value as JSON. Raises ValueRefusedError with a sentence that says where and why."""
    try:
        reason = _refusal(value, "")
        if reason is None:
            encoded = orjson.dumps(value)
    except (RecursionError, TypeError, ValueError) as error:
        raise ValueRefusedError(f"it can't be written as JSON ({error})") from error
    if reason is not None:
        raise ValueRefusedError(reason)
    if len(encoded) > limit:
        raise ValueRefusedError(f"it has {len(encoded):,} bytes as JSON, and the limit is {limit:,}")
    return encoded


def encode_payload(payload: Any, *, limit: int) -> bytes:
    """A payload for an executor without Python's `Results`: all of it as JSON. Raises ValueRefusedError."""
    if isinstance(payload, dict):
        payload = {name: list(each) if isinstance(each, Results) else each for name, each in payload.items()}
    try:
        return encode(list(payload) if isinstance(payload, Results) else payload, limit=limit)
    except ValueRefusedError as error:
        raise ValueRefusedError(
            f"The payload can't be handed over: {error.message}. Read large results by a cursor, in a process."
        ) from error


def _refusal(value: Any, path: str) -> str | None:
    """Why a value can't be a result, or None. `path` reads like Python: ['a'][3]."""
    match value:
        case None | bool():
            return None
        case str():
            reason = _text_refusal(value, path)
        case int() | float():
            reason = _number_refusal(value, path)
        case dict():
            parts = (_key_refusal(key, path) or _refusal(each, f"{path}[{key!r}]") for key, each in value.items())
            reason = _first(parts)
        case list() | tuple():
            reason = _first(_refusal(each, f"{path}[{index}]") for index, each in enumerate(value))
        case _:
            reason = f"{_at(path)} is of type {type(value).__name__}, which JSON does not have"
    return reason


def _number_refusal(value: float, path: str) -> str | None:
    if isinstance(value, int):
        return None if LOWEST <= value <= HIGHEST else f"{_at(path)} is a number beyond 64 bits"
    return None if math.isfinite(value) else f"{_at(path)} is {value}, which JSON does not have"


def _text_refusal(value: str, path: str) -> str | None:
    if "\0" in value:
        return f"{_at(path)} is text with a NUL character, which Postgres can't keep"
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        return f"{_at(path)} is text with half a surrogate pair, which is no Unicode"
    return None


def _key_refusal(key: Any, path: str) -> str | None:
    if not isinstance(key, str):
        return f"{_at(path)} has the key {key!r} of type {type(key).__name__}, and keys are text in JSON"
    return _text_refusal(key, f"{path}[{key!r}] (the key)")


def _first(reasons: Any) -> str | None:
    return next((reason for reason in reasons if reason is not None), None)


def _at(path: str) -> str:
    return f"its value at {path}" if path else "it"
