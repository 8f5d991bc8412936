"""The session of user code, over dictionaries: what an item wrote and its report commit in one step.

Guarantees: the transaction begins with the first statement, after the report of earlier items; `finish` checks the
fence, and then writes the item's values, its effects and its report, or nothing of them. What was staged is gone with
`abandon`, a refusal, or the session (its process or the server ended). Never: SQL; a statement is any value that the
simulation wants to find again in `Tables.effects`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

import orjson

from freshet.domain.errors import ClaimLostError, FreshetError, TransactionEndedError, UnreachableError
from freshet.storage.session import InseparableError, ProcessSession, TransactionOwnedError, Turn
from freshet.storage.worker_store import Outcome
from freshet.testing.twins import fence
from freshet.testing.twins.passage import Passage, open_passage
from freshet.testing.twins.tables import Tables
from freshet.testing.twins.texts import jsonb

A = TypeVar("A")


@dataclass(kw_only=True, slots=True)
class Written:
    """What an item's transaction holds."""

    effects: list[Any] = field(default_factory=list)
    values: list[tuple[int, int, list[Any]]] = field(default_factory=list)  # item, first index, and they
    before: tuple[int, int] | None = None  # how much of both was there before the item in hand

    def enter(self) -> None:
        """The item in hand sends its first statement."""
        self.before = self.before or (len(self.effects), len(self.values))

    def leave(self, *, keep: bool) -> None:
        """The item in hand is over."""
        if self.before is not None and not keep:
            del self.effects[self.before[0] :], self.values[self.before[1] :]
        self.before = None


def commit_item(tables: Tables, key: int, claim: UUID, outcomes: Sequence[Outcome], written: Written) -> bool:
    """Fence, values, effects and report at once; True when that was the last of the bundle. Raises ClaimLostError."""
    with tables.transaction():
        for effect in written.effects:
            tables.record_effect(key, claim, effect)
        # The fence first: Postgres refuses a value that is there already to the statement, and not to the commit.
        ended = fence.finish(tables, key, claim, outcomes)
        for item, first, values in written.values:
            tables.insert_values(item, first, values)
        return ended


class ConnectionTwin:
    """What user code of a simulation gets: it writes, and may end the transaction although it should not."""

    def __init__(self, begin: Callable[[str], Written], end: Callable[[], None]) -> None:
        self._begin = begin
        self._end = end

    def execute(self, effect: Any) -> None:
        """Write something. Raises UnreachableError, after which the transaction is gone."""
        self._begin("session.execute").effects.append(effect)

    def end_transaction(self) -> None:
        """The process sends a COMMIT of its own. Raises TransactionEndedError; what it wrote stays."""
        self._begin("session.execute")
        self._end()
        raise TransactionEndedError


class ProcessSessionTwin(ProcessSession):
    """Opens the connection when it is first asked for, keeps it warm, and ends the items' transactions."""

    def __init__(self, tables: Tables, passage: Passage = open_passage, *, owner: str = "child") -> None:
        """`owner` is the process: `Tables.end_session` of it, or of all, breaks the transaction."""
        self._tables = tables
        self._passage = passage
        self._owner = owner
        self._turn: Turn | None = None
        self._sharing: Turn | None = None
        self._open: int | None = None
        self._written: Written | None = None  # from the first statement on
        self._has_ended = False

    def open_turn(self, turn: Turn) -> None:
        """It is this item's turn from now on."""
        self._turn = turn

    @property
    def connection(self) -> ConnectionTwin:  # type: ignore[override]  # user code of a simulation calls no psycopg
        """The connection of the item whose turn it is."""
        self._require_turn()
        if self._written is None and self._open not in self._tables.sessions:
            self._open = self._tables.open_session(self._owner)
        return ConnectionTwin(self._statement, self._end_by_hand)

    @property
    def begun(self) -> bool:
        """Whether a transaction is open."""
        return self._written is not None

    @property
    def lost(self) -> bool:
        """Whether the server went away in the middle of the item's transaction."""
        return self.begun and self._open not in self._tables.sessions

    @property
    def ended(self) -> bool:
        """Whether user code has ended the transaction."""
        return self._has_ended

    def put_values(self, item: int, first: int, values: bytes) -> None:
        """Write yielded values (a JSON array) as rows, in the item's transaction."""
        turn, _ = self._require_turn(), self.connection
        written = self._statement("session.put_values")
        bundle = self._tables.bundles.get(turn.bundle)
        if bundle is None or bundle.claim != turn.claim or item not in bundle.items:
            raise ClaimLostError
        written.values.append((item, first, jsonb(orjson.loads(values))))

    def finish(self, outcomes: bytes) -> None:
        """Fence, report and commit in one round trip; then the item's turn is over."""
        turn, written = (self._turn or self._sharing or self._require_turn()), self._written
        assert written is not None  # somebody has begun
        body = [orjson.Fragment(orjson.dumps(each)) for each in orjson.loads(outcomes)]
        try:
            self._exchange("session.finish", lambda: commit_item(self._tables, turn.bundle, turn.claim, body, written))
        except FreshetError:
            self.abandon()
            raise
        self._turn, self._sharing, self._written = None, None, None

    def leave(self, *, keep: bool) -> None:
        """The item's turn is over, the transaction goes on."""
        written, turn = self._written, self._turn
        self._sharing, self._turn = turn, None
        if written is None or turn is None or written.before is None:
            return
        if turn.savepoint:
            self._exchange("session.leave", lambda: written.leave(keep=keep))
        elif self.lost:
            raise UnreachableError("Postgres went away while the item ran.")
        elif not keep:
            raise InseparableError
        else:
            written.leave(keep=True)

    def abandon(self) -> None:
        """Take back what the item wrote; its turn is over."""
        self._turn, self._sharing, self._written, self._has_ended = None, None, None, False

    def close(self) -> None:
        """End the session."""
        self.abandon()
        self._drop()

    def _statement(self, name: str) -> Written:
        """One round trip inside the item's transaction, which begins with the first."""
        turn = self._require_turn()
        if self._has_ended:
            raise TransactionEndedError
        if self._written is None:
            turn.before_begin()
            self._written = Written()
        written = self._written
        written.enter()
        return self._exchange(name, lambda: written)

    def _exchange(self, name: str, answer: Callable[[], A]) -> A:
        """A session does not survive a server that can't be reached."""
        try:
            self._passage.enter(name)
            self._require_session()
            told = answer()
            self._passage.leave(name)
        except UnreachableError:
            self._drop()
            raise
        return told

    def _end_by_hand(self) -> None:
        turn, written = self._require_turn(), self._written
        assert written is not None  # it has just begun
        for effect in written.effects:
            self._tables.record_effect(turn.bundle, turn.claim, effect)
        self._has_ended = True

    def _require_turn(self) -> Turn:
        if self._turn is None:
            raise TransactionOwnedError("context.connection belongs to its item, and that item has ended.")
        return self._turn

    def _require_session(self) -> None:
        if self._open not in self._tables.sessions:
            raise UnreachableError("Postgres went away in the middle of the item's transaction.")

    def _drop(self) -> None:
        if self._open is not None:
            self._tables.close_session(self._open)
            self._open = None
