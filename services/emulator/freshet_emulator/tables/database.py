"""The tables: one DuckDB, opened at the first statement that needs it, and a connection for each session.

Guarantees: a failed statement leaves an open transaction as it was (DuckDB would give it up: what it had done is done
again); a definition commits first; UPDATE, DELETE and MERGE lock their tables until the transaction ends. DuckDB
reaches no file and no network for a statement.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from freshet_emulator.errors import SqlError
from freshet_emulator.sql.names import FullName
from freshet_emulator.tables.locks import TableLocks

if TYPE_CHECKING:
    import duckdb

    from freshet_emulator.tables.plans import Plan

# How long a statement waits for others that change the same rows (seconds).
PATIENCE = 30.0
PAUSE = 0.01
CONFLICTS = ("onflict", "concurrent transaction")
# DuckDB reads no offset without a colon: where it complains, literals get one.
NO_ZONE = "Unknown TimeZone"
OFFSET = re.compile(r"'(\d{4}-\d\d?-\d\d?[ T][\d:.]+) ?([+-]\d\d):?(\d\d)'")
SETTINGS: Mapping[str, Any] = {"threads": 2, "memory_limit": "1GB", "autoinstall_known_extensions": "false"}


class Tables:
    """All tables: a connection for each session that used them. Safe to call from any thread."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._locks = TableLocks(PATIENCE)
        self._database: duckdb.DuckDBPyConnection | None = None
        self._sessions: dict[int, SessionTables] = {}

    def of_session(self, session_id: int) -> SessionTables:
        """The session's connection, opened at the first call."""
        with self._lock:
            if session_id not in self._sessions:
                self._sessions[session_id] = SessionTables(session_id, self._open().cursor(), self._locks)
            return self._sessions[session_id]

    def drop_schema(self, database: str, schema: str) -> None:
        """Forget all tables of a schema; nothing happens if it has none."""
        from freshet_emulator.tables.names import quoted, stored_schema

        with self._lock:
            name = quoted(stored_schema(database, schema))
            self._open().cursor().execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")

    def interrupt(self, session_id: int, query_id: str) -> None:
        """Stop what a query runs here; nothing happens if it does not run here."""
        with self._lock:
            found = self._sessions.get(session_id)
        if found is not None:
            found.interrupt(query_id)

    def leave(self, session_id: int) -> None:
        """Close the session's connection; what it has not committed is rolled back."""
        with self._lock:
            found = self._sessions.pop(session_id, None)
        if found is not None:
            found.close()

    def close(self) -> None:
        """Close all connections."""
        for session_id in list(self._sessions):
            self.leave(session_id)
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def _open(self) -> duckdb.DuckDBPyConnection:
        if self._database is None:
            self._database = open_database(self._path)
        return self._database


def open_database(path: Path | None) -> duckdb.DuckDBPyConnection:
    """A database with our macros in it, shut off from the rest of the machine."""
    import duckdb

    from freshet_emulator.tables.functions import MACROS

    database = duckdb.connect(str(path) if path else ":memory:", config=dict(SETTINGS))
    database.execute("SET enable_external_access = false")
    database.execute("SET python_enable_replacements = false")
    for macro in MACROS:
        database.execute(f"CREATE OR REPLACE MACRO {macro}")
    return database


