"""The HTTP side, spoken to without a connector: replays, renewals, packed bodies, nonsense."""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.emulator.client import Client
from tests.emulator.server import EmulatorProcess, fresh


@pytest.fixture
def client(emulator: EmulatorProcess) -> Iterator[Client]:
    found = Client(emulator.url)
    yield found
    found.http.close()


def test_a_repeated_request_runs_once(client: Client) -> None:
    table, request_id = fresh(), str(uuid.uuid4())
    client.query(f"CREATE TABLE {table} (i NUMBER)")
    answers = [client.query(f"INSERT INTO {table} VALUES (1)", request_id) for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert client.query(f"SELECT COUNT(*) FROM {table}")["data"]["rowset"] == [["1"]]


def test_a_request_id_belongs_to_its_session(client: Client, emulator: EmulatorProcess) -> None:
    request_id, other = str(uuid.uuid4()), Client(emulator.url)
    client.query("SELECT 1", request_id)
    assert other.query("SELECT 2", request_id)["data"]["rowset"] == [["2"]]
    other.http.close()


def test_an_expired_token_is_told_and_renewed(client: Client, emulator: EmulatorProcess) -> None:
    emulator.fault(expire_tokens=True)
    request_id = str(uuid.uuid4())
    assert client.query("SELECT 1", request_id)["code"] == "390112"
    renewed = client.renew()["data"]
    assert renewed["sessionId"] == client.tokens["sessionId"]
    client.tokens["token"] = renewed["sessionToken"]
    assert client.query("SELECT 1", request_id)["data"]["rowset"] == [["1"]]


def test_a_session_that_logged_out_is_gone(client: Client) -> None:
    client.post("/session?delete=true", {}, client.tokens["token"])
    assert client.query("SELECT 1")["code"] == "390111"
    assert client.renew()["code"] == "390114"


def test_packed_bodies_and_doubled_slashes_are_understood(client: Client, emulator: EmulatorProcess) -> None:
    headers = {"Authorization": f'Snowflake Token="{client.tokens["token"]}"'}
    body = gzip.compress(json.dumps({"sqlText": "SELECT 5"}).encode())
    packed = headers | {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    answer = client.http.post(
        f"{emulator.url}//queries//v1/query-request?requestId=x", content=body, headers=packed
    ).json()
    assert answer["data"]["rowset"] == [["5"]]
    found = client.http.get(f"{emulator.url}/monitoring/queries//{answer['data']['queryId']}", headers=headers).json()
    assert found["data"]["queries"][0]["status"] == "SUCCESS"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"data": 3}', b'{"sqlText": []}'])
@pytest.mark.parametrize("packed", [False, True])
def test_a_body_that_makes_no_sense_is_never_a_server_error(client: Client, body: bytes, packed: bool) -> None:
    headers = {"Authorization": f'Snowflake Token="{client.tokens["token"]}"'}
    headers |= {"Content-Encoding": "gzip"} if packed else {}
    for path in ("/session/v1/login-request", "/queries/v1/query-request", "/queries/v1/abort-request"):
        answer = client.http.post(path, content=body, headers=headers)
        assert answer.status_code in (200, 400)


VOCABULARY = (
    "SELECT FROM WHERE EXECUTE JOB SERVICE SERVICES IN COMPUTE POOL POOLS NAME ASYNC = TRUE SHOW LIKE 'a%' IDENTIFIER "
    "( ) , ; . ! ? * 1 'x' $$y$$ \"Q\" t CREATE DROP TABLE INSERT INTO VALUES CALL SYSTEM$GET_SERVICE_LOGS => LIMIT "
    "SPCS_CANCEL_JOB GET_JOB_HISTORY RESULT_SCAN USE DATABASE ALTER SESSION SET WITH AS CURRENT_TIMESTAMP ' \" /* $$ "
    "SPECIFICATION DESC BEGIN COMMIT NULL DEFAULT UPDATE DELETE :: @"
)


WORDS = st.sampled_from(VOCABULARY.split())


@given(st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=14).map(" ".join)))
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_no_statement_is_ever_a_server_error(client: Client, sql: str) -> None:
    answer = client.query(sql.encode("utf-8", "replace").decode())
    assert answer["code"] != "000603", answer["message"]
    assert answer["success"] or answer["data"]["errorCode"] == answer["code"]


def test_an_unknown_statement_is_named(client: Client) -> None:
    answer = client.query("FROBNICATE the   widget")
    assert (answer["success"], answer["code"], answer["data"]["sqlState"]) == (False, "001003", "42000")
    assert "FROBNICATE the widget" in answer["message"]


