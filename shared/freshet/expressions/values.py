"""CEL's values as plain JSON.

Purpose: what an expression yields can be stored, sent and shown. Source of the forms: the JSON mapping of
the protobuf types that CEL's values are defined by (https://protobuf.dev/programming-guides/json/): a
timestamp is RFC 3339 text, a duration is seconds with an `s`, bytes are base64, keys of maps are text.
Never: a value that JSON can't hold.
"""

from __future__ import annotations

import base64
import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any


def as_json(value: Any) -> Any:
    """`value` as None, bool, int, float, str, list or dict. Raises ValueError for what JSON can't hold."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, list | tuple):
        return [as_json(element) for element in value]
    if isinstance(value, dict):
        return {_key(key): as_json(member) for key, member in value.items()}
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, float):
        return _finite(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return f"{Decimal(value // timedelta(microseconds=1)).scaleb(-6).normalize():f}s"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if hasattr(value, "has_value"):  # cel.OptionalValue
        return as_json(value.value()) if value.has_value() else None
    msg = f"it yields a {type(value).__name__}, which has no form in JSON"
    raise ValueError(msg)


def _finite(value: float) -> float:
    if math.isfinite(value):
        return value
    msg = f"it yields {value}, which has no form in JSON"
    raise ValueError(msg)


def _key(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)
