"""The platform's functions and methods, row by row of the statement table, and what text survives the way."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.emulator.client import Client
from tests.emulator.server import EmulatorProcess, ended, fresh, shell, status, until

from freshet.snowflake import JobServices, JobStatus, SnowflakeRefusedError
from freshet_emulator.spcs.output import LOG_BYTES, OutputTail
from freshet_emulator.sql.lexer import split
from freshet_emulator.tables.plans import parse

EXECUTE = "EXECUTE JOB SERVICE IN COMPUTE POOL"


@pytest.fixture
def done(services: JobServices, pool: str) -> str:
    """A job that wrote three lines and ended."""
    name = fresh()
    services.submit(name, pool, shell("echo one; echo two; echo three"), "mine")
    ended(services, name)
    return name


@pytest.fixture
def stays(services: JobServices, pool: str) -> str:
    """A job that runs until it is stopped."""
    name = fresh()
    services.submit(name, pool, shell("exec sleep 600"), "mine")
    until(lambda: status(services, name) is JobStatus.RUNNING)
    return name


def only(rows: list[dict[str, Any]]) -> Any:
    ((value,),) = [tuple(row.values()) for row in rows]
    return value


def test_persisted_lines_have_their_times_and_can_be_asked_for_by_them(services: JobServices, done: str) -> None:
    rows = services.execute(f"SELECT * FROM TABLE({done}!SPCS_GET_LOGS()) ORDER BY timestamp")
    assert [row["log"] for row in rows] == ["one", "two", "three"]
    assert (rows[0]["instance_id"], rows[0]["container_name"]) == ("0", "main")
    assert json.loads(rows[0]["record_attributes"]) == {"log.iostream": "stdout"}
    tomorrow = (dt.datetime.now(dt.UTC) + dt.timedelta(days=1)).isoformat()
    assert services.execute(f"SELECT * FROM TABLE({done}!SPCS_GET_LOGS(START_TIME => '{tomorrow}'))") == []
    assert len(services.execute(f"SELECT log FROM TABLE({done}!SPCS_GET_LOGS(END_TIME => '{tomorrow}'))")) == 3


def test_events_tell_every_status_a_job_had(services: JobServices, done: str) -> None:
    rows = services.execute(f"SELECT * FROM TABLE({done}!SPCS_GET_EVENTS())")
    assert list(rows[0]) == [
        "timestamp",
        "severity",
        "event_name",
        "event_details",
        "instance_id",
        "container_name",
        "record",
        "record_attributes",
    ]
    of_service = [row for row in rows if row["event_name"] == "SERVICE.STATUS_CHANGE"]
    assert [json.loads(row["event_details"])["status"] for row in of_service][-1] == "DONE"
    of_container = [row for row in rows if row["event_name"] == "CONTAINER.STATUS_CHANGE"]
    assert [json.loads(row["event_details"])["status"] for row in of_container][-2:] == ["READY", "DONE"]


def test_metrics_have_their_columns_and_no_rows(services: JobServices, done: str) -> None:
    assert services.execute(f"SELECT metric_name, value, unit FROM TABLE({done}!SPCS_GET_METRICS())") == []


def test_logs_are_cut_to_lines_and_stamped_when_asked(services: JobServices, done: str) -> None:
    call = f"SELECT SYSTEM$GET_SERVICE_LOGS('{done}', 0, 'main'"
    assert only(services.execute(f"{call}, 2)")) == "two\nthree"
    assert only(services.execute(f"{call}, 10, TRUE)")) == ""
    stamped = only(services.execute(f"{call}, 10, FALSE, '', TRUE)")).split("\n")
    assert [line.split(" ", 1)[1] for line in stamped] == ["one", "two", "three"]
    last = stamped[-1].split(" ", 1)[0]
    assert only(services.execute(f"{call}, 10, FALSE, '{last}', FALSE)")).split("\n")[-1] == "three"
    with pytest.raises(SnowflakeRefusedError) as missing:
        services.execute(f"SELECT SYSTEM$GET_SERVICE_LOGS('{done}', 0, 'other')")
    assert missing.value.errno == 2003


def test_logs_of_a_container_that_waits_say_that_it_is_pending(services: JobServices, pool: str, stays: str) -> None:
    name = fresh()
    services.submit(name, pool, shell("true"), "mine")
    with pytest.raises(SnowflakeRefusedError, match="Container Status: PENDING"):
        services.execute(f"SELECT SYSTEM$GET_SERVICE_LOGS('{name}', 0, 'main')")


def test_waiting_for_a_status_ends_when_it_is_reached_or_can_be_no_more(services: JobServices, stays: str) -> None:
    assert "RUNNING" in only(services.execute(f"CALL {stays}!SPCS_WAIT_FOR('RUNNING', 10)"))
    with pytest.raises(SnowflakeRefusedError, match="RUNNING"):
        services.execute(f"CALL {stays}!SPCS_WAIT_FOR('DONE', 0)")
    assert only(services.execute(f"SELECT SYSTEM$WAIT_FOR_SERVICES(10, '{stays}')")) == "OK"
    assert "cancelled" in only(services.execute(f"SELECT {stays}!SPCS_CANCEL_JOB()"))
    with pytest.raises(SnowflakeRefusedError, match="CANCELLED"):
        services.execute(f"CALL {stays}!SPCS_WAIT_FOR('DONE', 30)")


def test_the_status_function_tells_of_every_container(services: JobServices, done: str) -> None:
    (found,) = json.loads(only(services.execute(f"SELECT SYSTEM$GET_SERVICE_STATUS('{done}', 5)")))
    assert (found["status"], found["containerName"], found["serviceName"]) == ("DONE", "main", done)


def test_a_time_limit_ends_a_synchronous_statement_and_cancels_its_job(
    emulator: EmulatorProcess, services: JobServices, pool: str
) -> None:
    name, client = fresh(), Client(emulator.url)
    submit = f"{EXECUTE} {pool} NAME = {name} FROM SPECIFICATION $${shell('exec sleep 600')}$$"
    answer = client.query(submit, parameters={"STATEMENT_TIMEOUT_IN_SECONDS": 1})
    client.http.close()
    assert (answer["code"], answer["data"]["sqlState"]) == ("000630", "57014")
    assert ended(services, name).status is JobStatus.CANCELLED


def test_the_history_is_limited_and_filtered(services: JobServices, done: str) -> None:
    call = "TABLE(SNOWFLAKE.SPCS.GET_JOB_HISTORY(RESULT_LIMIT => 1))"
    assert len(services.execute(f"SELECT * FROM {call}")) == 1
    tomorrow = (dt.datetime.now(dt.UTC) + dt.timedelta(days=1)).isoformat()
    call = f"TABLE(SNOWFLAKE.SPCS.GET_JOB_HISTORY(CREATED_TIME_START => '{tomorrow}'))"
    assert services.execute(f"SELECT * FROM {call}") == []
    call = "TABLE(SNOWFLAKE.SPCS.GET_JOB_HISTORY(RESULT_LIMIT => 10000))"
    (row,) = services.execute(f"SELECT * FROM {call} WHERE name = '{done}' AND database_name = 'FRESHET'")
    assert json.loads(row["instance_statuses"])["succeeded"] == 1
    assert json.loads(row["parameters"]) == {"ASYNC": True, "REPLICAS": 1}


def test_a_job_is_dropped_with_force_and_once(services: JobServices, done: str) -> None:
    assert only(services.execute(f"DROP SERVICE {done} FORCE")) == f"{done} successfully dropped."
    assert "already dropped" in only(services.execute(f"DROP SERVICE IF EXISTS {done}"))
    with pytest.raises(SnowflakeRefusedError) as missing:
        services.execute(f"DROP SERVICE {done}")
    assert missing.value.errno == 2003


TRICKY = 'it\'s "quoted" \\ back\\\\slash $$ dollars 😀 é ; -- /* ?'


def test_tricky_text_goes_through_arguments_environment_and_logs(services: JobServices, pool: str) -> None:
    name = fresh()
    container = {
        "name": "main",
        "image": "/x",
        "command": ["sh", "-c", 'printf "%s\\n%s\\n" "$1" "$TRICKY"; printf "nul:\\000:end"', "sh"],
        "args": [TRICKY],
        "env": {"TRICKY": TRICKY},
    }
    services.submit(name, pool, json.dumps({"spec": {"containers": [container]}}), TRICKY)
    assert ended(services, name).comment == TRICKY
    assert services.logs(name) == f"{TRICKY}\n{TRICKY}\nnul:\0:end"


def test_an_argument_that_no_program_can_have_fails_its_job_alone(services: JobServices, pool: str) -> None:
    name, other = fresh(), fresh()
    container = {"name": "main", "image": "/x", "command": ["echo", "a\0b"]}
    services.submit(name, pool, json.dumps({"spec": {"containers": [container]}}), "mine")
    assert ended(services, name).status is JobStatus.FAILED
    assert "null byte" in services.logs(name)
    services.submit(other, pool, shell("true"), "mine")
    assert ended(services, other).status is JobStatus.DONE


def test_names_in_quotes_keep_their_case(services: JobServices) -> None:
    database = f'"{fresh("db").lower()} it\'s"'
    services.execute(f"CREATE DATABASE {database}")
    services.execute(f'CREATE TABLE {database}.public."My ""Table"".x" ("a b" INT, "ä" VARCHAR)')
    services.execute(f'INSERT INTO {database}.public."My ""Table"".x" VALUES (1, %s)', (TRICKY,))
    assert services.execute(f'SELECT * FROM {database}.public."My ""Table"".x"') == [{"a b": 1, "ä": TRICKY}]
    services.execute(f"DROP DATABASE {database}")


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(TEXT)
@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_any_text_comes_back_from_the_tables_as_it_was(emulator: EmulatorProcess, text: str) -> None:
    client = Client(emulator.url)
    bindings = {"1": {"type": "TEXT", "value": text}}
    answer = client.query("SELECT ? AS text", bindings=bindings)
    client.http.close()
    assert answer["data"]["rowset"] == [[text]]


@given(st.lists(st.sampled_from(["SELECT 1", "SELECT ';'", "SELECT $$;$$", "SELECT /* ; */ 2", 'SELECT 1 AS ";"'])))
def test_statements_are_parted_where_they_end_and_nowhere_else(statements: list[str]) -> None:
    assert [text.strip() for text, _ in split("; ".join(statements))] == statements
    for statement in statements:
        parse(statement)


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_what_is_kept_of_an_output_is_its_end(chunks: list[bytes]) -> None:
    tail = OutputTail()
    for chunk in chunks:
        tail.append(chunk * 200)
    whole = b"".join(chunk * 200 for chunk in chunks)
    assert tail.text() == whole[-LOG_BYTES:].decode("utf-8", "replace").removesuffix("\n")
    lines = [line for _, line in tail.lines()]
    assert lines == whole.decode("utf-8", "replace").removesuffix("\n").split("\n") or not whole or b"\n" in whole


def test_a_secret_reaches_its_container_and_nobody_else(services: JobServices, pool: str) -> None:
    secret, login, name = fresh("SECRET"), fresh("SECRET"), fresh()
    services.execute(f"CREATE SECRET {secret} TYPE = GENERIC_STRING SECRET_STRING = 'it''s $$ 😀'")
    services.execute(f"CREATE SECRET {login} TYPE = PASSWORD USERNAME = 'u' PASSWORD = 'p'")
    container = {
        "name": "main",
        "image": "/x",
        "command": ["sh", "-c", 'echo "$TOKEN $LOGIN"'],
        "secrets": [
            {"snowflakeSecret": secret.lower(), "envVarName": "TOKEN", "secretKeyRef": "secret_string"},
            {
                "snowflakeSecret": {"objectName": f"freshet.public.{login}"},
                "envVarName": "LOGIN",
                "secretKeyRef": "password",
            },
        ],
    }
    spec = json.dumps({"spec": {"containers": [container]}})
    services.submit(name, pool, spec, "mine")
    assert ended(services, name).status is JobStatus.DONE
    assert services.logs(name) == "it's $$ 😀 p"
    services.execute(f"DROP SECRET {secret}")
    with pytest.raises(SnowflakeRefusedError, match=secret) as missing:
        services.submit(fresh(), pool, spec, "mine")
    assert missing.value.errno == 2003
