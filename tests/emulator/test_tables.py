"""Tables: sessions beside each other, restarts, semi-structured values, and what DuckDB must not do."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.emulator.client import Client
from tests.emulator.server import EmulatorProcess, fresh

from freshet.snowflake import JobServices, SnowflakeRefusedError
from freshet_emulator.results import encode
from freshet_emulator.tables.functions import date_format
from freshet_emulator.tables.names import split_schema, stored_schema


def test_sessions_that_change_the_same_row_lose_nothing(emulator: EmulatorProcess, services: JobServices) -> None:
    table, clients, rounds = fresh(), 6, 5
    services.execute(f"CREATE TABLE {table} (i INT, n INT)")
    services.execute(f"INSERT INTO {table} VALUES (1, 0)")
    answers: list[dict[str, Any]] = []

    def work() -> None:
        client = Client(emulator.url)
        for _ in range(rounds):
            answers.append(client.query(f"UPDATE {table} SET n = n + 1 WHERE i = 1"))
            answers.append(client.query("BEGIN"))
            answers.append(client.query(f"UPDATE {table} SET n = n + 1"))
            answers.append(client.query("COMMIT"))
        client.http.close()

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer["message"] for answer in answers if not answer["success"]] == []
    assert services.execute(f"SELECT n FROM {table}") == [{"n": 2 * clients * rounds}]


def test_a_closed_session_gives_back_what_it_held(emulator: EmulatorProcess, services: JobServices) -> None:
    table, other = fresh(), Client(emulator.url)
    services.execute(f"CREATE TABLE {table} (n INT)")
    services.execute(f"INSERT INTO {table} VALUES (1)")
    other.query("BEGIN")
    other.query(f"UPDATE {table} SET n = 2")
    other.post("/session?delete=true", {}, other.tokens["token"])
    other.http.close()
    services.execute(f"UPDATE {table} SET n = n + 10")
    assert services.execute(f"SELECT n FROM {table}") == [{"n": 11}]


def test_a_temporary_table_is_its_sessions_own(emulator: EmulatorProcess, services: JobServices) -> None:
    table, other = fresh(), Client(emulator.url)
    services.execute(f"CREATE TEMPORARY TABLE {table} AS SELECT 1 AS a")
    assert services.execute(f"SELECT a FROM {table}") == [{"a": 1}]
    assert other.query(f"SELECT a FROM {table}")["code"] == "002003"
    services.execute(f"DROP TABLE {table}")
    other.http.close()


def test_tables_and_their_types_outlive_a_restart(tmp_path: Path) -> None:
    first = EmulatorProcess("--state", str(tmp_path))
    services = first.services()
    services.execute("CREATE DATABASE kept")
    services.execute("CREATE TABLE kept.public.t (at TIMESTAMP_TZ, o OBJECT, v VARCHAR(7), i INT AUTOINCREMENT)")
    services.execute("INSERT INTO kept.public.t (v) VALUES ('a'), ('b')")
    services.execute("CREATE STAGE kept.public.s")
    first.kill()
    services.close()
    second = EmulatorProcess("--state", str(tmp_path))
    services = second.services()
    types = [row["type"] for row in services.execute("DESC TABLE kept.public.t")]
    assert types == ["TIMESTAMP_TZ(9)", "OBJECT", "VARCHAR(7)", "NUMBER(38,0)"]
    services.execute("INSERT INTO kept.public.t (v) VALUES ('c')")
    found = services.execute("SELECT v, i FROM kept.public.t ORDER BY i")
    assert [row["v"] for row in found] == ["a", "b", "c"]
    assert len({row["i"] for row in found}) == 3
    assert services.execute("LIST @kept.public.s") == []
    services.close()
    assert second.stop() == 0


def test_semi_structured_values_are_taken_apart(services: JobServices) -> None:
    table = fresh()
    services.execute(f"CREATE TABLE {table} (v VARIANT)")
    services.execute(f"""INSERT INTO {table} SELECT PARSE_JSON('{{"a": {{"b": [1, "x"]}}, "Key": true}}')""")
    (row,) = services.execute(
        f"SELECT v:a.b[1]::string AS x, v:a.b[0]::int AS one, v['Key']::boolean AS yes, ARRAY_SIZE(v:a.b) AS size, "
        f"TYPEOF(v:a) AS kind, v:none AS none, OBJECT_KEYS(v) AS keys FROM {table}"
    )
    assert (row["x"], row["one"], row["yes"], row["size"], row["kind"], row["none"]) == (
        "x",
        1,
        True,
        2,
        "OBJECT",
        None,
    )
    assert sorted(json.loads(row["keys"])) == ["Key", "a"]
    rows = services.execute(
        f"SELECT f.index, f.value::string AS value FROM {table}, LATERAL FLATTEN(input => v:a.b) f ORDER BY 1"
    )
    assert rows == [{"index": 0, "value": "1"}, {"index": 1, "value": "x"}]
    rows = services.execute("SELECT key, value FROM TABLE(FLATTEN(input => PARSE_JSON('{\"x\": 1}')))")
    assert rows == [{"key": "x", "value": "1"}]


def test_exact_numbers_stay_exact_and_dates_stay_dates(services: JobServices) -> None:
    table = fresh()
    services.execute(f"CREATE TABLE {table} (n NUMBER(10,2), d DATE, f FLOAT)")
    services.execute(f"INSERT INTO {table} VALUES (1.50, '2026-01-31', 1.5), (2.00, '2026-01-31', 2)")
    (row,) = services.execute(
        f"SELECT AVG(n) AS avg, SUM(n) / 3 AS third, 1 / 3 AS tiny, AVG(f) AS real, DATEADD(day, 1, MAX(d)) AS next, "
        f"DATEDIFF(day, MAX(d), '2026-02-02') AS days, TO_CHAR(MAX(d), 'YYYY/MM/DD') AS text FROM {table}"
    )
    assert (row["avg"], row["tiny"]) == (decimal.Decimal("1.75"), decimal.Decimal("0.333333"))
    assert row["third"] == decimal.Decimal("1.16666667")
    assert isinstance(row["real"], float)
    assert (row["next"], row["days"], row["text"]) == (dt.date(2026, 2, 1), 2, "2026/01/31")


def test_definitions_change_tables(services: JobServices) -> None:
    table, other = fresh(), fresh()
    services.execute(
        f"CREATE TABLE {table} (id INT AUTOINCREMENT, name VARCHAR(5) DEFAULT 'x' COMMENT 'c', PRIMARY KEY (id))"
    )
    services.execute(f"INSERT INTO {table} (name) VALUES ('a'), (DEFAULT)")
    with pytest.raises(SnowflakeRefusedError, match="non-nullable"):
        services.execute(f"INSERT INTO {table} (id) VALUES (NULL)")
    services.execute(f"ALTER TABLE {table} ADD COLUMN more NUMBER(5,1)")
    services.execute(f"ALTER TABLE {table} RENAME COLUMN more TO less")
    assert services.execute(f"SELECT * FROM {table} ORDER BY id") == [
        {"id": 1, "name": "a", "less": None},
        {"id": 2, "name": "x", "less": None},
    ]
    services.execute(f"CREATE TABLE {other} CLONE {table}")
    services.execute(f"TRUNCATE TABLE {table}")
    services.execute(f"ALTER TABLE {table} SWAP WITH {other}")
    assert services.execute(f"SELECT COUNT(*) AS n FROM {table}") == [{"n": 2}]
    services.execute(f"CREATE VIEW {other}_v (n) AS SELECT name FROM {table}")
    assert services.execute(f"SELECT MAX(n) AS n FROM {other}_v") == [{"n": "x"}]
    services.execute(f"CREATE SEQUENCE {other}_s START = 5 INCREMENT = 2")
    assert services.execute(f"SELECT {other}_s.NEXTVAL") == [{"nextval": 5}]


def test_a_database_that_is_replaced_or_dropped_takes_its_tables_along(services: JobServices) -> None:
    name = fresh("DB")
    services.execute(f"CREATE DATABASE {name}")
    services.execute("CREATE TABLE t (i INT)")
    services.execute("CREATE VIEW v AS SELECT i FROM t")
    assert [row["name"] for row in services.execute("SHOW TABLES")] == ["T"]
    assert [row["name"] for row in services.execute("SHOW VIEWS")] == ["V"]
    services.execute(f"CREATE OR REPLACE DATABASE {name}")
    assert services.execute("SHOW TABLES") == []
    services.execute("CREATE TABLE t (other INT)")
    services.execute(f"DROP DATABASE {name}")
    services.execute(f"CREATE DATABASE {name}")
    with pytest.raises(SnowflakeRefusedError) as missing:
        services.execute("SELECT * FROM t")
    assert missing.value.errno == 2003
    services.execute(f"DROP DATABASE {name}")


def test_a_result_can_be_read_again(services: JobServices) -> None:
    services.execute(
        "SELECT 1 AS a, 'x' AS b, PARSE_JSON('[1]') AS c, CURRENT_DATE AS d UNION ALL SELECT 2, NULL, NULL, NULL"
    )
    rows = services.execute("SELECT a, b FROM TABLE(RESULT_SCAN(LAST_QUERY_ID())) WHERE a > 1")
    assert rows == [{"a": 2, "b": None}]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "COPY (SELECT 1) TO '/tmp/x'",
        "ATTACH '/tmp/x' AS y",
        "INSTALL httpfs",
        "PRAGMA version",
        "SET threads = 1; SELECT 1",
    ],
)
def test_the_rest_of_the_machine_is_out_of_reach(services: JobServices, sql: str) -> None:
    with pytest.raises(SnowflakeRefusedError):
        services.execute(sql)


@given(st.text(), st.text())
def test_two_schemas_never_share_a_place(database: str, schema: str) -> None:
    assert split_schema(stored_schema(database, schema)) == (database, schema)


@given(st.datetimes(), st.integers(-14 * 60, 14 * 60))
def test_a_moment_is_written_as_the_wire_wants_it(moment: dt.datetime, offset: int) -> None:
    aware = moment.replace(tzinfo=dt.timezone(dt.timedelta(minutes=offset)))
    seconds, minutes = str(encode(aware, "TIMESTAMP_TZ")).split(" ")
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    assert int(minutes) - 1440 == offset
    assert epoch + dt.timedelta(microseconds=int(decimal.Decimal(seconds) * 1_000_000)) == aware


@given(st.times())
def test_a_time_has_all_nine_digits(time: dt.time) -> None:
    whole, fraction = str(encode(time, "TIME")).split(".")
    assert len(fraction) == 9
    assert int(whole) == time.hour * 3600 + time.minute * 60 + time.second


def test_a_date_format_is_translated_word_by_word() -> None:
    assert date_format('YYYY-MM-DD"T"HH24:MI:SS.FF3') == '%Y-%m-%d"T"%H:%M:%S.%g'
