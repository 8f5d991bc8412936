"""Queries that run in the background under a tag: start, find again, read, abort.

A query's tag is its idempotency key: whoever starts one asks the query history for the tag first, so a query whose
starter died is found and not run twice. Sources: QUERY_HISTORY_BY_USER
(https://docs.snowflake.com/en/sql-reference/functions/query_history), SYSTEM$CANCEL_QUERY.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from freshet.snowflake.errors import SnowflakeRefusedError
from freshet.snowflake.rows import Row
from freshet.snowflake.session import SnowflakeSession
from freshet.snowflake.settings import SnowflakeSettings
from freshet.snowflake.text import identifier, literal

#: What the history shows at most: the last so many queries of our user.
HISTORY_ROWS = 10_000
SEVERAL = "MULTI_STATEMENT"
#: The words of a query that is not over; what Snowflake may add counts as one.
ENDED_BADLY = ("FAIL", "ABORT", "INCIDENT", "DISCONNECTED")


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryRow:
    """A query as the history shows it. `code` is Snowflake's error number."""

    id: str
    tag: str
    text: str
    type: str
    status: str
    code: int | None
    message: str | None
    started_at: dt.datetime

    @property
    def succeeded(self) -> bool:
        """Whether it ended well."""
        return self.status.startswith("SUCCESS")

    @property
    def failed(self) -> bool:
        """Whether it ended otherwise."""
        return self.status.startswith(ENDED_BADLY)

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return not (self.succeeded or self.failed)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """What a session begins with; None: what the settings say."""

    database: str | None = None
    schema: str | None = None
    warehouse: str | None = None
    role: str | None = None


class Queries:
    """The queries of one user, over one session; threads take turns (see SnowflakeSession).

    Every method raises SnowflakeUnreachableError when trying again may help, and SnowflakeRefusedError when not.
    """

    def __init__(self, settings: SnowflakeSettings) -> None:
        self._session = SnowflakeSession(settings)
        self._view = f"{identifier(settings.database)}.INFORMATION_SCHEMA.QUERY_HISTORY_BY_USER"

    def start(self, text: str, tag: str, place: Place, *, several: bool, timeout: float | None = None) -> str:
        """Start a script in a session of its own, which lives on when this process ends; the query's id.

        `timeout`: seconds after which the server ends a statement of it by itself.
        """
        given = {name: value for name in Place.__slots__ if (value := getattr(place, name)) is not None}
        settings = replace(
            self._session.settings,
            **given,
            query_tag=tag,
            keeps_session=True,
            statement_timeout=None if timeout is None else max(1, math.ceil(timeout)),
        )
        session = SnowflakeSession(settings)
        try:
            return session.start(text, several=several)
        finally:
            session.close()

    def tagged(self, tags: Sequence[str]) -> list[QueryRow]:
        """What the history shows of these tags, in the order in which it began: a script before its statements."""
        return self._history(f"query_tag IN ({', '.join(literal(tag) for tag in tags)})") if tags else []

    def running(self, prefix: str) -> list[QueryRow]:
        """Queries that have not ended, with tags that begin with `prefix`."""
        ended = " AND ".join(f"NOT STARTSWITH(execution_status, {literal(word)})" for word in ("SUCCESS", *ENDED_BADLY))
        return self._history(f"STARTSWITH(query_tag, {literal(prefix)}) AND {ended}")

    def rows(self, query_id: str, *, limit: int) -> tuple[list[Row], bool]:
        """A query's rows up to about `limit` bytes, and whether these are all (see SnowflakeSession.rows)."""
        return self._session.rows(query_id, limit=limit)

    def abort(self, query_id: str) -> None:
        """End a query. Nothing happens if it has ended."""
        try:
            self._session.execute(f"SELECT SYSTEM$CANCEL_QUERY({literal(query_id)})")
        except SnowflakeRefusedError:
            # What it answers for a query that has just ended is not documented.
            if any(row.running for row in self._history(f"query_id = {literal(query_id)}")):
                raise

    def close(self) -> None:
        """Log out."""
        self._session.close()

    def _history(self, condition: str) -> list[QueryRow]:
        columns = "query_id, query_tag, query_text, query_type, execution_status, error_code, error_message, start_time"
        source = f"TABLE({self._view}(RESULT_LIMIT => {HISTORY_ROWS}))"
        rows = self._session.execute(f"SELECT {columns} FROM {source} WHERE {condition}")  # noqa: S608 - literals only
        found = [_query_row(row) for row in rows]
        return sorted(found, key=lambda row: (row.type != SEVERAL, row.started_at))


def _query_row(row: Row) -> QueryRow:
    code = row["error_code"]
    return QueryRow(
        id=row["query_id"],
        tag=row["query_tag"],
        text=row["query_text"],
        type=row["query_type"] or "",
        status=str(row["execution_status"]).upper(),
        code=int(code) if str(code or "").isdecimal() else None,
        message=row["error_message"],
        started_at=row["start_time"],
    )
