"""INFORMATION_SCHEMA: its views as far as clients look at them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from freshet_emulator.errors import missing
from freshet_emulator.interpreter.context import Context
from freshet_emulator.results import Result, columns_of
from freshet_emulator.sql.names import FullName
from freshet_emulator.tables import listing
from freshet_emulator.tables.database import SessionTables
from freshet_emulator.tables.listing import Listed, listed
from freshet_emulator.tables.types import wire_column

Rows = list[Sequence[Any]]
NUMBERS = ("ROW_COUNT", "BYTES", "ORDINAL_POSITION", "CHARACTER_MAXIMUM_LENGTH", "NUMERIC_PRECISION", "NUMERIC_SCALE")
WORDS = {"FIXED": "NUMBER", "REAL": "FLOAT"}


def databases(context: Context, _: SessionTables, __: str) -> Rows:
    """DATABASES."""
    return [(name, "SYSADMIN", "NO") for name in context.world.catalog.names("DATABASE")]


def schemata(context: Context, _: SessionTables, database: str) -> Rows:
    """SCHEMATA."""
    found = [name.split(".", 1) for name in context.world.catalog.names("SCHEMA")]
    return [(of, schema, "SYSADMIN") for of, schema in [*found, (database, "INFORMATION_SCHEMA")] if of == database]


def inside(tables: SessionTables, database: str) -> list[Listed]:
    """The tables and views of a database."""
    return [each for each in listed(tables) if each.name.database == database]


def tables_of(_: Context, tables: SessionTables, database: str) -> Rows:
    """TABLES."""
    return [
        (database, each.name.schema, each.name.name, "SYSADMIN", kind(each), each.rows, each.rows * 100)
        for each in inside(tables, database)
    ]


def kind(each: Listed) -> str:
    """TABLE_TYPE."""
    return "VIEW" if each.kind == "VIEW" else "LOCAL TEMPORARY" if each.temporary else "BASE TABLE"


def views(_: Context, tables: SessionTables, database: str) -> Rows:
    """VIEWS."""
    found = [each for each in inside(tables, database) if each.kind == "VIEW"]
    return [(database, each.name.schema, each.name.name, "SYSADMIN", each.text) for each in found]


def columns_of_tables(_: Context, tables: SessionTables, database: str) -> Rows:
    """COLUMNS."""
    rows: Rows = []
    for each in inside(tables, database):
        for position, column in enumerate(listing.columns(tables, each.name), 1):
            wire = wire_column(column.name, column.stored, column.declared)
            word = WORDS.get(wire.type, wire.type)
            rows.append(
                (
                    database,
                    each.name.schema,
                    each.name.name,
                    column.name,
                    position,
                    column.default,
                    "YES" if column.nullable else "NO",
                    word,
                    (wire.length or 16_777_216) if word == "TEXT" else None,
                    wire.precision,
                    wire.scale if word == "NUMBER" else None,
                )
            )
    return rows


VIEWS: dict[str, tuple[str, Callable[[Context, SessionTables, str], Rows]]] = {
    "DATABASES": ("DATABASE_NAME DATABASE_OWNER IS_TRANSIENT", databases),
    "SCHEMATA": ("CATALOG_NAME SCHEMA_NAME SCHEMA_OWNER", schemata),
    "TABLES": ("TABLE_CATALOG TABLE_SCHEMA TABLE_NAME TABLE_OWNER TABLE_TYPE ROW_COUNT BYTES", tables_of),
    "VIEWS": ("TABLE_CATALOG TABLE_SCHEMA TABLE_NAME TABLE_OWNER VIEW_DEFINITION", views),
    "COLUMNS": (
        (
            "TABLE_CATALOG TABLE_SCHEMA TABLE_NAME COLUMN_NAME ORDINAL_POSITION COLUMN_DEFAULT IS_NULLABLE DATA_TYPE "
            "CHARACTER_MAXIMUM_LENGTH NUMERIC_PRECISION NUMERIC_SCALE"
        ),
        columns_of_tables,
    ),
}


def view_rows(context: Context, tables: SessionTables, name: FullName) -> Result:
    """What a view of INFORMATION_SCHEMA shows. Raises SqlError 2003 for one that is not there."""
    if name.name not in VIEWS:
        raise missing("Object", str(name))
    words, rows = VIEWS[name.name]
    return Result(
        columns=columns_of(words.split(), dict.fromkeys(NUMBERS, "FIXED")), rows=rows(context, tables, name.database)
    )