class SessionTables:
    """The tables as one session sees them. Safe to call from any thread, one statement at a time."""

    def __init__(self, session_id: int, connection: duckdb.DuckDBPyConnection, locks: TableLocks) -> None:
        self._id = session_id
        self._lock = threading.RLock()
        self._connection = connection
        self._locks = locks
        self._zone = ""
        self._running = ""
        self._journal: list[str] | None = None
        self.temporary: set[FullName] = set()

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._journal is not None

    @contextlib.contextmanager
    def statement(self, query_id: str, time_zone: str) -> Iterator[SessionTables]:
        """Keep other statements of the session out, with this time zone set."""
        with self._lock:
            if time_zone != self._zone:
                self.set_zone(time_zone)
            self._running = query_id
            try:
                yield self
            finally:
                self._running = ""

    def interrupt(self, query_id: str) -> None:
        """Stop a statement that runs."""
        if self._running == query_id:
            self._connection.interrupt()

    def set_zone(self, time_zone: str) -> None:
        """The zone that instants are read and written in. Raises SqlError for one that is none."""
        import duckdb

        doubled = time_zone.replace("'", "''")
        try:
            self._connection.execute(f"SET TimeZone = '{doubled}'")
        except duckdb.Error as error:
            raise SqlError(1008, "22023", f"invalid value '{time_zone}' for parameter 'TIMEZONE'") from error
        self._zone = time_zone

    def begin(self) -> None:
        """Open a transaction; nothing happens inside one."""
        if self._journal is None:
            self._connection.execute("BEGIN")
            self._journal = []

    def commit(self) -> None:
        """Keep what the transaction did; nothing happens outside one."""
        self._finish("COMMIT")

    def rollback(self) -> None:
        """Forget what the transaction did; nothing happens outside one."""
        self._finish("ROLLBACK")

    def _finish(self, word: str) -> None:
        import duckdb

        if self._journal is None:
            return
        self._journal = None
        try:
            self._connection.execute(word)
        except duckdb.Error as error:
            raise SqlError(625, "57014", f"Statement aborted while waiting for a lock: {error}") from error
        finally:
            self._locks.release(self._id)

    def run(self, plan: Plan) -> tuple[list[tuple[str, str]], list[tuple[Any, ...]]]:
        """Columns (name and type) and rows of the last step. Raises SqlError, translated."""
        from freshet_emulator.tables.plans import CHANGES, LOCKING, Work

        if plan.work is Work.DEFINITION:
            self.commit()
        if plan.work in LOCKING:
            self._locks.acquire(self._id, plan.tables)
        try:
            answer = self._steps(plan.steps, atomic=len(plan.steps) > 1 or plan.work in CHANGES)
        finally:
            if self._journal is None:
                self._locks.release(self._id)
        if self._journal is not None and plan.work in CHANGES:
            self._journal += plan.steps
        return answer

    def _steps(self, steps: Sequence[str], *, atomic: bool) -> tuple[list[tuple[str, str]], list[tuple[Any, ...]]]:
        """Run steps, outside a transaction in one of their own, again and again while others are in the way."""
        import duckdb

        from freshet_emulator.tables.complaints import translated

        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return self._attempt(steps, atomic=atomic and self._journal is None)
            except duckdb.Error as error:
                self._recover()
                text = str(error)
                colons = [OFFSET.sub(r"'\1\2:\3'", step) for step in steps] if NO_ZONE in text else steps
                if colons != steps:
                    steps = colons
                    continue
                blocked = any(word in text for word in CONFLICTS) and self._journal is None
                if not blocked or time.monotonic() > deadline:
                    raise translated(text, steps[-1]) from error
                time.sleep(PAUSE)

    def _attempt(self, steps: Sequence[str], *, atomic: bool) -> tuple[list[tuple[str, str]], list[tuple[Any, ...]]]:
        if atomic:
            self._connection.execute("BEGIN")
        found: tuple[list[tuple[str, str]], list[tuple[Any, ...]]] = ([], [])
        for step in steps:
            self._connection.execute(step)
            described = self._connection.description or []
            found = ([(str(entry[0]), str(entry[1])) for entry in described], self._connection.fetchall())
        if atomic:
            self._connection.execute("COMMIT")
        return found

    def _recover(self) -> None:
        """After an error: out of a transaction of its own, or back to where the client's was before it."""
        import duckdb

        with contextlib.suppress(duckdb.Error):
            self._connection.execute("ROLLBACK")
        if self._journal is not None:
            self._connection.execute("BEGIN")
            for step in self._journal:
                self._connection.execute(step)

    def ask(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a question of our own. Raises SqlError, translated."""
        import duckdb

        from freshet_emulator.tables.complaints import translated

        try:
            return self._connection.execute(sql, list(values)).fetchall()
        except duckdb.Error as error:
            self._recover()
            raise translated(str(error), sql) from error

    def describe(self, sql: str) -> list[str]:
        """The types of a query's columns; empty if it can't be run."""
        import duckdb

        try:
            return [str(entry[1]) for entry in self._connection.execute(sql).description or []]
        except duckdb.Error:
            self._recover()
            return []

    def close(self) -> None:
        """Roll back what is open and close."""
        with self._lock:
            self._journal = None
            self._connection.close()
            self._locks.release(self._id)
