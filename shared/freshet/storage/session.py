"""The session of user code: `context.connection`.

Purpose: a psycopg connection on which a process simply writes; Freshet begins, fences and commits. Guarantees: the
transaction begins with the first statement, never earlier; it ends with one round trip that holds fence, report and
COMMIT, so that no pause can fall between them; commit, rollback and close are refused; a transaction that was ended
all the same is noticed right after the statement, and nothing runs after it; an item that shares a transaction can be
taken back alone if its turn says so; the session is reset between items.
Never: rights in the engine's schema beyond its finish and its rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, Self
from uuid import UUID

import psycopg
from psycopg import pq
from psycopg.abc import PQGen
from psycopg.rows import tuple_row

from freshet.domain.errors import ClaimLostError, FreshetError, TransactionEndedError, UnreachableError
from freshet.storage.database import KEEPALIVE, translated
from freshet.storage.statements import statement

ROLE = "freshet_process"

#: What a session may carry from one item to the next: nothing. DISCARD ALL would do, but it can't share a round trip
#: with the COMMIT before it, and it throws away the plans of our own functions.
_RESET = (
    b"SET SESSION AUTHORIZATION DEFAULT; RESET ALL; CLOSE ALL; UNLISTEN *; DEALLOCATE ALL;"
    b" SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES"
)
#: Where an item begins in a transaction that it shares.
_SAVEPOINT = "freshet_item"
#: Items that share a transaction mostly send the same statement: it is prepared after so many. What is prepared does
#: not outlive the transaction, so for an item alone it would be a loss.
_PREPARED_AFTER = 2
#: A dead worker's long statement would else keep its locks; time in UTC as everywhere.
_OPTIONS = f"-c timezone=UTC -c client_connection_check_interval=1s -c role={ROLE}"

_WENT_ON = (
    "A statement on context.connection failed and the process went on: Postgres had rolled back its"
    " transaction by then. Let the error go, or put the statement into `with connection.transaction()`."
)

#: How SQLSTATEs begin that say nothing about what the process wrote: connection, full disk or memory, shutdown, system.
_SERVERS_OWN = ("08", "53", "57P", "58")


class TransactionOwnedError(FreshetError):
    """Freshet owns the transaction of context.connection."""


class FinishRefusedError(FreshetError):
    """Postgres refused to commit what the process has written."""


class InseparableError(FreshetError):
    """An item has failed in a transaction that it shares, and can't be taken back alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One item's right to the session."""

    bundle: int
    claim: UUID
    #: Called before the transaction begins: the report of earlier items must be committed first.
    before_begin: Callable[[], None]
    #: The transaction goes on after this item, with the next one's.
    shared: bool = False
    #: In a shared transaction, the item can be taken back alone: that costs two round trips.
    savepoint: bool = False


class ProcessConnection(psycopg.Connection[Any]):
    """What user code gets: all of psycopg's connection, except for ending the transaction."""

    #: Whose turn it is; without one, every statement is refused.
    turn: Turn | None = None
    begun: bool = False
    ended: bool = False
    #: Whether the item whose turn it is has sent a statement.
    entered: bool = False

    # Every way to a statement (execute, executemany, stream, copy, named cursors, pipeline, transaction()) goes
    # through here, so this is where the transaction begins and where its unwanted end is seen.
    def wait(self, gen: PQGen[Any], *args: Any, **kwargs: Any) -> Any:
        """Run one exchange with the server inside the item's transaction."""
        self._require_transaction()
        try:
            return super().wait(gen, *args, **kwargs)
        finally:
            self.ended = self.ended or self.pgconn.transaction_status == pq.TransactionStatus.IDLE
            if self.ended:
                self._refuse_ended()

    def commit(self) -> NoReturn:
        """Refused."""
        raise TransactionOwnedError(_refusal("commit()"))

    def rollback(self) -> NoReturn:
        """Refused."""
        raise TransactionOwnedError(_refusal("rollback()"))

    def close(self) -> None:
        """Refused while an item has its turn."""
        if self.turn is not None:
            raise TransactionOwnedError(_refusal("close()"))
        super().close()

    def __enter__(self) -> Self:
        raise TransactionOwnedError(_refusal("`with context.connection:`"))

    def forget_statements(self) -> None:
        """The reset has deallocated what was prepared; psycopg learns of it in no public way without a round trip."""
        self._prepared = type(self._prepared)()

    def _require_transaction(self) -> None:
        if self.turn is None:
            raise TransactionOwnedError("context.connection belongs to its item, and that item has ended.")
        if self.ended:
            self._refuse_ended()
        if not self.entered:
            self._enter(self.turn)

    def _enter(self, turn: Turn) -> None:
        if not self.begun:
            turn.before_begin()
        # SET, not set_config: it takes no snapshot, so SET TRANSACTION ISOLATION LEVEL is still possible after it.
        begin = [] if self.begun else [f"BEGIN; SET LOCAL freshet.claim = '{turn.claim}'"]
        if turn.shared and not self.begun:
            begin.append(f"SET LOCAL application_name = '{_mark(turn)}'")
        if turn.savepoint or (turn.shared and not self.begun):
            begin.append(f"SAVEPOINT {_SAVEPOINT}")
        if text := "; ".join(begin):
            result = self.pgconn.exec_(text.encode())
            if result.status != pq.ExecStatus.COMMAND_OK:
                raise psycopg.OperationalError(f"the transaction could not begin: {_message(result)}")
        self.begun = self.entered = True

    def _refuse_ended(self) -> NoReturn:
        raise TransactionEndedError(
            "The process ended the transaction of context.connection by a statement of its own (COMMIT, ROLLBACK or"
            " the like). What it committed stays, and the item is not tried again. Leave BEGIN and COMMIT to Freshet;"
            " use connection.transaction() for savepoints."
        )


