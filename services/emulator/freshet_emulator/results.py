"""Results: typed columns and rows, and how the wire writes them (JSON result format)."""

from __future__ import annotations

import datetime as dt
import decimal
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

# What real answers carry for text without a declared length.
TEXT_LENGTH = 16_777_216
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
# Offsets of TIMESTAMP_TZ are written as minutes plus this.
OFFSET_BASE = 1440
NESTED = ("VARIANT", "OBJECT", "ARRAY")


class StatementType(IntEnum):
    """`statementTypeId`: connectors count rows of DML by it."""

    SELECT = 4096
    INSERT = 12544
    UPDATE = 12800
    DELETE = 13056
    MERGE = 13312
    SHOW = 17408
    OTHER = 24576
    SEVERAL = 40960


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A result column; `type` is the wire's word in upper case (TEXT, FIXED, TIMESTAMP_LTZ, …)."""

    name: str
    type: str = "TEXT"
    scale: int | None = None
    precision: int | None = None
    length: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What a statement answers.

    `children` are the queries of a request with several statements, and their types; `transfer` is what the client is
    to copy for a PUT or GET.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    statement_type: StatementType = StatementType.SHOW
    children: Sequence[tuple[str, StatementType]] = ()
    transfer: Mapping[str, Any] | None = None


def text_result(name: str, text: str | None, statement_type: StatementType = StatementType.OTHER) -> Result:
    """One row, one text column."""
    return Result(columns=[Column(name=name)], rows=[(text,)], statement_type=statement_type)


def status(text: str) -> Result:
    """The answer of a statement that only reports."""
    return text_result("status", text)


def whole_number(name: str) -> Column:
    """A column of whole numbers."""
    return Column(name=name, type="FIXED", scale=0)


def columns_of(names: Sequence[str], types: dict[str, str]) -> list[Column]:
    """Columns by name, TEXT unless `types` says otherwise."""
    return [
        Column(name=name, type=types.get(name, "TEXT"), scale=0 if types.get(name) == "FIXED" else None)
        for name in names
    ]


def row_type(column: Column) -> dict[str, Any]:
    """The wire's description of a column.

    Connector 5 insists on `length` for binary columns, and a NUL in a name ends the whole client process.
    """
    kind = column.type
    has_length = kind in ("TEXT", "BINARY")
    temporal = kind.startswith("TIMESTAMP") or kind == "TIME"
    return {
        "name": column.name.replace("\0", ""),
        "type": kind.lower(),
        "nullable": True,
        "length": (column.length or TEXT_LENGTH) if has_length else None,
        "byteLength": (column.length or TEXT_LENGTH) if has_length else None,
        "precision": (column.precision or 38) if kind == "FIXED" else 0 if temporal else None,
        "scale": (column.scale or 0) if kind == "FIXED" else 9 if temporal else None,
        "collation": None,
        "database": "",
        "schema": "",
        "table": "",
    }


def encode_rows(result: Result) -> list[list[str | None]]:
    """The rows as the wire writes them: text or null."""
    kinds = [column.type for column in result.columns]
    return [[encode(value, kind) for value, kind in zip(row, kinds, strict=True)] for row in result.rows]


def encode(value: Any, kind: str) -> str | None:
    """One value of a column of this type."""
    if value is None:
        return None
    if isinstance(value, bool):
        return ("1" if value else "0") if kind == "BOOLEAN" else ("true" if value else "false")
    if isinstance(value, bytes):
        return value.hex().upper()
    if isinstance(value, dt.date | dt.time):
        return encode_temporal(value, kind)
    return pretty(value) if kind in NESTED or isinstance(value, dict | list) else str(value)


def pretty(value: Any) -> str:
    """A semi-structured value, or its JSON text, as Snowflake writes it: indented by two."""
    value = json.loads(value) if isinstance(value, str) else value
    return json.dumps(value, indent=2, ensure_ascii=False, default=plain)


def plain(value: Any) -> Any:
    """A value inside a semi-structured one."""
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value.hex().upper() if isinstance(value, bytes) else str(value)


def encode_temporal(value: dt.date | dt.time, kind: str) -> str:
    """A date, time or timestamp: days or seconds since the epoch, with a full nine-digit fraction."""
    if kind == "TEXT":
        return value.isoformat()
    if isinstance(value, dt.time):
        whole = value.hour * 3600 + value.minute * 60 + value.second
        return f"{whole}.{value.microsecond * 1000:09d}"
    if not isinstance(value, dt.datetime):
        return str((value - EPOCH.date()).days)
    aware = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
    seconds = decimal.Decimal((aware - EPOCH) // dt.timedelta(microseconds=1)) / 1_000_000
    text = f"{seconds:.9f}"
    if kind != "TIMESTAMP_TZ":
        return text
    offset = aware.utcoffset() or dt.timedelta()
    return f"{text} {int(offset.total_seconds() // 60) + OFFSET_BASE}"
