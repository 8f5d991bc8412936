"""Leadership over the twin's sessions.

Guarantees: the lock goes with its holder's session, be it resigned, thrown out by the server or gone with its process.
"""

from __future__ import annotations

from freshet.domain.errors import UnreachableError
from freshet.storage.leadership import Leadership
from freshet.testing.twins.passage import Passage, open_passage
from freshet.testing.twins.tables import Tables


class LeadershipTwin(Leadership):
    """One candidate."""

    def __init__(self, tables: Tables, key: int, passage: Passage = open_passage, *, owner: str) -> None:
        """`owner`: the process, as `Tables.end_session` names it."""
        self._tables = tables
        self._lock = ("leadership", key)
        self._owner = owner
        self._passage = passage
        self._number: int | None = None  # of the session
        self.leads = False

    def campaign(self) -> bool:
        """Whether this candidate leads now. Raises UnreachableError, and then it does not."""
        try:
            self._passage.enter("campaign")
            self._campaign()
            self._passage.leave("campaign")
        except UnreachableError:
            self.resign()
            raise
        return self.leads

    def resign(self) -> None:
        """Let the lock go, with its session. Nothing that could fail: the server sees the session's end."""
        session, self._number, self.leads = self._number, None, False
        if session is not None:
            self._tables.close_session(session)

    def _campaign(self) -> bool:
        if self._number is None:
            self._number = self._tables.open_session(self._owner)
        if self._number not in self._tables.sessions:
            raise UnreachableError("Postgres can't be reached: the server has ended the session.")
        self.leads = self._tables.try_lock(self._number, self._lock)
        return self.leads
