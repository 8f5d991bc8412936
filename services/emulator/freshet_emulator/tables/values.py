"""Values of declared types on their way out of SQLite, which stores dates, times and truth as text and numbers."""

from __future__ import annotations

import datetime as dt
import decimal
import sqlite3
from collections.abc import Callable
from typing import Any


def number(text: str) -> int | decimal.Decimal:
    """NUMBER: whole if it is."""
    value = decimal.Decimal(text)
    return int(value) if value == value.to_integral_value() else value


def truth(text: str) -> bool:
    """BOOLEAN."""
    return text.lower() in ("1", "true")


def naive(text: str) -> dt.datetime:
    """TIMESTAMP_NTZ: an offset is dropped."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=None)


def aware(text: str) -> dt.datetime:
    """TIMESTAMP_LTZ and TIMESTAMP_TZ: without an offset it is UTC."""
    value = dt.datetime.fromisoformat(text)
    return value if value.tzinfo else value.replace(tzinfo=dt.UTC)


def day(text: str) -> dt.date:
    """DATE."""
    return dt.date.fromisoformat(text[:10])


CONVERTERS: dict[str, Callable[[str], Any]] = {
    "BOOLEAN": truth,
    "DATE": day,
    "DATETIME": naive,
    "DECIMAL": number,
    "DOUBLE": float,
    "FLOAT": float,
    "NUMBER": number,
    "NUMERIC": number,
    "TIME": dt.time.fromisoformat,
    "TIMESTAMP": naive,
    "TIMESTAMP_LTZ": aware,
    "TIMESTAMP_NTZ": naive,
    "TIMESTAMP_TZ": aware,
}


def tolerant(convert: Callable[[str], Any]) -> Callable[[bytes], Any]:
    """SQLite holds anything in any column: what does not fit its type comes out as the text it is."""

    def read(stored: bytes) -> Any:
        text = stored.decode("utf-8", "replace")
        try:
            return convert(text)
        except (ValueError, decimal.InvalidOperation):
            return text

    return read


def register_converters() -> None:
    """Make SQLite connections opened with PARSE_DECLTYPES use them (a setting of the whole process)."""
    for name, convert in CONVERTERS.items():
        sqlite3.register_converter(name, tolerant(convert))


def to_stored(value: Any) -> Any:
    """A value of ours as SQLite holds it."""
    if isinstance(value, dt.datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return str(value)
    return value