def test_a_running_query_can_be_asked_for_and_aborted(client: Client) -> None:
    name, pool = fresh(), fresh("POOL")
    client.query(f"CREATE COMPUTE POOL {pool} MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = CPU_X64_XS")
    spec = '{"spec": {"containers": [{"name": "main", "image": "/x", "command": ["sleep", "600"]}]}}'
    submit = f"EXECUTE JOB SERVICE IN COMPUTE POOL {pool} NAME = {name} FROM SPECIFICATION $${spec}$$"
    started = client.query(submit, asyncExec=True)
    assert started["code"] == "333334"
    query_id = started["data"]["queryId"]
    headers = {"Authorization": f'Snowflake Token="{client.tokens["token"]}"'}
    client.query(f"CALL {name}!SPCS_WAIT_FOR('RUNNING', 20)")
    assert status_of(client, query_id, headers) == "RUNNING"
    client.post(f"/queries/{query_id}/abort-request", {}, client.tokens["token"])
    assert status_of(client, query_id, headers) == "ABORTED"
    assert client.http.get(started["data"]["getResultUrl"], headers=headers).json()["code"] == "000604"
    assert client.query(f"CALL {name}!SPCS_WAIT_FOR('CANCELLED', 20)")["success"]


def status_of(client: Client, query_id: str, headers: dict[str, str]) -> str:
    answer = client.http.get(f"/monitoring/queries/{query_id}", headers=headers).json()
    return str(answer["data"]["queries"][0]["status"])


def test_a_long_statement_is_polled_for(client: Client) -> None:
    impatient = EmulatorProcess("--hold", "0.05")
    other, name = Client(impatient.url), fresh()
    spec = '{"spec": {"containers": [{"name": "main", "image": "/x", "command": ["sleep", "0.3"]}]}}'
    answer = other.query(
        f"EXECUTE JOB SERVICE IN COMPUTE POOL PR_STD_POOL_S NAME = {name} FROM SPECIFICATION $${spec}$$"
    )
    assert answer["code"] == "333333"
    headers = {"Authorization": f'Snowflake Token="{other.tokens["token"]}"'}
    while answer["code"] == "333333":
        answer = other.http.get(answer["data"]["getResultUrl"], headers=headers).json()
    assert answer["data"]["rowset"] == [[f"Job {name} completed successfully with status: DONE."]]
    other.http.close()
    impatient.stop()


def test_health_readiness_and_metrics_are_served(client: Client) -> None:
    assert client.http.get("/healthz").status_code == client.http.get("/readyz").status_code == 200
    assert "freshet_emulator_requests_total" in client.http.get("/metrics").text


def test_a_query_is_aborted_by_the_request_that_brought_it(client: Client) -> None:
    request_id = str(uuid.uuid4())
    started = client.query("SELECT SYSTEM$WAIT(600)", request_id, asyncExec=True)["data"]
    body = {"sqlText": "SELECT SYSTEM$WAIT(600)", "requestId": request_id}
    assert client.post(f"/queries/v1/abort-request?requestId={uuid.uuid4()}", body, client.tokens["token"])["success"]
    headers = {"Authorization": f'Snowflake Token="{client.tokens["token"]}"'}
    assert status_of(client, started["queryId"], headers) == "ABORTED"
    assert client.http.get(started["getResultUrl"], headers=headers).json()["data"]["sqlState"] == "57014"


def test_a_heartbeat_tells_whether_the_session_lives_and_telemetry_is_taken(client: Client) -> None:
    token = client.tokens["token"]
    assert client.post("/session/heartbeat", {}, token)["success"]
    assert client.post("/telemetry/send", {"logs": []}, token)["success"]
    client.post("/session?delete=true", {}, token)
    assert client.post("/session/heartbeat", {}, token)["code"] == "390111"


def test_a_login_names_what_connector_5_insists_on(client: Client) -> None:
    assert {"token", "masterToken", "sessionId", "parameters", "sessionInfo"} <= set(client.tokens)
    assert client.tokens["sessionInfo"] == {
        "databaseName": "FRESHET",
        "schemaName": "PUBLIC",
        "warehouseName": "COMPUTE_WH",
        "roleName": "SYSADMIN",
    }


def test_an_answer_describes_its_columns_and_where_the_session_is(client: Client) -> None:
    data = client.query("SELECT 1.25::NUMBER(10,2) AS n, 'x'::VARCHAR AS s")["data"]
    assert (data["queryResultFormat"], data["statementTypeId"], data["total"]) == ("json", 4096, 1)
    number, text = data["rowtype"]
    assert (number["name"], number["type"], number["precision"], number["scale"]) == ("N", "fixed", 10, 2)
    assert (text["type"], text["length"]) == ("text", 16_777_216)
    assert (data["finalDatabaseName"], data["finalSchemaName"]) == ("FRESHET", "PUBLIC")


def test_an_unknown_query_has_no_status(client: Client) -> None:
    headers = {"Authorization": f'Snowflake Token="{client.tokens["token"]}"'}
    answer = client.http.get(f"/monitoring/queries/{uuid.uuid4()}", headers=headers).json()
    assert answer["data"]["queries"] == []
