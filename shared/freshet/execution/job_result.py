"""Where a job's result is: in the log of which container, or in the rows of which table.

Purpose: a container that writes a table hands its rows to the tasks after it. Guarantees: within the limit of a result,
read row by row; a table that is missing or too large fails the item with one sentence. Never: a table that the task
did not name; a value that JSON would change in silence.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import orjson

from freshet.domain.model import JobServiceSpec
from freshet.domain.references import containers
from freshet.execution.contract import Outcome, failed
from freshet.execution.job_refusal import told
from freshet.execution.job_specification import result_table
from freshet.execution.values import ValueRefusedError, encode
from freshet.snowflake import ContainerRow, JobRow, JobServices, SnowflakeRefusedError
from freshet.snowflake.errors import GONE
from freshet.snowflake.jobs import MAIN_CONTAINER


def speaker(spec: JobServiceSpec | None) -> str | None:
    """The container whose log is the attempt's; None if only a running job tells, because its file is in a stage."""
    if spec is None or spec.image is not None:
        return MAIN_CONTAINER
    return next((str(container["name"]) for _, container in containers(spec)), None)


def speaker_of(found: Sequence[ContainerRow]) -> str:
    """The same by what Snowflake shows: `main` if there is one, else the first."""
    names = [container.name for container in found]
    return MAIN_CONTAINER if MAIN_CONTAINER in names or not names else names[0]


def with_rows(outcome: Outcome, job: JobRow, jobs: JobServices, *, limit: int) -> Outcome:
    """The outcome with the rows of the table that the job's task names, if it names one and the job succeeded.

    A row is an object by column name in lower case. `limit`: bytes of JSON. Raises SnowflakeUnreachableError.
    """
    table = result_table(job.comment)
    if table is None or outcome.status != "succeeded":
        return outcome
    try:
        return Outcome(status="succeeded", result=_rows(table, jobs, limit))
    except ValueRefusedError as error:
        return failed(f"The rows of result table {table} can't be the result: {error.message}.", type="ValueError")
    except SnowflakeRefusedError as error:
        if error.errno in GONE:
            return failed(f"The result table {table} does not exist, or our role may not read it.")
        return failed(f"The result table {table} can't be read: {told(error)}")


def _rows(table: str, jobs: JobServices, limit: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    size = 2  # bytes of the list so far

    def take(row: Mapping[str, Any]) -> bool:
        nonlocal size
        rows.append({name: json_value(value) for name, value in row.items()})
        size += 1 + len(orjson.dumps(rows[-1]))
        return size <= limit + 1

    jobs.table_rows(table, take)
    if size > limit + 1:
        raise ValueRefusedError(f"they have more than the {limit:,} bytes as JSON that are the limit")
    encode(rows, limit=limit)
    return rows


def json_value(value: Any) -> Any:
    """A value of Snowflake's as JSON has it: exact numbers as numbers if JSON can, else as text; times as ISO 8601."""
    if isinstance(value, Decimal):
        return _number(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return str(value)
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    return value.hex() if isinstance(value, bytes | bytearray) else value


def _number(value: Decimal) -> int | float | str:
    if value == value.to_integral_value():
        return json_value(int(value))  # type: ignore[no-any-return]  # an int, or text if it is too large
    return float(value) if Decimal(repr(float(value))) == value else str(value)
