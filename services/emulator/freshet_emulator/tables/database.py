"""The tables themselves: one SQLite file, one connection per session, so that transactions are real."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from freshet_emulator.errors import SqlError, compilation, unknown_statement
from freshet_emulator.results import Result, StatementType, encode, inferred, status
from freshet_emulator.tables.values import register_converters, to_stored

BUSY_SECONDS = 30.0
COUNTED = {
    "INSERT": (StatementType.INSERT, "inserted"),
    "REPLACE": (StatementType.INSERT, "inserted"),
    "UPDATE": (StatementType.UPDATE, "updated"),
    "DELETE": (StatementType.DELETE, "deleted"),
}
# Nothing to do, and no error: a BEGIN inside a transaction, a COMMIT or ROLLBACK outside.
TRANSACTIONS = {"BEGIN": True, "COMMIT": False, "ROLLBACK": False}
READING = ("SELECT", "WITH", "VALUES", "(")
DONE = {"CREATE": "successfully created", "DROP": "successfully dropped"}
NAMED = re.compile(r'(TABLE|VIEW)\s+(?:IF NOT EXISTS\s+|IF EXISTS\s+)?"([^"]+)"')
NO_TABLE = re.compile(r"no such (?:table|view): (.+)")
TAKEN = re.compile(r'(?:table|view) "?([^"]+?)"? already exists')
NO_COLUMN = re.compile(r"no such column: (.+)|has no column named (.+)")


class SessionTables:
    """The tables as one session sees them. Safe to call from any thread, one statement at a time."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(
            path,
            check_same_thread=False,
            isolation_level=None,
            timeout=BUSY_SECONDS,
            detect_types=sqlite3.PARSE_DECLTYPES,
        )
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute("PRAGMA temp_store = MEMORY")
        self._connection.create_function("PARSE_JSON", 1, lambda text: text, deterministic=True)
        self._connection.create_function("UUID_STRING", 0, lambda: str(uuid.uuid4()))

    @contextlib.contextmanager
    def statement(self) -> Iterator[StatementTables]:
        """What one statement may use; the tables made for it are gone afterwards."""
        with self._lock:
            used = StatementTables(self._connection)
            try:
                yield used
            finally:
                used.clear()

    def names(self) -> list[str]:
        """The full names of all tables, `DATABASE.SCHEMA.TABLE`."""
        with self._lock:
            found = self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
            return [name for (name,) in found]

    def close(self) -> None:
        """Roll back what is open and close."""
        with self._lock:
            self._connection.close()


class StatementTables:
    """Runs the SQLite statements that stand for one statement of the client."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._made: list[str] = []

    def materialize(self, result: Result) -> str:
        """Put a result into a table of its own; the name to select from."""
        name = f'temp."_{len(self._made)}"'
        declared = ", ".join(f'"{column.name}" {column.type}' for column in result.columns)
        self._connection.execute(f"CREATE TEMP TABLE {name.removeprefix('temp.')} ({declared})")
        self._made.append(name)
        kinds = [column.type for column in result.columns]
        rows = [[storable(value, kind) for value, kind in zip(row, kinds, strict=True)] for row in result.rows]
        marks = ", ".join("?" * len(kinds))
        self._connection.executemany(f"INSERT INTO {name} VALUES ({marks})", rows)  # noqa: S608 - the name is ours
        return name

    def clear(self) -> None:
        """Drop the tables made for this statement."""
        for name in self._made:
            self._connection.execute(f"DROP TABLE {name}")

    def run(self, sql: str, written: str, names: Mapping[str, str]) -> Result:
        """Run one SQLite statement. `written` is the client's text for messages; `names` renames result columns."""
        verb = sql.split(maxsplit=1)[0].upper()
        if TRANSACTIONS.get(verb) is self._connection.in_transaction:
            return status("Statement executed successfully.")
        try:
            cursor = self._connection.execute(sql)
            rows = cursor.fetchall() if cursor.description else []
        except sqlite3.Error as error:
            raise translated(error, written) from error
        if verb in COUNTED:
            return counted(verb, cursor.rowcount)
        if cursor.description is None:
            return status(report(sql, verb))
        return selected([names.get(entry[0], entry[0]) for entry in cursor.description], rows, verb)


def storable(value: Any, kind: str) -> Any:
    """A value of a result as a temporary table holds it."""
    return encode(value, kind) if kind == "VARIANT" else to_stored(value)


def counted(verb: str, rows: int) -> Result:
    """The answer of INSERT, UPDATE and DELETE."""
    statement_type, word = COUNTED[verb]
    columns = [inferred(f"number of rows {word}", [rows])]
    return Result(columns=columns, rows=[(rows,)], statement_type=statement_type)


def selected(names: Sequence[str], rows: list[tuple[Any, ...]], verb: str) -> Result:
    """The answer of a query, its types told from its values."""
    columns = [inferred(name, [row[at] for row in rows]) for at, name in enumerate(names)]
    kind = StatementType.SELECT if verb.startswith(READING) else StatementType.OTHER
    return Result(columns=columns, rows=rows, statement_type=kind)


def report(sql: str, verb: str) -> str:
    """The sentence of a statement that returns nothing."""
    found = NAMED.search(sql)
    if found and verb in DONE:
        name = found[2].rsplit(".", 1)[-1]
        subject = f"{found[1].capitalize()} {name}" if verb == "CREATE" else name
        return f"{subject} {DONE[verb]}."
    return "Statement executed successfully."


def translated(error: sqlite3.Error, written: str) -> SqlError:
    """SQLite's complaint as Snowflake's."""
    text = str(error)
    if found := NO_TABLE.search(text):
        return compilation(f"Object '{found[1]}' does not exist or not authorized.", code=2003, sqlstate="42S02")
    if found := TAKEN.search(text):
        return compilation(f"Object '{found[1]}' already exists.", code=2002, sqlstate="42710")
    if found := NO_COLUMN.search(text):
        return compilation(f"invalid identifier '{found[1] or found[2]}'", code=904)
    if isinstance(error, sqlite3.IntegrityError):
        return SqlError(100072, "22000", f"A constraint was violated: {text}")
    if "locked" in text:
        return SqlError(625, "57014", f"Statement aborted while waiting for a lock: {text}")
    return unknown_statement(written, f"its tables (SQLite) say: {text}")


class Tables:
    """All tables: a connection for each session that used them."""

    def __init__(self, path: Path) -> None:
        register_converters()
        self._path = path
        self._lock = threading.Lock()
        self._sessions: dict[int, SessionTables] = {}

    def of_session(self, session_id: int) -> SessionTables:
        """The session's connection, opened at the first call."""
        with self._lock:
            if session_id not in self._sessions:
                self._sessions[session_id] = SessionTables(self._path)
            return self._sessions[session_id]

    def leave(self, session_id: int) -> None:
        """Close the session's connection."""
        with self._lock:
            found = self._sessions.pop(session_id, None)
        if found is not None:
            found.close()

    def close(self) -> None:
        """Close all connections."""
        for session_id in list(self._sessions):
            self.leave(session_id)
