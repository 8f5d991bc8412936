"""Sessions of the engine's own role, and the one place that turns driver errors into ours.

Purpose: a small pool of sessions that reconnect by themselves, set up for the engine: autocommit, UTC, JSON by
orjson. Guarantees: an error that leaves here is of Freshet's family; a broken session is replaced, not reused; a
transaction either commits as a whole or leaves nothing. Never: a connection before the first use, or one that is
shared with user code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, LiteralString

import orjson
import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import set_json_dumps, set_json_loads
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from freshet.domain.errors import ClaimLostError, FreshetError, TransactionEndedError, UnreachableError
from freshet.storage.statements import statement

Row = dict[str, Any]
Session = psycopg.Connection[Row]

#: Seconds to wait for a free or fresh session before saying that Postgres can't be reached.
CONNECT_TIMEOUT = 5.0

#: A server that vanishes without a word (its machine or the network is gone) leaves a session that waits for an answer
#: waiting: for two hours and more by the kernel's defaults, and with it the claim in that worker's hands. Seconds,
#: and milliseconds for the last; libpq ignores them on Unix sockets.
KEEPALIVE: dict[str, Any] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


class DataError(FreshetError):
    """Postgres refused the data (SQLSTATE classes 22 and 23): this row is bad, the server is fine."""


class StatementError(FreshetError):
    """Postgres refused a statement."""


class Database:
    """Postgres as the engine sees it. Safe to share between threads; connects at first use."""

    def __init__(self, url: str, *, name: str, sessions: int = 2, options: str = "") -> None:
        """`name` shows in pg_stat_activity; `options` are libpq options such as `-c lock_timeout=1s`."""
        self.url = url
        self.name = name
        self._options = options
        self._sessions = sessions
        self._pool: ConnectionPool[Session] | None = None

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session in autocommit. Raises UnreachableError, DataError, StatementError, ClaimLostError."""
        with translated(), self._opened().connection(timeout=CONNECT_TIMEOUT) as session:
            yield session

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session inside one transaction, committed at the end and rolled back on any exception."""
        with self.session() as session, session.transaction():
            yield session

    def rows(self, name: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        """Run a named statement on its own and return its rows."""
        with self.session() as session:
            return session.execute(statement(name), parameters or {}).fetchall()

    def row(self, name: str, parameters: Mapping[str, Any] | None = None) -> Row | None:
        """Run a named statement on its own and return its first row, if any."""
        with self.session() as session:
            return session.execute(statement(name), parameters or {}).fetchone()

    def run(self, name: str, parameters: Mapping[str, Any] | None = None) -> int:
        """Run a named statement on its own and return how many rows it touched."""
        with self.session() as session:
            return session.execute(statement(name), parameters or {}).rowcount

    def dedicated(self) -> Session:
        """A session outside the pool, in autocommit, for locks that live as long as their holder."""
        with translated():
            return connect(self.url, name=self.name, options=self._options)

    @contextmanager
    def using(self, session: Session) -> Iterator[Session]:
        """A dedicated session, with its errors translated; it is closed when the server can't be reached."""
        try:
            with translated():
                yield session
        except UnreachableError:
            session.close()
            raise

    @staticmethod
    def alive(session: Session) -> bool:
        """Whether a dedicated session is still there, as far as its socket tells: no round trip."""
        try:
            check_alive(session)
        except psycopg.Error:
            session.close()
        return not session.closed

    def close(self) -> None:
        """End every session. The database may be used again afterwards."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _opened(self) -> ConnectionPool[Session]:
        if self._pool is None:
            self._pool = ConnectionPool(
                self.url,
                min_size=0,
                max_size=self._sessions,
                open=True,
                max_idle=3600,
                reconnect_timeout=CONNECT_TIMEOUT,
                configure=configure,
                check=check_alive,
                kwargs=_arguments(self.name, self._options),
                connection_class=psycopg.Connection[Row],
            )
        return self._pool


def connect(url: str, *, name: str, options: str = "") -> Session:
    """One session of its own, configured like the pool's."""
    session: Session = psycopg.Connection[Row].connect(url, **_arguments(name, options))
    configure(session)
    return session


def configure(session: Session) -> None:
    """JSON by orjson: jsonb arrives as Python values, and NaN can't be written by accident (it is checked before)."""
    set_json_dumps(orjson.dumps, session)
    set_json_loads(orjson.loads, session)


def check_alive(session: Session) -> None:
    """Find a session that the server has ended, without a round trip: a healthy idle socket has nothing to read."""
    session.pgconn.consume_input()


@contextmanager
def translated() -> Iterator[None]:
    """Driver errors become Freshet's: what to retry, what to park, who has lost."""
    try:
        yield
    except (PoolTimeout, PoolClosed) as error:
        raise UnreachableError(f"Postgres can't be reached: {_sentence(error)}") from error
    except psycopg.Error as error:
        raise _translation(error) from error


def _translation(error: psycopg.Error) -> FreshetError:
    state = error.sqlstate or ""
    # psycopg files states that it does not know, ours among them, under OperationalError.
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and state[:2] != "FR":
        return UnreachableError(f"Postgres can't be reached: {_sentence(error)}")
    return _refusal(error, state)


def _refusal(error: psycopg.Error, state: str) -> FreshetError:
    if state == "FR001":
        return ClaimLostError()
    if state == "FR002":
        return TransactionEndedError()
    if state[:2] in {"22", "23"}:
        return DataError(_sentence(error))
    return StatementError(f"{_sentence(error)} ({state})")


def _sentence(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _arguments(name: str, options: str) -> dict[str, Any]:
    # Compiling a plan takes a hundred times as long as running any of ours; a forbidden scan in it looks costly enough.
    settings: LiteralString = "-c timezone=UTC -c jit=off"
    return {
        "autocommit": True,
        "row_factory": dict_row,
        "application_name": f"freshet {name}",
        "options": f"{settings} {options}".strip(),
        "prepare_threshold": 3,
        # A pulse that waits two minutes for a lost SYN is a worker without a heartbeat.
        "connect_timeout": int(CONNECT_TIMEOUT),
        **KEEPALIVE,
    }
