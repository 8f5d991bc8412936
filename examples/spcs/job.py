"""The program of the sample job's container: run a query, append its rows to a table.

Purpose: what an SPCS job of a data team looks like, in one file. It knows Snowflake only by what the platform puts
into a container: `SNOWFLAKE_HOST`, `SNOWFLAKE_ACCOUNT`, `SNOWFLAKE_DATABASE`, `SNOWFLAKE_SCHEMA` and a token file that
is read right before connecting (and `SNOWFLAKE_PORT` and `SNOWFLAKE_PROTOCOL`, which only the emulator sets). Its last
line is JSON, the result of its task.

    python job.py --query="select current_time() as time,'hello'" --result_table=results_1
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

TOKEN = "/snowflake/session/token"

log = logging.getLogger("job-tutorial")


def main(argv: Sequence[str], env: Mapping[str, str]) -> int:
    """Run the job; the exit status is 1 when it was told to fail in this attempt."""
    _log_to(sys.stdout)
    options = _options(argv)
    log.info("Job started")
    attempt = int(env.get("FRESHET_ATTEMPT", "1"))
    if attempt <= options.fail_attempts:
        log.error("Job fails in attempt %d, as it was told to", attempt)
        return 1
    with _connect(env) as connection:
        rows = _append(connection, options.query, options.result_table)
    log.info("Job finished")
    print(json.dumps({"table": options.result_table, "rows": rows}), flush=True)
    return 0


def _log_to(stream: TextIO) -> None:
    """Only the job's own lines; the connector has a lot to say about clouds that it does not find."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(name)s - %(levelname)s - %(message)s"))
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)
    logging.getLogger("snowflake").setLevel(logging.CRITICAL)


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--query", required=True, help="the query to run")
    parser.add_argument("--result_table", required=True, help="the table that its rows are appended to")
    parser.add_argument("--fail-attempts", type=int, default=0, metavar="N", help="fail in the first N attempts")
    return parser.parse_args(argv)


def _connect(env: Mapping[str, str]) -> Any:
    # Only now: a job that fails before it needs Snowflake does not wait half a second for the import.
    import snowflake.connector

    connection = snowflake.connector.connect(
        host=env["SNOWFLAKE_HOST"],
        port=int(env.get("SNOWFLAKE_PORT", "443")),
        protocol=env.get("SNOWFLAKE_PROTOCOL", "https"),
        enable_server_session_keep_alive_auto_detection=False,  # nothing runs on after the job
        account=env["SNOWFLAKE_ACCOUNT"],
        database=env["SNOWFLAKE_DATABASE"],
        schema=env["SNOWFLAKE_SCHEMA"],
        authenticator="oauth",
        token=Path(env.get("SNOWFLAKE_TOKEN_FILE_PATH", TOKEN)).read_text(encoding="utf-8"),
        paramstyle="qmark",
        platform_detection_timeout_seconds=0,  # a token is there, no cloud's metadata service has to be asked
    )
    log.info("Connected to %s.%s", env["SNOWFLAKE_DATABASE"], env["SNOWFLAKE_SCHEMA"])
    return connection


def _append(connection: Any, query: str, table: str) -> int:
    """Append the query's rows to the table, which is made if it is not there; how many there were."""
    log.info("Run %s, append to %s", query, table)
    cursor = connection.cursor()
    rows = cursor.execute(query).fetchall()
    names = [
        f"COLUMN_{index}" if not _plain(column[0]) else column[0] for index, column in enumerate(cursor.description)
    ]
    columns = ", ".join(f"{name} STRING" for name in names)
    cursor.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
    marks = ", ".join("?" * len(names))
    for row in rows:
        cursor.execute(f"INSERT INTO {table} VALUES ({marks})", [str(value) for value in row])
    return len(rows)


def _plain(name: str) -> bool:
    return name.isidentifier()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
