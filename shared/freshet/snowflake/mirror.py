"""The two logging tables in Snowflake, as copies of rows that come in parts.

Guarantees: a part is written once, however often it is sent, by whoever: the table FRESHET_MIRROR knows the parts, and
it changes in the transaction that writes their rows. All of a transaction travels in one request, so a sender that dies
leaves none open. Sources: MERGE holds its table until the transaction ends
(https://docs.snowflake.com/en/sql-reference/transactions#resource-locking). Never: a table that is changed or dropped.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from freshet.snowflake.errors import GONE, SnowflakeRefusedError
from freshet.snowflake.session import SnowflakeSession
from freshet.snowflake.settings import SnowflakeSettings
from freshet.snowflake.text import identifier

LEDGER = "FRESHET_MIRROR"
#: The columns of each table, as the views of the same names have them in Postgres.
TABLES: Mapping[str, Mapping[str, str]] = {
    "jobs_run_stats": {
        "root_task_name": "VARCHAR",
        "task_name": "VARCHAR",
        "job_status": "VARCHAR",
        "graph_run_id": "VARCHAR",
        "graph_start_time": "TIMESTAMP_LTZ",
        "errors": "VARCHAR",
        "created_date": "TIMESTAMP_LTZ",
    },
    "task_logging_stats": {
        "graph_run_group_id": "VARCHAR",
        "name": "VARCHAR",
        "state": "VARCHAR",
        "return_value": "VARCHAR",
        "query_start_time": "VARCHAR",
        "completed_time": "VARCHAR",
        "duration_in_secs": "NUMBER(38,0)",
        "error_message": "VARCHAR",
    },
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Some rows of one run in one table; they have the same number whenever they are sent."""

    run: UUID
    table: str
    number: int
    rows: Sequence[Mapping[str, Any]]

    @property
    def key(self) -> str:
        """What the ledger knows it by."""
        return f"{self.run}/{self.table}/{self.number}"


class MirrorTables:
    """The copies, over one session."""

    def __init__(self, settings: SnowflakeSettings) -> None:
        self._session = SnowflakeSession(settings)
        self._place = f"{identifier(settings.database)}.{identifier(settings.schema)}"
        self._made = False

    def write(self, parts: Sequence[Part]) -> None:
        """Write the parts that are not there yet, all or none; the tables are made when they are missing.

        Raises SnowflakeUnreachableError (whether it was written is not known: send it again) and SnowflakeRefusedError.
        """
        try:
            self._make()
            self._session.execute_all(_script(self._place), _values(parts))
        except BaseException as error:
            if isinstance(error, SnowflakeRefusedError) and error.errno in GONE:
                self._made = False
            # The end of the session takes back what a statement that failed has left open.
            self._session.close()
            raise

    def close(self) -> None:
        """Log out."""
        self._session.close()

    def _make(self) -> None:
        if self._made:
            return
        for name, columns in {LEDGER: {"part": "VARCHAR", "written": "BOOLEAN"}, **TABLES}.items():
            listed = ", ".join(f"{column} {kind}" for column, kind in columns.items())
            self._session.execute(f"CREATE TABLE IF NOT EXISTS {self._place}.{name} ({listed})")
        self._made = True


def _script(place: str) -> list[str]:
    """One transaction; its `?` are the keys, and the rows of each table, as JSON."""
    keys = "SELECT value::VARCHAR AS part FROM TABLE(FLATTEN(INPUT => PARSE_JSON(?)))"
    merge = f"MERGE INTO {place}.{LEDGER} AS m USING ({keys}) AS s ON m.part = s.part"
    return [
        "BEGIN",
        f"{merge} WHEN NOT MATCHED THEN INSERT (part, written) VALUES (s.part, FALSE)",  # noqa: S608  (names of ours)
        *(_insert(place, table) for table in TABLES),
        f"UPDATE {place}.{LEDGER} SET written = TRUE WHERE NOT written",  # noqa: S608  (names of ours)
        "COMMIT",
    ]


def _insert(place: str, table: str) -> str:
    columns = TABLES[table]
    values = ", ".join(f"r.value:{column}::{kind}" for column, kind in columns.items())
    return (
        f"INSERT INTO {place}.{table} ({', '.join(columns)}) SELECT {values}"  # noqa: S608  (names of ours)
        f" FROM TABLE(FLATTEN(INPUT => PARSE_JSON(?))) AS r"
        f" JOIN {place}.{LEDGER} AS m ON m.part = r.value:part::VARCHAR WHERE NOT m.written"
    )


def _values(parts: Sequence[Part]) -> list[str]:
    rows = {table: [{"part": part.key, **row} for part in parts if part.table == table for row in part.rows]
            for table in TABLES}  # fmt: skip
    return [json.dumps(each, default=_moment) for each in ([part.key for part in parts], *rows.values())]


def _moment(value: Any) -> str:
    if isinstance(value, dt.datetime):
        return value.isoformat()
    return str(value)