class ProcessSession:
    """Opens the connection when it is first asked for, keeps it warm, and ends the items' transactions."""

    def __init__(self, url: str) -> None:
        """`url`: of the role of user code, or of the engine, whose role may become it. Connects at first use."""
        self._url = url
        self._connection: ProcessConnection | None = None
        self._turn: Turn | None = None
        self._sharing: Turn | None = None  # the last item that left its writes in a transaction that goes on

    def open_turn(self, turn: Turn) -> None:
        """It is this item's turn from now on."""
        self._turn = turn

    @property
    def connection(self) -> ProcessConnection:
        """The connection of the item whose turn it is. Raises UnreachableError."""
        if self._turn is None:
            raise TransactionOwnedError("context.connection belongs to its item, and that item has ended.")
        connection = self._connection
        if connection is None or (not connection.begun and _has_ended(connection)):
            self._drop()
            connection = self._connection = self._connect()
        connection.turn = self._turn
        connection.prepare_threshold = _PREPARED_AFTER if self._turn.shared else None
        return connection

    @property
    def begun(self) -> bool:
        """Whether a transaction is open: of the item, or of one before it that shares it."""
        return self._connection is not None and self._connection.begun

    @property
    def lost(self) -> bool:
        """Whether the server went away in the middle of the item's transaction."""
        return self._connection is not None and self._connection.begun and self._connection.broken

    @property
    def ended(self) -> bool:
        """Whether user code has ended the transaction."""
        return self._connection is not None and self._connection.ended

    def put_values(self, item: int, first: int, values: bytes) -> None:
        """Write yielded values (a JSON array) as rows, in the item's transaction."""
        connection = self.connection
        assert connection.turn is not None  # the property has just given it
        with translated():
            psycopg.Cursor(connection, row_factory=tuple_row).execute(
                statement("ValuesPut"),
                {
                    "bundle": connection.turn.bundle,
                    "claim": connection.turn.claim,
                    "item": item,
                    "first": first,
                    "values": values.decode(),
                },
            )

    def leave(self, *, keep: bool) -> None:
        """The item's turn is over, the transaction goes on: what the item wrote stays in it, or is taken back.

        Raises FinishRefusedError when it can't stay, InseparableError when it can't be taken back alone (then abandon
        all of it); TransactionEndedError and UnreachableError concern all that share.
        """
        connection, turn = self._connection, self._turn
        self._sharing, self._turn = turn, None
        if connection is None or turn is None or not connection.entered:
            return
        failed = connection.pgconn.transaction_status == pq.TransactionStatus.INERROR
        if keep and not failed and not turn.savepoint:
            if not self._is_ours(connection, turn):
                raise TransactionEndedError
            _forget(connection)
            return
        # A savepoint that is not there any more: the item has ended the transaction and begun another one.
        back = b"" if keep and not failed else b"ROLLBACK TO %b; " % _SAVEPOINT.encode()
        results = _exchange(connection.pgconn, back + b"RELEASE %b" % _SAVEPOINT.encode())
        refused = next((each for each in results if each.status == pq.ExecStatus.FATAL_ERROR), None)
        _forget(connection)
        if not results or connection.broken:
            raise UnreachableError("Postgres went away while the item ran.")
        if refused is not None:
            raise TransactionEndedError
        if not turn.savepoint:
            raise InseparableError(_WENT_ON)
        if keep and failed:
            raise FinishRefusedError(_WENT_ON)

    def _is_ours(self, connection: ProcessConnection, turn: Turn) -> bool:
        """Whether the transaction is the one that was begun for the bundle: another one that the item began has lost
        what was set for that one alone, and the server tells by itself. Only when it does, it is asked.
        """
        if connection.broken:
            raise UnreachableError("Postgres went away while the item ran.")
        if connection.pgconn.parameter_status(b"application_name") == _mark(turn).encode():
            return True
        answer = connection.pgconn.exec_(b"SELECT pg_catalog.current_setting('freshet.claim', true)")
        return answer.status == pq.ExecStatus.TUPLES_OK and answer.get_value(0, 0) == str(turn.claim).encode()

    def finish(self, outcomes: bytes) -> None:
        """Fence, report and COMMIT in one round trip; then the turn is over, of all items that share the transaction.

        Raises ClaimLostError, TransactionEndedError and FinishRefusedError, after which nothing of the item is left,
        and UnreachableError, after which nobody knows.
        """
        connection, turn = self._connection, self._turn or self._sharing
        assert connection is not None  # somebody has begun
        assert turn is not None
        if connection.pgconn.transaction_status == pq.TransactionStatus.INERROR:
            self.abandon()
            raise FinishRefusedError(_WENT_ON)
        literal = pq.Escaping(connection.pgconn).escape_literal(outcomes)
        text = b"SELECT engine.finish_in_transaction(%d, '%s', %s); COMMIT; %s" % (
            turn.bundle,
            str(turn.claim).encode(),
            bytes(literal),
            _RESET,
        )
        self._settle(_exchange(connection.pgconn, text))

    def abandon(self) -> None:
        """Take back all that was written in the transaction; the turn is over."""
        connection, self._turn, self._sharing = self._connection, None, None
        if connection is None:
            return
        if connection.begun or connection.ended:
            results = _exchange(connection.pgconn, b"ROLLBACK; " + _RESET)
            if any(result.status == pq.ExecStatus.FATAL_ERROR for result in results) or not _idle(connection):
                self._drop()
                return
        _clear(connection)

    def close(self) -> None:
        """End the session."""
        self._turn = self._sharing = None
        self._drop()

    def _settle(self, results: list[pq.abc.PGresult]) -> None:
        """Read the answers to fence, COMMIT and reset, in this order."""
        connection = self._connection
        assert connection is not None
        committed = len(results) > 1 and results[1].command_status == b"COMMIT"
        if committed:
            self._turn = self._sharing = None
            if results[-1].status == pq.ExecStatus.FATAL_ERROR or not _idle(connection):
                self._drop()
            else:
                _clear(connection)
            return
        refused = next((each for each in results if each.status == pq.ExecStatus.FATAL_ERROR), None)
        lost = refused is None or connection.broken or connection.pgconn.status == pq.ConnStatus.BAD
        self.abandon()
        if lost or refused is None:
            raise UnreachableError("Postgres went away while the item was being committed.")
        raise _refused(refused)

    def _connect(self) -> ProcessConnection:
        with translated():
            return ProcessConnection.connect(
                self._url,
                application_name="freshet process",
                options=_OPTIONS,
                prepare_threshold=None,
                connect_timeout=5,
                **KEEPALIVE,
            )

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.turn = None
            connection.close()


