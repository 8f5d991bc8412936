"""What tables there are, and their columns: for SHOW, DESCRIBE and INFORMATION_SCHEMA."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from freshet_emulator.results import Result, columns_of
from freshet_emulator.sql.names import FullName
from freshet_emulator.tables.complaints import no_object
from freshet_emulator.tables.database import SessionTables
from freshet_emulator.tables.names import split_schema, stored_schema, temporary_name
from freshet_emulator.tables.types import TableColumn

DESCRIBED = (
    "name",
    "type",
    "kind",
    "null?",
    "default",
    "primary key",
    "unique key",
    "check",
    "expression",
    "comment",
    "policy name",
    "privacy domain",
)
# Tables with a dot in their schema are the clients'; `main` holds what is ours.
OURS = "main"


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """A table or view."""

    name: FullName
    kind: str
    rows: int = 0
    text: str = ""
    temporary: bool = False


def listed(tables: SessionTables) -> list[Listed]:
    """All tables and views that the session sees, by name."""
    found = [
        Listed(name=full(schema, name), kind="TABLE", rows=int(rows or 0))
        for schema, name, rows in tables.ask(
            "SELECT schema_name, table_name, estimated_size FROM duckdb_tables() WHERE NOT temporary"
        )
    ]
    found += [
        Listed(name=full(schema, name), kind="VIEW", text=str(text))
        for schema, name, text in tables.ask(
            "SELECT schema_name, view_name, sql FROM duckdb_views() WHERE NOT internal AND schema_name <> ?", [OURS]
        )
    ]
    found += [Listed(name=name, kind="TABLE", temporary=True) for name in tables.temporary]
    return sorted(found, key=lambda each: str(each.name))


def full(schema: str, name: str) -> FullName:
    """The client's name for a table of DuckDB's."""
    database, of = split_schema(schema)
    return FullName(database=database, schema=of, name=name)


def exists(tables: SessionTables, name: FullName, kind: str) -> bool:
    """Whether there is a table, view or sequence of that name."""
    if name in tables.temporary:
        return True
    schema = stored_schema(name.database, name.schema)
    if kind == "SEQUENCE":
        asked = "SELECT 1 FROM duckdb_sequences() WHERE schema_name = ? AND sequence_name = ?"
        return bool(tables.ask(asked, [schema, name.name]))
    return any(each.name == name for each in listed(tables))


def columns(tables: SessionTables, name: FullName) -> list[TableColumn]:
    """A table's columns in order; none if there is no such table."""
    place = (stored_schema(name.database, name.schema), name.name)
    if name in tables.temporary:
        place = (OURS, temporary_name(name))
    rows = tables.ask(
        "SELECT column_name, data_type, is_nullable, column_default, comment FROM duckdb_columns() "
        "WHERE schema_name = ? AND table_name = ? ORDER BY column_index",
        place,
    )
    return [
        TableColumn(name=column, stored=stored, nullable=bool(nullable), default=default, declared=comment)
        for column, stored, nullable, default, comment in rows
    ]


def declarations(tables: SessionTables, names: Sequence[FullName]) -> dict[tuple[str, str], str]:
    """What the columns of some tables were declared as, by name and stored type."""
    if not names:
        return {}
    places = [(stored_schema(name.database, name.schema), name.name) for name in names]
    wanted = " OR ".join("(schema_name = ? AND table_name = ?)" for _ in places)
    rows = tables.ask(
        f"SELECT column_name, data_type, comment FROM duckdb_columns() WHERE comment IS NOT NULL AND ({wanted})",  # noqa: S608 - only marks
        [part for place in places for part in place],
    )
    return {(name, stored): declared for name, stored, declared in rows}


def described(tables: SessionTables, name: FullName) -> Result:
    """DESCRIBE TABLE. Raises SqlError 2003."""
    found = columns(tables, name)
    if not found:
        raise no_object(name.name)
    rows = [
        (
            column.name,
            column.type,
            "COLUMN",
            "Y" if column.nullable else "N",
            column.default,
            "N",
            "N",
            None,
            None,
            None,
            None,
            None,
        )
        for column in found
    ]
    return Result(columns=columns_of(DESCRIBED, {}), rows=rows)
