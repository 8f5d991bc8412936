"""What a plain connector of any supported version must be able to do with the emulator.

A program: `connector_contract.py PORT LIBRARY…`; the directories of the libraries come last on the path, so that
the connector of the interpreter that runs this is the one that is used. Prints one JSON object.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import datetime as dt
import decimal
import json
import sys
import tempfile
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

PORT, LIBRARIES = int(sys.argv[1]), sys.argv[2:]
sys.path.extend(LIBRARIES)

import connector_claims  # noqa: E402 - found by the path above
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key  # noqa: E402 - found by the path above
from cryptography.hazmat.primitives.serialization import (  # noqa: E402 - found by the path above
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
)
from snowflake import connector  # noqa: E402 - found by the path above

from freshet.snowflake import (  # noqa: E402
    JobServices,
    JobStatus,
    Place,
    Queries,
    SnowflakeLoginRefusedError,
    SnowflakeRefusedError,
    SnowflakeSettings,
)
from freshet.snowflake.mirror import LEDGER, MirrorTables, Part  # noqa: E402

PLACE: dict[str, Any] = {"account": "local", "host": "127.0.0.1", "port": PORT, "protocol": "http"}
SETTINGS = SnowflakeSettings(**PLACE, database="FRESHET", schema="PUBLIC", user="freshet", password="freshet")
ARGUMENTS = SETTINGS.connect_arguments(connector.__version__)


def refused(act: Callable[[], object], kind: type[Exception]) -> Any:
    try:
        act()
    except kind as error:
        return error
    raise AssertionError("it was accepted")


def fresh() -> str:
    return f"C_{uuid.uuid4().hex.upper()}"


def types_come_back(cursor: Any) -> None:
    table = fresh()
    cursor.execute(
        f"CREATE TABLE {table} (i NUMBER(38,0), n NUMBER(10,2), f FLOAT, t VARCHAR, b BOOLEAN, d DATE, c TIME, "
        "at TIMESTAMP_NTZ, made TIMESTAMP_LTZ DEFAULT CURRENT_TIMESTAMP())"
    )
    cursor.execute(
        f"INSERT INTO {table} (i, n, f, t, b, d, c, at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        (7, "1.25", 0.5, "it's \\ 100 %\n", True, "2026-03-01", "10:20:30.5", "2026-03-01 10:20:30.25"),
    )
    assert cursor.rowcount == 1
    (row,) = cursor.execute(f"SELECT * FROM {table}").fetchall()
    assert row[:5] == (7, decimal.Decimal("1.25"), 0.5, "it's \\ 100 %\n", True)
    assert [str(value) for value in row[5:8]] == ["2026-03-01", "10:20:30.500000", "2026-03-01 10:20:30.250000"]
    assert row[8].tzinfo is not None


def rows_of_many_bindings_are_counted(cursor: Any) -> None:
    table = fresh()
    cursor.execute(f"CREATE TABLE {table} (i NUMBER, t VARCHAR)")
    cursor.executemany(f"INSERT INTO {table} VALUES (?, ?)", [(1, "007"), (2, None)])
    assert cursor.rowcount == 2
    assert cursor.execute(f"SELECT * FROM {table} WHERE i > ? ORDER BY i", (0,)).fetchall() == [(1, "007"), (2, None)]


def an_asynchronous_query_is_fetched_later(cursor: Any) -> None:
    cursor.execute_async("SELECT 7 AS seven")
    query_id = cursor.sfqid
    cursor.get_results_from_sfqid(query_id)
    assert cursor.fetchall() == [(7,)]
    assert cursor.connection.get_query_status(query_id).name == "SUCCESS"


def a_bad_statement_is_a_programming_error(cursor: Any) -> None:
    error = refused(lambda: cursor.execute("FROBNICATE THE WIDGET"), connector.errors.ProgrammingError)
    assert (error.errno, error.sqlstate) == (1003, "42000")
    assert "FROBNICATE THE WIDGET" in str(error)


def a_synchronous_job_is_waited_for(cursor: Any) -> None:
    spec = '{"spec": {"containers": [{"name": "main", "image": "/x", "command": ["true"]}]}}'
    name = fresh()
    cursor.execute(
        "EXECUTE JOB SERVICE IN COMPUTE POOL IDENTIFIER(?) NAME = IDENTIFIER(?) FROM SPECIFICATION ?",
        ("PR_STD_POOL_S", name, spec),
    )
    assert cursor.fetchall() == [(f"Job {name} completed successfully with status: DONE.",)]


def jobs_are_driven() -> None:
    services, name = JobServices(SETTINGS), fresh()
    spec = '{"spec": {"containers": [{"name": "main", "image": "/x", "command": ["sh", "-c", "echo hi; exit 3"]}]}}'
    services.submit(name, "PR_STD_POOL_S", spec, "mine")
    services.submit(name, "PR_STD_POOL_S", spec, "mine")
    error = refused(lambda: services.execute(f"CALL {name}!SPCS_WAIT_FOR('DONE', 30)"), SnowflakeRefusedError)
    assert "FAILED" in str(error)
    (row,) = services.list_jobs(name)
    assert row.status is JobStatus.FAILED
    assert services.containers(name)[0].exit_code == 3
    assert services.logs(name) == "hi"
    services.drop(name)
    assert services.describe(name) is None
    assert services.history(name) is not None
    services.close()


def every_credential_logs_in() -> None:
    """As the services read it from their settings: password, access token, token file read anew, key pair."""
    with tempfile.TemporaryDirectory() as directory:
        token, key = Path(directory) / "token", Path(directory) / "key.p8"
        token.write_text("wrong")
        public = write_key(key)
        place: dict[str, Any] = {**PLACE, "database": "FRESHET", "schema": "PUBLIC"}
        JobServices(SETTINGS).execute(f"ALTER USER freshet SET RSA_PUBLIC_KEY = '{public}'")
        for credentials in (
            {"user": "freshet", "password": "freshet"},
            {"user": "freshet", "token": "freshet"},
            {"user": "freshet", "private_key_file": str(key), "private_key_file_pwd": "of the key"},
        ):
            services = JobServices(SnowflakeSettings(**place, **credentials).checked())
            assert services.execute("SELECT CURRENT_USER() AS who") == [{"who": "FRESHET"}]
            services.close()
        services = JobServices(SnowflakeSettings(**place, token_file_path=str(token)).checked())
        error = refused(lambda: services.execute("SELECT 1"), SnowflakeLoginRefusedError)
        assert "check FRESHET_SNOWFLAKE_USER and its credentials" in error.message
        token.write_text("freshet\n")  # SPCS has replaced it
        assert services.execute("SELECT CURRENT_USER() AS who") == [{"who": "FRESHET"}]
        services.close()


def write_key(path: Path) -> str:
    """Make a private key with a password; its public half, as Snowflake takes it."""
    key = generate_private_key(65537, 2048)
    secret = BestAvailableEncryption(b"of the key")
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret))
    return base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def a_table_is_read_row_by_row() -> None:
    services, table, seen = JobServices(SETTINGS), fresh(), list[Any]()
    services.execute(f"CREATE TABLE {table} (n NUMBER(10,2))")
    services.execute(f"INSERT INTO {table} VALUES (1.25), (2), (3)")
    services.table_rows(f"FRESHET.PUBLIC.{table}", lambda row: (seen.append(row["n"]), len(seen) < 2)[1])
    assert len(seen) == 2
    assert set(seen) <= {decimal.Decimal("1.25"), decimal.Decimal(2), decimal.Decimal(3)}
    services.close()


def scripts_are_found_again_by_their_tag() -> None:
    queries, tag, table = Queries(SETTINGS), f"freshet/{fresh()}", fresh()
    text = f"CREATE TEMPORARY TABLE {table} (i INT, v VARIANT); INSERT INTO {table} SELECT 1, PARSE_JSON('[\"ü\"]'); "
    begun = queries.start(text + f"SELECT * FROM {table}", tag, Place(role="R"), several=True, timeout=60.0)
    other = Queries(SETTINGS)  # as after a loss: another session, another process
    while (found := other.tagged([tag]))[0].running:
        pass
    assert (found[0].id, [row.succeeded for row in found]) == (begun, [True] * 4)
    assert other.rows(found[-1].id, limit=1000) == ([{"i": 1, "v": ["ü"]}], True)
    failed = other.start("SELECT nothing FROM nowhere", f"{tag}/2", Place(), several=False)
    while (row := queries.tagged([f"{tag}/2"])[0]).running:
        pass
    assert (row.id, row.failed, row.code) == (failed, True, 2003)
    endless = other.start("SELECT 1; SELECT SYSTEM$WAIT(600)", f"{tag}/3", Place(), several=True)
    assert endless in [row.id for row in queries.running(tag)]
    queries.abort(endless)
    queries.abort(endless)
    while queries.running(tag):
        pass
    queries.close()
    other.close()


def rows_are_mirrored_once() -> None:
    services, schema = JobServices(SETTINGS), fresh()
    services.execute(f"CREATE SCHEMA FRESHET.{schema}")
    tables = MirrorTables(dataclasses.replace(SETTINGS, schema=schema, paramstyle="qmark"))
    moment = dt.datetime(2026, 3, 1, 10, 20, 30, 250_001, tzinfo=dt.UTC)
    row = {"root_task_name": "it's \\ \n ?", "graph_start_time": moment, "errors": "", "task_name": None}
    part = Part(run=uuid.UUID(int=7), table="jobs_run_stats", number=0, rows=[row, row])
    for _ in range(2):
        tables.write([part])
        found = services.execute(f"SELECT * FROM FRESHET.{schema}.jobs_run_stats")
        assert [{name: each[name] for name in row} for each in found] == [row, row]
    assert len(services.execute(f"SELECT * FROM FRESHET.{schema}.{LEDGER}")) == 1
    services.execute(f"DROP SCHEMA FRESHET.{schema}")
    tables.close()
    services.close()


CLAIMS: list[Callable[[Any], None]] = [
    types_come_back,
    rows_of_many_bindings_are_counted,
    an_asynchronous_query_is_fetched_later,
    a_bad_statement_is_a_programming_error,
    a_synchronous_job_is_waited_for,
]


def main() -> None:
    """Hold every claim."""
    for claim in CLAIMS:
        style = "qmark" if claim in (rows_of_many_bindings_are_counted, a_synchronous_job_is_waited_for) else "pyformat"
        with connector.connect(**ARGUMENTS, paramstyle=style) as connection, connection.cursor() as cursor:
            claim(cursor)
    jobs_are_driven()
    every_credential_logs_in()
    a_table_is_read_row_by_row()
    scripts_are_found_again_by_their_tag()
    rows_are_mirrored_once()
    for plain in connector_claims.CLAIMS:
        with contextlib.ExitStack() as opened:
            plain(lambda opened=opened, **changes: opened.enter_context(connector.connect(**ARGUMENTS | changes)))
    print(json.dumps({"connector": connector.__version__, "claims": len(CLAIMS) + 3 + len(connector_claims.CLAIMS)}))


if __name__ == "__main__":
    # Deprecations inside the connectors are theirs; ours would show with the newest one.
    warnings.simplefilter("error" if not connector.__version__.startswith("4.") else "default")
    main()
