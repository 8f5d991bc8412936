"""What plain `snowflake.connector` code of any supported version sees of ordinary SQL; it knows nothing of Freshet.

Imported by `connector_contract.py`, in an environment that need not have this project in it.
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from snowflake import connector

Connect = Callable[..., Any]
UTC = dt.UTC
MOMENT = dt.datetime.fromisoformat("2026-03-01 10:20:30.250")


def fresh(prefix: str = "C") -> str:
    return f"{prefix}_{uuid.uuid4().hex.upper()}"


def refusal(cursor: Any, sql: str) -> tuple[int, str]:
    try:
        cursor.execute(sql)
    except connector.errors.DatabaseError as error:
        return error.errno, error.sqlstate
    raise AssertionError(f"it was accepted: {sql}")


def every_type_goes_in_and_comes_out(connect: Connect) -> None:
    cursor, table = connect().cursor(), fresh()
    cursor.execute(
        f"CREATE TABLE {table} (n NUMBER(38,0), p NUMBER(10,2), f FLOAT, s VARCHAR, b BOOLEAN, d DATE, t TIME, ntz "
        "TIMESTAMP_NTZ, ltz TIMESTAMP_LTZ, tz TIMESTAMP_TZ, v VARIANT, o OBJECT, a ARRAY, x BINARY, big NUMBER(38,0))"
    )
    cursor.execute(
        f"INSERT INTO {table} SELECT 7, 1.25, 0.5, 'it''s', TRUE, '2026-03-01', '10:20:30.5', '2026-03-01 10:20:30.25',"
        " '2026-03-01 10:20:30 +0200', '2026-03-01 10:20:30 +0200', PARSE_JSON('{\"k\": [1, \"ü\", null]}'),"
        " OBJECT_CONSTRUCT('a', 1, 'none', NULL), ARRAY_CONSTRUCT(1, 'x'), TO_BINARY('00FF', 'HEX'),"
        " 12345678901234567890123456789012345678"
    )
    (row,) = cursor.execute(f"SELECT * FROM {table}").fetchall()
    codes = [column[1] for column in cursor.description]
    assert codes == [0, 0, 1, 2, 13, 3, 12, 8, 6, 7, 5, 9, 10, 11, 0]
    assert row[:6] == (7, decimal.Decimal("1.25"), 0.5, "it's", True, dt.date(2026, 3, 1))
    assert row[6:8] == (dt.time(10, 20, 30, 500_000), MOMENT)
    instant = dt.datetime(2026, 3, 1, 8, 20, 30, tzinfo=UTC)
    assert row[8] == row[9] == instant
    assert [json.loads(value) for value in row[10:13]] == [{"k": [1, "ü", None]}, {"a": 1}, [1, "x"]]
    assert (bytes(row[13]), row[14]) == (b"\x00\xff", 12345678901234567890123456789012345678)


def values_are_bound_by_the_client_and_by_the_server(connect: Connect) -> None:
    tricky = 'it\'s \\ 100 % $$ \x00 \n "😀" ?'
    given = (1, 2.5, tricky, True, None, b"\x00\xff")
    for style, mark in (("pyformat", "%s"), ("qmark", "?")):
        cursor = connect(paramstyle=style).cursor()
        (row,) = cursor.execute(f"SELECT {', '.join([mark] * 6)}", given).fetchall()
        assert (row[0], float(row[1]), *row[2:5], bytes(row[5])) == given
        sql = f"SELECT {mark}::DATE, {mark}::TIME, {mark}::TIMESTAMP_NTZ"
        assert cursor.execute(sql, (MOMENT.date(), MOMENT.time(), MOMENT)).fetchall() == [
            (MOMENT.date(), MOMENT.time(), MOMENT)
        ]
    (named,) = connect().cursor().execute("SELECT %(a)s, %(b)s", {"a": 1, "b": "x"}).fetchall()
    assert named == (1, "x")


def rows_come_as_dictionaries_and_in_portions(connect: Connect) -> None:
    connection = connect()
    row = connection.cursor(connector.DictCursor).execute('SELECT 1 AS a, 2 AS "b", 1+1').fetchone()
    assert row == {"A": 1, "b": 2, "1+1": 2}
    cursor = connection.cursor()
    cursor.execute("SELECT SEQ4() FROM TABLE(GENERATOR(ROWCOUNT => 1000))")
    assert (cursor.rowcount, len(cursor.fetchmany(300)), len(cursor.fetchmany(300)), len(cursor.fetchall())) == (
        1000,
        300,
        300,
        400,
    )
    assert [column[0] for column in cursor.describe("SELECT 1 AS a, 'x' AS b")] == ["A", "B"]


def a_query_runs_in_the_background_and_can_be_aborted(connect: Connect) -> None:
    connection = connect()
    cursor = connection.cursor()
    cursor.execute_async("SELECT SYSTEM$WAIT(600)")
    running = cursor.sfqid
    assert connection.is_still_running(connection.get_query_status(running))
    cursor.execute_async("SELECT 7")
    other = cursor.sfqid
    cursor.get_results_from_sfqid(other)
    assert cursor.fetchall() == [(7,)]
    assert connection.get_query_status(other).name == "SUCCESS"
    assert cursor.abort_query(running)
    assert connection.get_query_status(running).name == "ABORTED"
    cursor.execute_async("SELECT nothing FROM nowhere")
    failed = cursor.sfqid
    while connection.is_still_running(connection.get_query_status(failed)):
        pass
    assert connection.is_an_error(connection.get_query_status(failed))


def several_statements_are_one_request(connect: Connect) -> None:
    cursor, table = connect().cursor(), fresh()
    text = f"CREATE TABLE {table} (i INT); INSERT INTO {table} VALUES (1), (2); SELECT ';', COUNT(*) FROM {table}"
    cursor.execute(text, num_statements=3)
    found = [cursor.fetchall()]
    while cursor.nextset():
        found.append(cursor.fetchall())
    assert found == [[(f"Table {table} successfully created.",)], [(2,)], [(";", 2)]]
    assert refusal(cursor, "SELECT 1; SELECT 2") == (8, "0A000")


def the_history_shows_queries_by_their_tag(connect: Connect) -> None:
    tag, table = fresh(), fresh()
    cursor = connect(session_parameters={"QUERY_TAG": tag}).cursor()
    cursor.execute(f"CREATE TABLE {table} (i INT); INSERT INTO {table} VALUES (1), (2)", num_statements=2)
    assert refusal(cursor, "SELECT nothing FROM nowhere")[0] == 2003
    cursor.execute("ALTER SESSION UNSET QUERY_TAG")
    cursor.execute("SELECT 1")
    columns = "query_type, execution_status, error_code, query_text, user_name, database_name, rows_produced"
    for function in ("QUERY_HISTORY", "QUERY_HISTORY_BY_USER", "QUERY_HISTORY_BY_SESSION"):
        source = f"TABLE(FRESHET.INFORMATION_SCHEMA.{function}(RESULT_LIMIT => 1000))"
        cursor.execute(f"SELECT {columns} FROM {source} WHERE query_tag = '{tag}' ORDER BY start_time, query_type DESC")
        found = cursor.fetchall()
        assert [row[1] for row in found] == ["SUCCESS", "SUCCESS", "SUCCESS", "FAILED_WITH_ERROR", "SUCCESS"]
        assert [row[2] for row in found] == [None, None, None, "002003", None]
        assert "MULTI_STATEMENT" in [row[0] for row in found[:2]]
        assert found[2][3] == f"INSERT INTO {table} VALUES (1), (2)"
        assert {row[4:6] for row in found} == {("FRESHET", "FRESHET")}
    cursor.execute("SELECT COUNT(*) FROM TABLE(INFORMATION_SCHEMA.QUERY_HISTORY(RESULT_LIMIT => 2))")
    assert cursor.fetchone() == (2,)


def transactions_end_as_told(connect: Connect) -> None:
    connection, table = connect(), fresh()
    cursor = connection.cursor()
    cursor.execute(f"CREATE TABLE {table} (i INT)")

    def count() -> int:
        ((found,),) = connect().cursor().execute(f"SELECT COUNT(*) FROM {table}").fetchall()
        return int(found)

    cursor.execute("BEGIN")
    cursor.execute(f"INSERT INTO {table} VALUES (1)")
    assert refusal(cursor, "SELECT nothing FROM nowhere")[0] == 2003
    assert cursor.execute(f"SELECT COUNT(*) FROM {table}").fetchone() == (1,)
    assert count() == 0
    cursor.execute("COMMIT")
    assert count() == 1
    connection.autocommit(False)
    cursor.execute(f"DELETE FROM {table}")
    connection.rollback()
    assert count() == 1
    cursor.execute(f"DELETE FROM {table}")
    connection.commit()
    assert count() == 0


def merge_counts_what_it_did(connect: Connect) -> None:
    cursor, table = connect().cursor(), fresh()
    cursor.execute(f"CREATE TABLE {table} (id INT, n INT)")
    cursor.execute(f"INSERT INTO {table} VALUES (1, 10), (2, 20)")
    cursor.execute(
        f"MERGE INTO {table} t USING (SELECT 1 AS id, 11 AS n UNION ALL SELECT 2, 0 UNION ALL SELECT 3, 33) s "
        "ON t.id = s.id WHEN MATCHED AND s.n = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET t.n = s.n "
        "WHEN NOT MATCHED THEN INSERT (id, n) VALUES (s.id, s.n)"
    )
    assert cursor.fetchall() == [(1, 1, 1)]
    assert cursor.rowcount == 3
    assert cursor.execute(f"SELECT * FROM {table} ORDER BY id").fetchall() == [(1, 11), (3, 33)]
    cursor.execute(f"UPDATE {table} SET n = n + 1")
    assert cursor.rowcount == 2
    cursor.execute(f"DELETE FROM {table} WHERE id = 3")
    assert cursor.rowcount == 1


def variables_and_places_belong_to_the_session(connect: Connect) -> None:
    connection, database = connect(), fresh("DB")
    cursor = connection.cursor()
    cursor.execute("SET (low, name) = (2 + 3, 'it''s')")
    assert cursor.execute("SELECT $low, $name").fetchall() == [(5, "it's")]
    assert refusal(connect().cursor(), "SELECT $low") == (2211, "02000")
    cursor.execute(f"CREATE DATABASE {database}")
    cursor.execute("CREATE SCHEMA work")
    cursor.execute("CREATE TABLE inside (i INT)")
    assert (connection.database, connection.schema) == (database, "WORK")
    cursor.execute("USE SCHEMA public")
    assert refusal(cursor, "SELECT * FROM inside")[0] == 2003
    listed = f"SELECT table_schema, table_name FROM {database}.information_schema.tables"
    assert cursor.execute(listed).fetchall() == [("WORK", "INSIDE")]
    cursor.execute(f"DROP DATABASE {database}")


ERRORS: list[tuple[str, tuple[int, str]]] = [
    ("SELEC 1", (1003, "42000")),
    ("FROBNICATE THE WIDGET", (1003, "42000")),
    ("SELECT * FROM no_such_table", (2003, "42S02")),
    ("SELECT * FROM no_such_schema.t", (2003, "02000")),
    ("USE DATABASE no_such_database", (2003, "02000")),
    ("DROP TABLE no_such_table", (2003, "42S02")),
    ("SELECT no_such_column FROM (SELECT 1 AS a)", (904, "42000")),
    ("SELECT no_such_function(1)", (2140, "42601")),
    ("SELECT 'abc'::INT", (100038, "22018")),
    ("SELECT 'abc'::DATE", (100040, "22007")),
    ("SELECT 1 / 0", (100051, "22012")),
    ("SELECT PARSE_JSON('{')", (100069, "22P02")),
    ("CREATE DATABASE freshet", (2002, "42710")),
    ("CALL no_such_procedure()", (2140, "42601")),
]


def errors_have_snowflakes_numbers(connect: Connect) -> None:
    cursor, table = connect().cursor(), fresh()
    for sql, expected in ERRORS:
        assert refusal(cursor, sql) == expected, sql
    cursor.execute(f"CREATE TABLE {table} (i INT NOT NULL)")
    assert refusal(cursor, f"CREATE TABLE {table} (i INT)") == (2002, "42710")
    assert refusal(cursor, f"INSERT INTO {table} VALUES (NULL)") == (100072, "22000")
    assert refusal(cursor, f"INSERT INTO {table} VALUES (1, 2)") == (2020, "21S01")


def another_login_is_refused(connect: Connect) -> None:
    for wrong in ({"password": "wrong"}, {"user": "somebody"}):
        try:
            connect(**wrong)
        except connector.errors.DatabaseError as error:
            code = error.errno
        else:
            code = 0
        assert code == 390100


SPEC = """
spec:
  containers:
    - name: main
      image: /db/s/repo/image:1
      command: [sh, -c, "echo {{ word }}"]
