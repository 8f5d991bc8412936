"""INFORMATION_SCHEMA.QUERY_HISTORY and its kin: what was run, and what runs now.

Columns and arguments as https://docs.snowflake.com/en/sql-reference/functions/query_history has them; what costs,
bytes and partitions there would be is left out.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from freshet_emulator.errors import SqlError
from freshet_emulator.interpreter.arguments import Arguments, moment
from freshet_emulator.interpreter.context import Context
from freshet_emulator.queries import Query
from freshet_emulator.results import Result, StatementType, columns_of

FUNCTIONS = ("QUERY_HISTORY", "QUERY_HISTORY_BY_USER", "QUERY_HISTORY_BY_SESSION", "QUERY_HISTORY_BY_WAREHOUSE")
LIMIT, MOST = 100, 10_000
NAMES = [
    "QUERY_ID",
    "QUERY_TEXT",
    "DATABASE_NAME",
    "SCHEMA_NAME",
    "QUERY_TYPE",
    "SESSION_ID",
    "USER_NAME",
    "ROLE_NAME",
    "WAREHOUSE_NAME",
    "QUERY_TAG",
    "EXECUTION_STATUS",
    "ERROR_CODE",
    "ERROR_MESSAGE",
    "START_TIME",
    "END_TIME",
    "TOTAL_ELAPSED_TIME",
    "ROWS_PRODUCED",
]
TYPES = {
    "SESSION_ID": "FIXED",
    "START_TIME": "TIMESTAMP_LTZ",
    "END_TIME": "TIMESTAMP_LTZ",
    "TOTAL_ELAPSED_TIME": "FIXED",
    "ROWS_PRODUCED": "FIXED",
}
# A query that runs has no end yet; Snowflake shows the epoch there.
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def rows(context: Context, function: str, given: Arguments) -> Result:
    """Queries of the user, session or warehouse asked for, in a range of their ends, the last begun first."""
    limit = given.number(given.named.get("RESULT_LIMIT"), "RESULT_LIMIT")
    start, end = moment(given.named.get("END_TIME_RANGE_START")), moment(given.named.get("END_TIME_RANGE_END"))
    found = [
        query
        for query in context.world.history()
        if wanted(context, function, given, query)
        and (start is None or query.ended_at is None or query.ended_at >= start)
        and (end is None or (query.ended_at is not None and query.ended_at <= end))
    ]
    shown = found[: min(int(LIMIT if limit is None else limit), MOST)]
    return Result(columns=columns_of(NAMES, TYPES), rows=[row(query) for query in shown])


def wanted(context: Context, function: str, given: Arguments, query: Query) -> bool:
    """Whether the function shows this query."""
    match function:
        case "QUERY_HISTORY_BY_USER":
            return query.session.user == (given.named.get("USER_NAME") or context.session.user).upper()
        case "QUERY_HISTORY_BY_SESSION":
            return query.session.id == int(given.named.get("SESSION_ID") or context.session.id)
        case "QUERY_HISTORY_BY_WAREHOUSE":
            return query.place.warehouse == (given.named.get("WAREHOUSE_NAME") or context.session.warehouse)
    return True


def row(query: Query) -> Sequence[Any]:
    """A query as the functions show it."""
    found = query.outcome.result() if query.outcome.done() else None
    error = found if isinstance(found, SqlError) else None
    until = query.ended_at or dt.datetime.now(dt.UTC)
    return (
        query.id,
        query.sql,
        query.place.database,
        query.place.schema,
        kind(query, found),
        query.session.id,
        query.session.user,
        query.place.role,
        query.place.warehouse,
        query.place.tag,
        "FAILED_WITH_ERROR" if error else query.status,
        f"{error.code:06d}" if error else None,
        error.message if error else None,
        query.started_at,
        query.ended_at or EPOCH,
        int((until - query.started_at).total_seconds() * 1000),
        len(found.rows) if isinstance(found, Result) else None,
    )


def kind(query: Query, found: Result | SqlError | None) -> str:
    """QUERY_TYPE."""
    if query.several:
        return "MULTI_STATEMENT"
    return found.statement_type.name if isinstance(found, Result) else StatementType.OTHER.name