def _mark(turn: Turn) -> str:
    """The name of the session while a bundle's transaction is open."""
    return f"freshet process {turn.bundle}"


def _exchange(pgconn: pq.abc.PGconn, text: bytes) -> list[pq.abc.PGresult]:
    """Send several statements in one message and read all answers; fewer when the server goes away."""
    results: list[pq.abc.PGresult] = []
    try:
        pgconn.send_query(text)
        while (result := pgconn.get_result()) is not None:
            results.append(result)
            if result.status in {pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_OUT, pq.ExecStatus.COPY_BOTH}:
                break
    except psycopg.OperationalError:
        pass  # what has arrived until now tells how far it came
    return results


def _clear(connection: ProcessConnection) -> None:
    """No transaction is open any more."""
    _forget(connection)
    connection.begun = connection.ended = False
    connection.forget_statements()


def _forget(connection: ProcessConnection) -> None:
    """Forget what an item may have set on the connection's Python side."""
    connection.turn = None
    connection.entered = False
    connection.row_factory = tuple_row
    connection.cursor_factory = psycopg.Cursor
    connection.server_cursor_factory = psycopg.ServerCursor
    connection.prepare_threshold = None


def _idle(connection: ProcessConnection) -> bool:
    return connection.pgconn.transaction_status == pq.TransactionStatus.IDLE


def _has_ended(connection: ProcessConnection) -> bool:
    """Whether the server has closed the session, found without a round trip."""
    try:
        connection.pgconn.consume_input()
    except psycopg.OperationalError:
        return True
    return not _idle(connection)


def _refused(result: pq.abc.PGresult) -> FreshetError:
    state = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
    if state == "FR001":
        return ClaimLostError()
    if state == "FR002":
        return TransactionEndedError()
    if state.startswith(_SERVERS_OWN):
        return UnreachableError(f"Postgres could not commit the item: {_message(result)} ({state})")
    return FinishRefusedError(f"Postgres refused to commit what the process has written: {_message(result)} ({state})")


def _message(result: pq.abc.PGresult) -> str:
    text = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b"no reason given"
    return text.decode(errors="replace")


def _refusal(what: str) -> str:
    return (
        f"{what} is not allowed on context.connection: what a process writes is committed together with its report,"
        " when it returns, and taken back when it raises. For a savepoint use `with connection.transaction()`."
    )
