"""One connection to Snowflake, opened at the first statement and again after it was lost."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from freshet.domain.errors import FreshetError
from freshet.snowflake.errors import SESSION_ENDED, SnowflakeLoginRefusedError, SnowflakeUnreachableError, classify
from freshet.snowflake.rows import Row
from freshet.snowflake.settings import SnowflakeSettings

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection

Parameters = Sequence[Any] | dict[str, Any] | None
Found = TypeVar("Found")
#: The connector's codes of VARIANT, OBJECT and ARRAY, which arrive as JSON text.
SEMI_STRUCTURED = frozenset({5, 9, 10})
#: Rows that are fetched at a time.
PORTION = 500

log = structlog.get_logger()


class SnowflakeSession:
    """Runs statements, one at a time: a lock makes it safe to share between threads, not between processes.

    A thread that must not wait for another one's long statement takes a session of its own. A statement refused
    because the session had ended is run again in a new one, which is safe: it never ran. After a network error
    nobody knows whether it ran, so that is the caller's to decide; the next statement connects anew.
    """

    def __init__(self, settings: SnowflakeSettings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._connection: SnowflakeConnection | None = None

    def execute(self, sql: str, parameters: Parameters = None) -> list[Row]:
        """All rows of one statement, by lower-case column name.

        `parameters` are bound by the client (`%s` or `%(name)s`); without them a `%` is just a `%`.
        Raises SnowflakeRefusedError and its kind, or SnowflakeUnreachableError.
        """

        def read(connection: SnowflakeConnection) -> list[Row]:
            found: list[Row] = []
            _read(connection, sql, parameters, found.append)
            return found

        return self._attempt(read)

    def each(self, sql: str, take: Callable[[Row], bool]) -> None:
        """Hand the rows of one statement to `take`, by lower-case column name, as long as it answers true.

        Not more than a part of them is in memory at a time. Raises what `execute` raises.
        """
        self._attempt(lambda connection: _read(connection, sql, None, lambda row: not take(row)))

    def execute_all(self, statements: Sequence[str], values: Sequence[str]) -> None:
        """Several statements in one request; `values` are bound by the server, one for each `?`. Raises as `execute`.

        A transaction in there is whole or not at all, unless one of its statements fails: then it is open until the
        session ends.
        """
        self._attempt(lambda connection: _run_all(connection, statements, values))

    def start(self, sql: str, *, several: bool = False) -> str:
        """Start a query in the background; its id. `several` statements are queries of their own, and children of it.

        Raises as `execute` does; what is wrong with the statement shows when the query is asked for.
        """
        return self._attempt(lambda connection: _started(connection, sql, several=several))

    def rows(self, query_id: str, *, limit: int) -> tuple[list[Row], bool]:
        """The rows of a query that succeeded, by column name (small letters unless quoted), and whether these are all.

        Rows are read until they have about `limit` bytes. Semi-structured values are read, binary ones are
        hexadecimal text. Raises as `execute` does.
        """
        return self._attempt(lambda connection: _rows_of(connection, query_id, limit))

    def close(self) -> None:
        """Log out, if connected. The session may be used again afterwards."""
        with self._lock:
            self._drop()

    def _attempt(self, work: Callable[[SnowflakeConnection], Found]) -> Found:
        with self._lock:
            try:
                return self._run(work)
            except SnowflakeUnreachableError as error:
                self._drop()
                if error.errno not in SESSION_ENDED:
                    raise
            log.info("snowflake_session_ended", message="The session had ended; a new one is opened.")
            return self._run(work)

    def _run(self, work: Callable[[SnowflakeConnection], Found]) -> Found:
        connection = self._connect()
        from snowflake.connector.errors import Error

        try:
            return work(connection)
        except Error as error:
            raise classify(error) from error

    def _connect(self) -> SnowflakeConnection:
        if self._connection is not None:
            return self._connection
        # Here, because it takes half a second and most processes never need it.
        from snowflake import connector
        from snowflake.connector.errors import Error

        try:
            arguments = self.settings.connect_arguments(connector.__version__)
        except OSError as error:
            sentence = f"FRESHET_SNOWFLAKE_TOKEN_FILE_PATH names a file that can't be read: {error}."
            raise SnowflakeLoginRefusedError(sentence) from error
        try:
            self._connection = connector.connect(**arguments)
        except Error as error:
            raise self._explained(classify(error)) from error
        return self._connection

    def _explained(self, error: FreshetError) -> FreshetError:
        """A refused login says who was refused, and which settings say so."""
        if not isinstance(error, SnowflakeLoginRefusedError):
            return error
        who, reason = self.settings.user or "the token's user", " ".join(error.message.split())
        sentence = f"Snowflake refuses the login of {who}: check FRESHET_SNOWFLAKE_USER and its credentials ({reason})."
        return SnowflakeLoginRefusedError(sentence, errno=error.errno, sqlstate=error.sqlstate)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        # The logout is a courtesy: on a dead network or in an ended session it fails, and nothing is lost by that.
        with contextlib.suppress(Exception):
            connection.close(retry=False)


def _read(connection: SnowflakeConnection, sql: str, parameters: Parameters, take: Callable[[Row], object]) -> None:
    """`take` ends the reading by answering something true."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        names = [str(column[0]).lower() for column in cursor.description or ()]
        while rows := cursor.fetchmany(PORTION):
            for row in rows:
                if take(dict(zip(names, row, strict=True))):
                    return


def _run_all(connection: SnowflakeConnection, statements: Sequence[str], values: Sequence[str]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(";\n".join(statements), values, num_statements=len(statements))


def _started(connection: SnowflakeConnection, sql: str, *, several: bool) -> str:
    with connection.cursor() as cursor:
        # 0: as many as Snowflake finds, which parts the text better than any client does.
        options: dict[str, Any] = {"num_statements": 0} if several else {}
        cursor.execute_async(sql, **options)
        return str(cursor.sfqid)


def _rows_of(connection: SnowflakeConnection, query_id: str, limit: int) -> tuple[list[Row], bool]:
    with connection.cursor() as cursor:
        cursor.get_results_from_sfqid(query_id)
        portion: list[Any] = list(cursor.fetchmany(PORTION))
        columns = [(_name(str(column[0])), column[1]) for column in cursor.description or ()]
        found: list[Row] = []
        while portion and limit >= 0:
            rows = [_row(columns, row) for row in portion]
            found += rows
            limit -= len(json.dumps(rows, default=str))
            portion = list(cursor.fetchmany(PORTION))
        return found, not portion


def _row(columns: Sequence[tuple[str, int]], row: Sequence[Any]) -> Row:
    return {name: _plain(value, code) for (name, code), value in zip(columns, row, strict=True)}


def _name(name: str) -> str:
    """A name that was not quoted is in capitals; in small letters it reads as it was written, most likely."""
    return name.lower() if name == name.upper() else name


def _plain(value: Any, code: int) -> Any:
    if code in SEMI_STRUCTURED and isinstance(value, str):
        return None if value == "undefined" else json.loads(value)
    return bytes(value).hex().upper() if isinstance(value, bytes | bytearray) else value
