"""Results as tables for one statement: RESULT_SCAN, the platform's table functions, INFORMATION_SCHEMA."""

from __future__ import annotations

import datetime as dt
import decimal
import itertools
from typing import Any, Self

import orjson

from freshet_emulator.results import Column, Result
from freshet_emulator.tables.database import SessionTables
from freshet_emulator.tables.names import quoted

NUMBERS = itertools.count(1)
STORED = {
    "FIXED": "DECIMAL(38, {scale})",
    "REAL": "DOUBLE",
    "BOOLEAN": "BOOLEAN",
    "DATE": "DATE",
    "TIME": "TIME",
    "BINARY": "VARCHAR",
    "TIMESTAMP_NTZ": "TIMESTAMP",
    "TIMESTAMP_LTZ": "TIMESTAMPTZ",
    "TIMESTAMP_TZ": "TIMESTAMPTZ",
    "VARIANT": "JSON",
    "OBJECT": "JSON",
    "ARRAY": "JSON",
}


class Materialized:
    """Puts results into temporary tables and drops them at the end."""

    def __init__(self, tables: SessionTables) -> None:
        self._tables = tables
        self._made: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in self._made:
            self._tables.ask(f"DROP TABLE IF EXISTS {name}")

    def put(self, result: Result) -> str:
        """The name of a table that holds a result."""
        name = f'"temp"."main"."result_{next(NUMBERS)}"'
        types = [STORED.get(column.type, "VARCHAR").format(scale=column.scale or 0) for column in result.columns]
        shape = orjson.dumps([{f"c{at}": kind for at, kind in enumerate(types)}]).decode().replace("'", "''")
        wanted = ", ".join(selection(at, column) for at, column in enumerate(result.columns))
        nested = [kind == "JSON" for kind in types]
        rows = [{f"c{at}": storable(value, nested=nested[at]) for at, value in enumerate(row)} for row in result.rows]
        self._tables.ask(
            f"CREATE TEMP TABLE {name.rsplit('.', 1)[1]} AS SELECT {wanted} FROM "  # noqa: S608 - names are quoted
            f"(SELECT UNNEST(FROM_JSON(?, '{shape}'), recursive := true))",
            [orjson.dumps(rows, default=str).decode()],
        )
        self._made.append(name)
        return name


def selection(at: int, column: Column) -> str:
    """One column of the rows that were handed over as JSON."""
    source = f"UNHEX(c{at})" if column.type == "BINARY" else f"c{at}"
    return f"{source} AS {quoted(column.name)}"


def storable(value: Any, *, nested: bool) -> Any:
    """A value as JSON; the text of a VARIANT is JSON already."""
    if nested and isinstance(value, str):
        return orjson.loads(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    return str(value) if isinstance(value, int | decimal.Decimal) and not isinstance(value, bool) else value
