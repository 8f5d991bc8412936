"""Types: Snowflake's words to DuckDB's, and DuckDB's back to what the wire and DESCRIBE say.

VARIANT, OBJECT and ARRAY are stored as JSON, TIMESTAMP_TZ and TIMESTAMP_LTZ as an instant: DuckDB keeps no offset,
so a TIMESTAMP_TZ always comes back in UTC. What DuckDB's type does not tell stands in the column's comment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlglot import exp

from freshet_emulator.results import TEXT_LENGTH, Column

TYPES = exp.DType
WHOLE = (
    TYPES.TINYINT,
    TYPES.SMALLINT,
    TYPES.INT,
    TYPES.BIGINT,
    TYPES.MEDIUMINT,
    TYPES.INT128,
    TYPES.BIGDECIMAL,
)
REAL = (TYPES.FLOAT, TYPES.DOUBLE)
TEXTUAL = (TYPES.VARCHAR, TYPES.TEXT, TYPES.CHAR, TYPES.NCHAR, TYPES.NVARCHAR)
NESTED = (TYPES.VARIANT, TYPES.OBJECT, TYPES.ARRAY, TYPES.STRUCT, TYPES.MAP)
INSTANTS = (TYPES.TIMESTAMPTZ, TYPES.TIMESTAMPLTZ)
MOMENTS = (TYPES.TIMESTAMP, TYPES.DATETIME, TYPES.TIMESTAMPNTZ, TYPES.TIMESTAMP_NS, TYPES.TIMESTAMP_MS)
BINARY = (TYPES.BINARY, TYPES.VARBINARY, TYPES.BLOB)
STORED: tuple[tuple[tuple[exp.DType, ...], str], ...] = (
    (REAL, "DOUBLE"),
    (TEXTUAL, "TEXT"),
    (NESTED, "JSON"),
    (INSTANTS, "TIMESTAMPTZ"),
    (MOMENTS, "TIMESTAMP"),
    (BINARY, "BLOB"),
)

DECIMAL = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)")
# How many digits a whole number of this type can have.
DIGITS = {"TINYINT": 3, "SMALLINT": 5, "INTEGER": 10, "BIGINT": 19, "HUGEINT": 38, "UTINYINT": 3, "USMALLINT": 5}
DIGITS |= {"UINTEGER": 10, "UBIGINT": 20, "UHUGEINT": 38}
SIMPLE = {
    "DOUBLE": "REAL",
    "FLOAT": "REAL",
    "BOOLEAN": "BOOLEAN",
    "DATE": "DATE",
    "TIME": "TIME",
    "BLOB": "BINARY",
    "JSON": "VARIANT",
    "TIMESTAMP": "TIMESTAMP_NTZ",
    "TIMESTAMP_NS": "TIMESTAMP_NTZ",
    "TIMESTAMP_MS": "TIMESTAMP_NTZ",
    "TIMESTAMP_S": "TIMESTAMP_NTZ",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMP_LTZ",
}
# Declarations that say more than the stored type, and the wire's word for them.
DECLARED = {"TIMESTAMP_TZ": "TIMESTAMP_TZ", "OBJECT": "OBJECT", "ARRAY": "ARRAY"}
SQL_WORDS = {"FIXED": "NUMBER", "REAL": "FLOAT", "TEXT": "VARCHAR"}
LENGTH = re.compile(r"(?:VARCHAR|BINARY)\((\d+)\)")
BINARY_LENGTH = 8_388_608


def stored_type(kind: exp.DataType) -> exp.DataType:
    """The type that DuckDB stores a Snowflake type as."""
    of = kind.this
    if of in WHOLE:
        return exp.DataType.build("DECIMAL(38, 0)", dialect="duckdb")
    if of == TYPES.DECIMAL:
        digits = [parameter.name for parameter in kind.expressions] or ["38"]
        return exp.DataType.build(f"DECIMAL({digits[0]}, {digits[1] if len(digits) > 1 else 0})", dialect="duckdb")
    word = next((word for kinds, word in STORED if of in kinds), None)
    return exp.DataType.build(word, dialect="duckdb") if word else exp.DataType(this=of)


def declaration(kind: exp.DataType) -> str:
    """How Snowflake writes this type in DESCRIBE TABLE."""
    of = kind.this
    sizes = [parameter.name for parameter in kind.expressions]
    if of in NESTED:
        return "OBJECT" if of in (TYPES.OBJECT, TYPES.STRUCT, TYPES.MAP) else of.value
    if of in TEXTUAL:
        default = "1" if of in (TYPES.CHAR, TYPES.NCHAR) else str(TEXT_LENGTH)
        return f"VARCHAR({sizes[0] if sizes else default})"
    if of in BINARY:
        return f"BINARY({sizes[0] if sizes else BINARY_LENGTH})"
    if of in INSTANTS:
        return f"TIMESTAMP_{'LTZ' if of == TYPES.TIMESTAMPLTZ else 'TZ'}({sizes[0] if sizes else 9})"
    if of in MOMENTS:
        return f"TIMESTAMP_NTZ({sizes[0] if sizes else 9})"
    return snowflake_type(stored_type(kind).sql("duckdb"))


def snowflake_type(stored: str) -> str:
    """How Snowflake writes a type of DuckDB's."""
    column = wire_column("", stored)
    match column.type:
        case "FIXED":
            return f"NUMBER({column.precision},{column.scale})"
        case "TEXT":
            return f"VARCHAR({TEXT_LENGTH})"
        case "BINARY":
            return f"BINARY({BINARY_LENGTH})"
        case "TIME" | "TIMESTAMP_NTZ" | "TIMESTAMP_LTZ":
            return f"{column.type}(9)"
    return SQL_WORDS.get(column.type, column.type)


def wire_column(name: str, stored: str, declared: str | None = None) -> Column:
    """A result column of one of DuckDB's types; `declared` is what the table's CREATE said, if it is a table's."""
    if declared is not None and (word := DECLARED.get(declared.split("(")[0])):
        return Column(name=name, type=word)
    if found := DECIMAL.fullmatch(stored):
        return Column(name=name, type="FIXED", precision=int(found[1]), scale=int(found[2]))
    if stored in DIGITS:
        return Column(name=name, type="FIXED", precision=DIGITS[stored], scale=0)
    if stored.endswith("]"):
        return Column(name=name, type="ARRAY")
    if stored.startswith(("STRUCT", "MAP")):
        return Column(name=name, type="OBJECT")
    length = LENGTH.fullmatch(declared or "")
    return Column(name=name, type=SIMPLE.get(stored, "TEXT"), length=int(length[1]) if length else None)


@dataclass(frozen=True, kw_only=True, slots=True)
class TableColumn:
    """A column of a table: DuckDB's type and what the CREATE said."""

    name: str
    stored: str
    nullable: bool = True
    default: str | None = None
    declared: str | None = None

    @property
    def type(self) -> str:
        """As DESCRIBE TABLE writes it."""
        return self.declared or snowflake_type(self.stored)
