"""Queries: each runs once, in a thread of its own, however often its request arrives."""

from __future__ import annotations

import datetime as dt
import itertools
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError, wait
from dataclasses import dataclass, field
from typing import Any

import structlog

from freshet_emulator.errors import SqlError
from freshet_emulator.results import Result
from freshet_emulator.sessions import Session

# Ended queries are kept for replays, result scans and late status questions.
KEPT = 2_000

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """What a session used when a query began, and its tag."""

    database: str | None
    schema: str | None
    warehouse: str | None
    role: str
    tag: str

    @classmethod
    def of(cls, session: Session) -> Place:
        """Where the session is now."""
        return cls(
            database=session.database,
            schema=session.schema,
            warehouse=session.warehouse,
            role=session.role,
            tag=session.parameters.get(TAG, ""),
        )


def utc_now() -> dt.datetime:
    """The time of this machine."""
    return dt.datetime.now(dt.UTC)


@dataclass(kw_only=True, slots=True)
class Query:
    """One statement sent by a client. `outcome` becomes a Result or a SqlError (as a value: nobody may be waiting).

    `number` is the order in which queries began; `several` says that the statements of its text are queries of
    their own.
    """

    session: Session
    place: Place
    sql: str
    several: bool = False
    parameters: Mapping[str, str] = field(default_factory=dict)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    outcome: Future[Result | SqlError] = field(default_factory=Future)
    number: int = field(default_factory=itertools.count(1).__next__)
    started_at: dt.datetime = field(default_factory=utc_now)
    ended_at: dt.datetime | None = None

    def __post_init__(self) -> None:
        self.outcome.add_done_callback(self._note_end)

    def _note_end(self, _: object) -> None:
        self.ended_at = utc_now()

    def parameter(self, name: str) -> str | None:
        """A parameter of the request, else of the session."""
        return self.parameters.get(name) or self.session.parameters.get(name)

    @property
    def status(self) -> str:
        """The word of the monitoring request."""
        if not self.outcome.done():
            return "RUNNING"
        found = self.outcome.result()
        if not isinstance(found, SqlError):
            return "SUCCESS"
        return "ABORTED" if found is ABORTED else "FAILED_WITH_ERROR"


ABORTED = SqlError(604, "57014", "SQL execution canceled")
TAG = "QUERY_TAG"
COUNT = "MULTI_STATEMENT_COUNT"
TIMEOUT = "STATEMENT_TIMEOUT_IN_SECONDS"

Run = Callable[[Query, Mapping[str, Any]], Result]


class Queries:
    """All queries by id, and by the request that brought them. Safe to call from any thread."""

    def __init__(self, run: Run, on_abort: Callable[[Query], None]) -> None:
        self._run = run
        self._on_abort = on_abort
        self._lock = threading.Lock()
        self._by_id: OrderedDict[str, Query] = OrderedDict()
        self._by_request: OrderedDict[tuple[int, str], Query] = OrderedDict()

    def submit(
        self,
        session: Session,
        request_id: str,
        sql: str,
        bindings: Mapping[str, Any],
        *,
        parameters: Mapping[str, str] | None = None,
        known_result: Result | None = None,
    ) -> Query:
        """Start a query, or find the one that this request has started already. With a known result nothing is run."""
        with self._lock:
            known = self._by_request.get((session.id, request_id)) if request_id else None
            if known is not None:
                return known
            query = Query(session=session, place=Place.of(session), sql=sql, parameters=parameters or {})
            query.several = query.parameter(COUNT) not in (None, "1")
            self._by_id[query.id] = query
            self._by_request[session.id, request_id or query.id] = query
            self._forget_oldest()
        if known_result is not None:
            settle(query.outcome, known_result)
            return query
        self._limit(query)
        threading.Thread(target=self._work, args=(query, bindings), name=f"query-{query.id}", daemon=True).start()
        return query

    def record(self, parent: str, session: Session, sql: str, run: Callable[[], Result]) -> tuple[str, Result]:
        """Run one of several statements as a query of its own: its id and its result.

        Raises SqlError, also when the query `parent`, to which the statement belongs, was ended meanwhile.
        """
        query = Query(session=session, place=Place.of(session), sql=sql)
        with self._lock:
            self._by_id[query.id] = query
        try:
            found = run()
            self._check(parent)
        except SqlError as error:
            settle(query.outcome, error)
            raise
        settle(query.outcome, found)
        return query.id, found

    def _check(self, parent: str) -> None:
        query = self.find(parent)
        ended = query.outcome.result() if query is not None and query.outcome.done() else None
        if isinstance(ended, SqlError):
            raise SqlError(ended.code, ended.sqlstate, ended.message)

    def history(self) -> list[Query]:
        """All queries that are remembered, the last begun first."""
        with self._lock:
            return sorted(self._by_id.values(), key=lambda query: query.number, reverse=True)

    def wait(self, query_id: str, seconds: float) -> None:
        """Let a query sleep, until it is aborted at the latest."""
        query = self.find(query_id)
        if query is not None:
            wait([query.outcome], seconds)

    def _limit(self, query: Query) -> None:
        """End the query when the client's time limit is over."""
        seconds = query.parameter(TIMEOUT) or "0"
        if not seconds.isdecimal() or int(seconds) == 0:
            return
        reason = f"Statement reached its statement or warehouse timeout of {seconds} second(s) and was canceled."
        timer = threading.Timer(int(seconds), self._end, (query, SqlError(630, "57014", reason)))
        timer.daemon = True
        query.outcome.add_done_callback(lambda _: timer.cancel())
        timer.start()

    def _end(self, query: Query, error: SqlError) -> bool:
        if not settle(query.outcome, error):
            return False
        self._on_abort(query)
        return True

    def find(self, query_id: str) -> Query | None:
        """A query by its id."""
        with self._lock:
            return self._by_id.get(query_id)

    def of_request(self, session: Session, request_id: str) -> Query | None:
        """A query by the request that brought it."""
        with self._lock:
            return self._by_request.get((session.id, request_id))

    def scan(self, query_id: str) -> Result:
        """RESULT_SCAN: an earlier query's result. Raises SqlError if there is none, or the query's own error."""
        query = self.find(query_id)
        if query is None or not query.outcome.done():
            raise SqlError(709, "02000", f"Statement {query_id} not found")
        found = query.outcome.result()
        if isinstance(found, SqlError):
            raise SqlError(found.code, found.sqlstate, found.message) from found
        return found

    def abort(self, query_id: str) -> bool:
        """End a running query as aborted; False if it does not run."""
        query = self.find(query_id)
        return query is not None and self._end(query, ABORTED)

    def count(self) -> int:
        """How many queries run now."""
        with self._lock:
            return sum(1 for query in self._by_id.values() if not query.outcome.done())

    def _forget_oldest(self) -> None:
        for known in (self._by_id, self._by_request):
            while len(known) > KEPT and next(iter(known.values())).outcome.done():
                known.popitem(last=False)

    def _work(self, query: Query, bindings: Mapping[str, Any]) -> None:
        try:
            settle(query.outcome, self._run(query, bindings))
        except SqlError as error:
            settle(query.outcome, error)
        except Exception as error:
            log.exception("query_crashed", query_id=query.id, statement=query.sql)
            settle(query.outcome, SqlError(603, "XX000", f"The emulator failed inside: {error!r}"))


def settle(outcome: Future[Result | SqlError], found: Result | SqlError) -> bool:
    """End an outcome; False if it had ended already (by an abort)."""
    try:
        outcome.set_result(found)
    except InvalidStateError:
        return False
    return True