"""


def files_go_into_a_stage_and_out_again(connect: Connect) -> None:
    cursor, stage, name = connect().cursor(), fresh("STAGE"), fresh("J")
    cursor.execute(f"CREATE STAGE {stage}")
    with tempfile.TemporaryDirectory() as made:
        source, target = Path(made) / "spec.yaml", Path(made) / "back"
        target.mkdir()
        source.write_text(SPEC)
        cursor.execute(f"PUT file://{source} @{stage}/specs AUTO_COMPRESS = FALSE OVERWRITE = TRUE")
        assert cursor.fetchone()[6] == "UPLOADED"
        (listed,) = cursor.execute(f"LIST @{stage}").fetchall()
        assert listed[:2] == (f"{stage.lower()}/specs/spec.yaml", len(SPEC))
        cursor.execute(f"GET @{stage}/specs/spec.yaml file://{target}/")
        assert (target / "spec.yaml").read_text() == SPEC
    cursor.execute(
        f"EXECUTE JOB SERVICE IN COMPUTE POOL PR_STD_POOL_S NAME = {name} FROM @{stage}/specs "
        "SPECIFICATION_TEMPLATE_FILE = 'spec.yaml' USING (word => 'hello')"
    )
    assert cursor.execute(f"SELECT SYSTEM$GET_SERVICE_LOGS('{name}', 0, 'main')").fetchall() == [("hello",)]
    spec_file = f"EXECUTE JOB SERVICE IN COMPUTE POOL PR_STD_POOL_S FROM @{stage} SPEC='none.yaml'"
    assert refusal(cursor, spec_file) == (2003, "02000")
    assert cursor.execute(f"REMOVE @{stage}/specs").fetchall() == [(f"{stage.lower()}/specs/spec.yaml", "removed")]
    assert cursor.execute(f"LIST @{stage}").fetchall() == []
    cursor.execute(f"DROP STAGE {stage}")
    assert refusal(cursor, f"LIST @{stage}") == (2003, "02000")


CLAIMS: list[Callable[[Connect], None]] = [
    every_type_goes_in_and_comes_out,
    values_are_bound_by_the_client_and_by_the_server,
    rows_come_as_dictionaries_and_in_portions,
    a_query_runs_in_the_background_and_can_be_aborted,
    several_statements_are_one_request,
    the_history_shows_queries_by_their_tag,
    transactions_end_as_told,
    merge_counts_what_it_did,
    variables_and_places_belong_to_the_session,
    errors_have_snowflakes_numbers,
    another_login_is_refused,
    files_go_into_a_stage_and_out_again,
]
