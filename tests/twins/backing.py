"""The two backings of one engine: Postgres, and its twin. A contract test sees one of them, a lockstep both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from tests.twins.reading import read_bundles, read_tables

from freshet.definition import digest, normalise
from freshet.storage.database import Database
from freshet.storage.definitions import Definition, Definitions
from freshet.storage.engine_store import OPTIONS, EngineStore, PartitionLocks
from freshet.storage.requests import Requests
from freshet.storage.session import ProcessSession, Turn
from freshet.storage.worker_store import WorkerStore
from freshet.testing.twins.engine_store import EngineStoreTwin, PartitionLocksTwin
from freshet.testing.twins.process_session import ProcessSessionTwin
from freshet.testing.twins.requests import RequestsTwin
from freshet.testing.twins.rows import Bundle
from freshet.testing.twins.tables import Tables
from freshet.testing.twins.worker_store import WorkerStoreTwin

#: A batch then loads what it needs of every scope, as it does of those with more than sixteen tasks.
ALL_WIDE = (
    "create or replace function engine.is_narrow(p_run uuid, p_scope bigint) returns boolean language sql stable"
    " as 'select false'"
)


class Backing(Protocol):
    """Postgres, or what stands for it."""

    store: EngineStore
    workers: WorkerStore
    requests: Requests

    def locks(self, owner: str) -> PartitionLocks: ...
    def session(self) -> ProcessSession: ...
    def write(self, session: ProcessSession, value: str) -> None:
        """User code writes something on its connection."""

    def commit_by_hand(self, session: ProcessSession) -> None:
        """User code ends the transaction that it should not."""

    def beside(self) -> AbstractContextManager[EngineStore]:
        """Another dispatcher's store."""
        ...

    def until(self, happens: Callable[[], bool]) -> bool:
        """Whether it happens, as soon as the server has noticed that a session is gone."""
        ...

    def apply(self, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """Store a definition; the stored document."""
        ...

    def tables(self) -> Tables:
        """What is committed now. Not to be written."""
        ...

    def bundles(self) -> list[Bundle]:
        """All bundles in the order of their ids."""
        ...

    def age(self, seconds: float) -> None:
        """Time passes, as far as bundles see it."""

    def see_in_part(self) -> None:
        """From now on every scope counts as a wide one."""

    def hold(self) -> None:
        """The time since this was called before did not pass, as far as bundles see it."""

    def close(self) -> None: ...


class RealBacking:
    """Postgres."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.database = Database(url, name="dispatcher", options=OPTIONS)
        self.store: EngineStore = EngineStore(self.database)
        self.workers: WorkerStore = WorkerStore(self.database)
        self.requests: Requests = Requests(self.database)
        self._definitions = Definitions(self.database)
        self._held_at = time.monotonic()
        self.run(
            "create table public.effect"
            " (id bigint generated always as identity, bundle_id bigint, claim uuid, value text)"
        )
        self.run("grant all on public.effect to freshet_process")

    def locks(self, owner: str) -> PartitionLocks:
        return PartitionLocks(self.database)

    def session(self) -> ProcessSession:
        return ProcessSession(self._url)

    def write(self, session: ProcessSession, value: str) -> None:
        connection = session.connection
        assert connection.turn is not None
        connection.execute(
            "insert into public.effect (bundle_id, claim, value) values (%s, %s, %s)",
            (connection.turn.bundle, connection.turn.claim, value),
        )

    def commit_by_hand(self, session: ProcessSession) -> None:
        session.connection.execute("commit")

    @contextmanager
    def beside(self) -> Iterator[EngineStore]:
        database = Database(self._url, name="beside", options=OPTIONS)
        yield EngineStore(database)
        database.close()

    def until(self, happens: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + 10.0
        while not happens():
            if time.monotonic() > deadline:
                return False
        return True

    def apply(self, document: Mapping[str, Any]) -> Mapping[str, Any]:
        stored = normalise(document)
        self._definitions.put(
            Definition(name=stored["name"], document=stored, digest=digest(stored)), lambda _, __, now: now
        )
        return stored

    def tables(self) -> Tables:
        return read_tables(self.database)

    def bundles(self) -> list[Bundle]:
        return read_bundles(self.database)

    def age(self, seconds: float) -> None:
        self.run(
            "update engine.bundle set due_at = due_at - %(by)s, expires_at = expires_at - %(by)s,"
            " published_at = published_at - %(by)s, submitted_at = submitted_at - %(by)s",
            {"by": timedelta(seconds=seconds)},
        )

    def see_in_part(self) -> None:
        """From now on every scope counts as a wide one."""
        self.run(ALL_WIDE)

    def empty(self) -> None:
        """Back to the beginning."""
        self.run(
            "truncate engine.run, engine.request, engine.task_run, engine.work_item, engine.value, engine.bundle,"
            " engine.report, engine.outbox, engine.worker, engine.parked, public.effect restart identity"
        )

    def hold(self) -> None:
        since, self._held_at = self._held_at, time.monotonic()
        self.age(since - self._held_at)

    def run(self, text: str, parameters: Mapping[str, Any] | None = None) -> None:
        with self.database.session() as session:
            session.execute(text, parameters)

    def close(self) -> None:
        self.database.close()


class TwinBacking:
    """The twin."""

    def __init__(self) -> None:
        self._now = datetime(2026, 1, 1, tzinfo=UTC)
        self._tables = Tables(self._clock)
        self.store: EngineStore = EngineStoreTwin(self._tables)
        self.workers: WorkerStore = WorkerStoreTwin(self._tables)
        self.requests: Requests = RequestsTwin(self._tables)

    def _clock(self) -> datetime:
        self._now += timedelta(microseconds=7)
        return self._now

    def locks(self, owner: str) -> PartitionLocks:
        return PartitionLocksTwin(self._tables, owner=owner)

    def session(self) -> ProcessSession:
        return ProcessSessionTwin(self._tables)

    def write(self, session: ProcessSession, value: str) -> None:
        assert isinstance(session, ProcessSessionTwin)
        session.connection.execute(value)

    def commit_by_hand(self, session: ProcessSession) -> None:
        assert isinstance(session, ProcessSessionTwin)
        session.connection.end_transaction()

    @contextmanager
    def beside(self) -> Iterator[EngineStore]:
        yield EngineStoreTwin(self._tables, owner="beside")

    def until(self, happens: Callable[[], bool]) -> bool:
        return happens()

    def apply(self, document: Mapping[str, Any]) -> Mapping[str, Any]:
        stored = normalise(document)
        versions = [version for name, version in self._tables.documents if name == stored["name"]]
        self._tables.documents[stored["name"], max(versions, default=0) + 1] = stored
        return stored

    def see_in_part(self) -> None:
        self._tables.narrow = 0

    def tables(self) -> Tables:
        return self._tables

    def bundles(self) -> list[Bundle]:
        return sorted(self._tables.bundles.values())

    def age(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)

    def hold(self) -> None:
        """It passes only when it is told to."""

    def close(self) -> None:
        """Nothing is open."""


def turn(bundle: int, claim: UUID) -> Turn:
    """An item's right to the session, with no earlier items to report."""
    return Turn(bundle=bundle, claim=claim, before_begin=lambda: None)


def outcomes(items: Sequence[tuple[int, int]], state: str = "succeeded", **more: Any) -> list[dict[str, Any]]:
    """The same outcome for each (item, attempt)."""
    return [{"i": item, "a": attempt, "s": state, **more} for item, attempt in items]
