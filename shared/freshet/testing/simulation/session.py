"""`context.connection` of the simulation: what an item writes is kept until its report commits it.

Guarantees: the transaction begins with the first write; it dies with its session, with its server, or with a refusal;
who commits by hand is found out, and what that committed stays. Never: SQL.
"""

from __future__ import annotations

from typing import Any, cast

import orjson

from freshet.domain.errors import ClaimLostError, TransactionEndedError, UnreachableError
from freshet.storage.session import ProcessConnection, ProcessSession, Turn
from freshet.testing.twins.passage import Passage
from freshet.testing.twins.process_session import ProcessSessionTwin
from freshet.testing.twins.tables import Tables


class SessionTwin(ProcessSession):
    """One child's session."""

    def __init__(self, tables: Tables, passage: Passage, *, owner: str) -> None:
        """`owner`: the process, whose end ends the session."""
        self._tables = tables
        self._passage = passage
        self._owner = owner
        self._commits = ProcessSessionTwin(tables, passage)
        self._turn: Turn | None = None
        self._open: int | None = None  # the server's session, while a transaction is open
        self._effects: list[Any] = []
        self._has_ended = False

    def open_turn(self, turn: Turn) -> None:
        """It is this item's turn from now on."""
        self._turn = turn

    @property
    def connection(self) -> ProcessConnection:
        """What user code of the simulation writes with: `write` and `commit_by_hand`."""
        return cast("ProcessConnection", self)

    @property
    def begun(self) -> bool:
        """Whether the item has written."""
        return self._open is not None

    @property
    def lost(self) -> bool:
        """Whether the server went away in the middle of the item's transaction."""
        return self._open is not None and self._open not in self._tables.sessions

    @property
    def ended(self) -> bool:
        """Whether user code has ended the transaction."""
        return self._has_ended

    def write(self, effect: Any) -> None:
        """A statement of the user's."""
        self._require("write")
        self._effects.append(effect)

    def commit_by_hand(self) -> None:
        """What a user may not do: what was written stays, and the item fails. Raises TransactionEndedError."""
        self._require("commit")
        assert self._turn is not None  # an item is at work
        for effect in self._effects:
            self._tables.record_effect(self._turn.bundle, self._turn.claim, effect)
        self._has_ended = True
        raise TransactionEndedError

    def put_values(self, item: int, first: int, values: bytes) -> None:
        """Write yielded values in the item's transaction."""
        self._require("put")
        assert self._turn is not None  # an item is at work
        self._commits.put_values(self._turn.bundle, self._turn.claim, item, first, orjson.loads(values))

    def finish(self, outcomes: bytes) -> None:
        """Fence, report and commit."""
        assert self._turn is not None  # an item is at work
        if self.lost:
            self.abandon()
            raise UnreachableError("Postgres went away while the item was being committed.")
        try:
            self._commits.finish(self._turn.bundle, self._turn.claim, orjson.loads(outcomes), self._effects)
        except (ClaimLostError, UnreachableError):
            self.abandon()
            raise
        self._leave()

    def abandon(self) -> None:
        """Take back what the item wrote; its turn is over."""
        self._commits.abandon()
        self._leave()

    def close(self) -> None:
        """End the session."""
        self._leave()

    def _leave(self) -> None:
        if self._open is not None:
            self._tables.close_session(self._open)
        self._open, self._turn, self._effects, self._has_ended = None, None, [], False

    def _require(self, verb: str) -> None:
        """A transaction, begun by the first statement."""
        assert self._turn is not None  # an item is at work
        if self._open is None:
            self._turn.before_begin()
            self._passage.enter("session.begin")
            self._open = self._tables.open_session(self._owner)
        self._passage.enter(f"session.{verb}")
        if self.lost:
            raise UnreachableError("Postgres can't be reached: the server has ended this session.")
