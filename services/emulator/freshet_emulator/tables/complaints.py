"""DuckDB's complaints as Snowflake's errors."""

from __future__ import annotations

import re
from collections.abc import Callable

from freshet_emulator.errors import SqlError, compilation, missing, shorten, taken, unknown_statement
from freshet_emulator.tables.names import split_schema

NAME = r'"?(?P<name>(?:[^"\n!]|"")+?)"?'
NULL_IN = re.compile(r"NOT NULL constraint failed: (?:.*\.)?(?P<name>[^.\n]+)")
LINE = re.compile(r"\n\s*\n?LINE \d+:.*", re.DOTALL)


def plain_name(text: str) -> str:
    """A name as the client knows it."""
    database, schema = split_schema(text)
    return f"{database}.{schema}" if schema else database


def invalid_identifier(name: str) -> SqlError:
    """A column that is not there."""
    return compilation(f"error line 1 at position 0\ninvalid identifier '{name}'", code=904)


def unknown_function(name: str) -> SqlError:
    """A function that is not there."""
    return compilation(f"Unknown function {name.upper()}", code=2140, sqlstate="42601")


def no_object(name: str) -> SqlError:
    """A table or view that is not there."""
    return compilation(f"Object '{name}' does not exist or not authorized.", code=2003, sqlstate="42S02")


def ambiguous(name: str) -> SqlError:
    """A column that two tables have."""
    return compilation(f"ambiguous column name '{name}'", code=1052, sqlstate="42601")


COMPLAINTS: tuple[tuple[re.Pattern[str], Callable[[str], SqlError]], ...] = (
    (re.compile(rf"(?:Table|View) with name {NAME} does not exist"), no_object),
    (re.compile(rf"Schema with name {NAME} does not exist"), lambda name: missing("Schema", plain_name(name))),
    (re.compile(rf"Sequence with name {NAME} does not exist"), lambda name: missing("Sequence", name)),
    (re.compile(rf"(?:Table|View|Sequence) with name {NAME} already exists"), taken),
    (re.compile(rf"Existing object {NAME} is of type"), taken),
    (re.compile(rf"Referenced column {NAME} (?:was )?not found"), invalid_identifier),
    (re.compile(rf"Referenced table {NAME} not found"), invalid_identifier),
    (re.compile(rf"does not have a column (?:named|with name) {NAME}(?:$|\s|!)"), invalid_identifier),
    (re.compile(rf"Column {NAME} (?:does not exist|not found)"), invalid_identifier),
    (re.compile(rf"Ambiguous reference to column name {NAME}"), ambiguous),
    (re.compile(rf"Function with name {NAME} does not exist"), unknown_function),
    (NULL_IN, lambda name: SqlError(100072, "22000", f"NULL result in a non-nullable column: {name}")),
)
CONVERSION = re.compile(r"Could not convert string ['\"](?P<value>.*?)['\"] to (?P<type>[^\n]+)", re.DOTALL)
FORMATS = (("timestamp", 100035, "Timestamp"), ("date", 100040, "Date"), ("time", 100096, "Time"))
FORMATTED = re.compile(
    r"invalid (timestamp|date|time) (?:field format|string)[^\"]*\"(?P<value>[^\"]*)\"", re.IGNORECASE
)


def translated(text: str, written: str) -> SqlError:
    """The error for what DuckDB said about a statement."""
    for pattern, make in COMPLAINTS:
        if found := pattern.search(text):
            return make(found["name"].rsplit('"."', 1)[-1])
    return converted(text) or ranged(text) or refused(text, written)


def converted(text: str) -> SqlError | None:
    """A value that does not fit its type."""
    if found := FORMATTED.search(text):
        kind, code, word = next(entry for entry in FORMATS if entry[0] == found[1].lower())
        return SqlError(code, "22007", f"{word} '{found['value']}' is not recognized")
    found = CONVERSION.search(text)
    if found is None:
        return None
    value, kind = found["value"], found["type"]
    if "INT" in kind or "DECIMAL" in kind or "DOUBLE" in kind:
        return SqlError(100038, "22018", f"Numeric value '{value}' is not recognized")
    if kind.startswith("BOOL"):
        return SqlError(100037, "22018", f"Boolean value '{value}' is not recognized")
    return SqlError(100035, "22007", f"Timestamp '{value}' is not recognized")


def ranged(text: str) -> SqlError | None:
    """Numbers out of range, a division by zero, JSON that is none."""
    if "Division by zero" in text:
        return SqlError(100051, "22012", "Division by zero")
    if "Malformed JSON" in text:
        return SqlError(100069, "22P02", f"Error parsing JSON: {LINE.sub('', text)}")
    if "out of range" in text or "Out of Range" in text or "Overflow" in text:
        return SqlError(100039, "22003", f"Numeric value is out of range: {LINE.sub('', text)}")
    if "value count mismatch" in text or "columns but" in text:
        return compilation("Insert value list does not match column list", code=2020, sqlstate="21S01")
    return None


def refused(text: str, written: str) -> SqlError:
    """What is left."""
    if text.startswith("Parser Error"):
        return unknown_statement(written, f"its tables (DuckDB) say: {LINE.sub('', text)}")
    if "must appear in the GROUP BY" in text:
        return compilation(LINE.sub("", text), code=979, sqlstate="42601")
    if text.startswith("Binder Error"):
        return compilation(f"{LINE.sub('', text)}\nStatement: {shorten(written)}", code=1044, sqlstate="42P13")
    if text.startswith(("TransactionContext Error", "Transaction")):
        return SqlError(625, "57014", f"Statement aborted while waiting for a lock: {LINE.sub('', text)}")
    return SqlError(100183, "P0000", LINE.sub("", text))
