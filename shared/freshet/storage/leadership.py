"""Who of several copies of a service is at work: a session advisory lock.

Purpose: one works, the others stand by. Guarantees: nobody waits inside the database (a waiting session would hold the
vacuum horizon); the lock goes with its holder's session. Never: the only guard; row locks and unique keys stay.
"""

from __future__ import annotations

from contextlib import suppress
from zlib import crc32

from freshet.domain.errors import UnreachableError
from freshet.storage.database import Database, Session, check_alive, translated
from freshet.storage.statements import statement

#: The lock of each service that has one leader. Any constants will do, as long as they differ.
SCHEDULER = 7_235_421_907_011
WATCHER = 7_235_421_907_012
MIRROR = 7_235_421_907_013
#: The first of the locks of those who watch the queries of a connection, 2^32 of them.
QUERY_WATCHERS = 7_300_000_000_000


def query_watcher(connection: str) -> int:
    """The lock of the watcher of a connection's queries."""
    return QUERY_WATCHERS + crc32(connection.encode())


class Leadership:
    """One candidate. Not for use by several threads."""

    def __init__(self, database: Database, key: int) -> None:
        self._database = database
        self._key = key
        self._session: Session | None = None
        self.leads = False

    def campaign(self) -> bool:
        """Whether this candidate leads now. Costs a statement only while it does not. Raises UnreachableError."""
        try:
            with translated():
                return self._campaign()
        except UnreachableError:
            self.resign()
            raise

    def resign(self) -> None:
        """Let the lock go, with its session."""
        session, self._session, self.leads = self._session, None, False
        if session is not None:
            with suppress(UnreachableError), translated():
                session.close()

    def _campaign(self) -> bool:
        if self._session is None:
            self._session = self._database.dedicated()
        check_alive(self._session)
        if not self.leads:
            row = self._session.execute(statement("LeadershipTry"), {"key": self._key}).fetchone()
            self.leads = bool(row and row["held"])
        return self.leads
