"""One connection to Snowflake, opened at the first statement and again after it was lost."""

from __future__ import annotations

import contextlib
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
Answer = TypeVar("Answer")

#: Rows that are fetched at a time.
ROWS = 1000

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

        def run() -> list[Row]:
            found: list[Row] = []
            self._run(sql, parameters, found.append)
            return found

        return self._anew(run)

    def each(self, sql: str, take: Callable[[Row], bool]) -> None:
        """Hand the rows of one statement to `take`, by lower-case column name, as long as it answers true.

        Not more than a part of them is in memory at a time. Raises what `execute` raises.
        """
        self._anew(lambda: self._run(sql, None, lambda row: not take(row)))

    def close(self) -> None:
        """Log out, if connected. The session may be used again afterwards."""
        with self._lock:
            self._drop()

    def _anew(self, run: Callable[[], Answer]) -> Answer:
        """Run a statement, once more if the session had ended: then it has not been run, and no row was handed out."""
        with self._lock:
            try:
                return run()
            except SnowflakeUnreachableError as error:
                self._drop()
                if error.errno not in SESSION_ENDED:
                    raise
            log.info("snowflake_session_ended", sentence="The session had ended; a new one is opened.")
            return run()

    def _run(self, sql: str, parameters: Parameters, take: Callable[[Row], object]) -> None:
        """`take` ends the reading by answering something true."""
        connection = self._connect()
        from snowflake.connector.errors import Error

        try:
            with connection.cursor() as cursor:
                cursor.execute(sql, parameters)
                names = [str(column[0]).lower() for column in cursor.description or ()]
                while rows := cursor.fetchmany(ROWS):
                    for row in rows:
                        if take(dict(zip(names, row, strict=True))):
                            return
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
