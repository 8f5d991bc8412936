"""Two transactions at once, one step at a time: what a machine of a single thread can't see.

Purpose: A runs its verb in a transaction that is kept open; B runs in a thread until it waits for A's lock, or is done;
then A commits. Guarantees: no sleep; that B waits is asked of Postgres (`pg_blocking_pids`), with a deadline. Never: a
guess about how long something takes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from freshet.storage.database import Database, Session, translated

T = TypeVar("T")

#: Seconds until a race that does not go on is given up.
DEADLINE = 20.0


class OpenDatabase(Database):
    """A database with one session, whose verbs stay in one transaction until `commit`."""

    def __init__(self, url: str) -> None:
        super().__init__(url, name="first")
        self._open: Session = self.dedicated()
        self._open.autocommit = False

    @contextmanager
    def session(self) -> Iterator[Session]:
        with translated():
            # A block of the driver's own commits at its end, unless a transaction has begun before it.
            self._open.execute("select")
            yield self._open

    def commit(self) -> None:
        self._open.commit()

    def close(self) -> None:
        self._open.close()
        super().close()


class Second(Generic[T]):
    """A call in a thread of its own, on sessions that are told by their name."""

    def __init__(self, database: Database, call: Callable[[], T]) -> None:
        self._database = database
        self._call = call
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._answers: list[T] = []
        self._errors: list[BaseException] = []
        self._thread.start()

    def _run(self) -> None:
        try:
            self._answers.append(self._call())
        except BaseException as error:  # noqa: BLE001  (it is raised again where the answer is asked for)
            self._errors.append(error)

    def waits(self, watch: Database) -> bool:
        """Whether it came to wait for a lock; False when it ended without."""
        until = time.monotonic() + DEADLINE
        while self._thread.is_alive():
            with watch.session() as session:
                blocked = session.execute(
                    "select count(*) as n from pg_stat_activity"
                    " where datname = current_database() and application_name = %s"
                    " and cardinality(pg_blocking_pids(pid)) > 0",
                    [f"freshet {self._database.name}"],
                ).fetchone()
            if blocked is not None and blocked["n"]:
                return True
            assert time.monotonic() < until, "the second call neither ends nor waits for a lock"
            self._thread.join(0.002)
        return False

    def answer(self) -> T:
        """Its answer, once it has ended. Raises what it raised."""
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive(), "the second call does not end"
        if self._errors:
            raise self._errors[0]
        return self._answers[0]
