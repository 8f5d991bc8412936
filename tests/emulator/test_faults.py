"""The fault switches, one test each, and how they are told how often to hit."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.emulator.client import Client
from tests.emulator.server import EmulatorProcess, ended, fresh, shell, status, until

from freshet.snowflake import JobServices, JobStatus, SnowflakeRefusedError, Specification

FOREVER = shell("exec sleep 600")


class Switches:
    """The control API, as curl would use it."""

    def __init__(self, url: str) -> None:
        self.url = f"{url}/control/faults"

    def on(self, kind: str, **more: Any) -> str:
        answer = httpx.post(self.url, json={"kind": kind, **more})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["data"]["id"])

    def shown(self, fault_id: str) -> dict[str, Any] | None:
        found: list[dict[str, Any]] = httpx.get(self.url).json()["data"]["faults"]
        return next((fault for fault in found if fault["id"] == fault_id), None)

    def off(self, fault_id: str) -> int:
        return httpx.delete(f"{self.url}/{fault_id}").status_code


@pytest.fixture
def switches(emulator: EmulatorProcess) -> Switches:
    return Switches(emulator.url)


@pytest.fixture
def client(emulator: EmulatorProcess) -> Iterator[Client]:
    found = Client(emulator.url)
    yield found
    found.http.close()


def unique() -> str:
    """A statement that no other test sends."""
    return f"SELECT '{uuid.uuid4()}'"


def test_a_dropped_connection_before_the_statement_leaves_it_undone(client: Client, switches: Switches) -> None:
    table = fresh()
    client.query(f"CREATE TABLE {table} (i INT)")
    switches.on("drop_connection", statement=f"INSERT INTO {table}")
    with pytest.raises(httpx.TransportError):
        client.query(f"INSERT INTO {table} VALUES (1)")
    assert client.query(f"SELECT COUNT(*) FROM {table}")["data"]["rowset"] == [["0"]]


def test_a_dropped_connection_after_the_statement_loses_the_answer_only(client: Client, switches: Switches) -> None:
    table, request_id = fresh(), str(uuid.uuid4())
    client.query(f"CREATE TABLE {table} (i INT)")
    switches.on("drop_connection", statement=f"INSERT INTO {table}", when="after")
    with pytest.raises(httpx.TransportError):
        client.query(f"INSERT INTO {table} VALUES (1)", request_id)
    assert client.query(f"INSERT INTO {table} VALUES (1)", request_id)["data"]["rowset"] == [["1"]]
    assert client.query(f"SELECT COUNT(*) FROM {table}")["data"]["rowset"] == [["1"]]


def test_a_503_comes_as_often_as_it_was_told_to(client: Client, switches: Switches) -> None:
    sql = unique()
    fault = switches.on("http_503", statement=sql, times=2)
    assert [client.status_of(sql), client.status_of(sql), client.status_of(sql)] == [503, 503, 200]
    assert switches.shown(fault) is None


@pytest.mark.parametrize("kind", ["drop_connection", "http_503", "expire_token"])
def test_the_driver_gets_over_a_fault_of_the_wire(services: JobServices, switches: Switches, kind: str) -> None:
    mark = str(uuid.uuid4())
    services.execute("SELECT 1")
    fault = switches.on(kind, statement=mark)
    assert services.execute(f"SELECT '{mark}' AS mark") == [{"mark": mark}]
    assert switches.shown(fault) is None


def test_a_slow_answer_takes_its_time(client: Client, switches: Switches) -> None:
    sql = unique()
    switches.on("slow_answer", statement=sql, seconds=0.3)
    before = time.monotonic()
    assert client.query(sql)["success"]
    assert time.monotonic() - before >= 0.3


def test_an_expired_token_asks_for_its_renewal(client: Client, switches: Switches) -> None:
    sql = unique()
    switches.on("expire_token", statement=sql)
    assert client.query(sql)["code"] == "390112"
    client.tokens["token"] = client.renew()["data"]["sessionToken"]
    assert client.query(sql)["success"]


def test_a_forgotten_session_is_gone(client: Client, switches: Switches) -> None:
    sql = unique()
    switches.on("forget_session", statement=sql)
    assert client.query(sql)["code"] == "390111"
    assert client.renew()["code"] == "390114"


def test_a_login_can_fail_too() -> None:
    own = EmulatorProcess()
    Switches(own.url).on("http_503", request="login")
    answers = [httpx.post(f"{own.url}/session/v1/login-request", json={}).status_code for _ in range(2)]
    own.stop()
    assert answers == [503, 200]


def test_an_image_that_cannot_be_pulled_leaves_its_job_pending_until_it_can(
    services: JobServices, switches: Switches, pool: str
) -> None:
    name = fresh()
    fault = switches.on("image_pull", job=name)
    services.submit(name, pool, shell("true"), "mine")
    assert services.containers(name)[0].message == "Failed to pull image"
    assert status(services, name) is JobStatus.PENDING
    assert switches.off(fault) == 200
    assert ended(services, name).status is JobStatus.DONE


def test_a_stuck_job_waits_until_the_switch_is_off(services: JobServices, switches: Switches, pool: str) -> None:
    name = fresh()
    fault = switches.on("stuck_pending", job=name)
    services.submit(name, pool, shell("true"), "mine")
    assert services.containers(name)[0].message == "Unschedulable due to insufficient resources"
    assert status(services, name) is JobStatus.PENDING
    switches.off(fault)
    assert ended(services, name).status is JobStatus.DONE


@pytest.mark.parametrize("early", [True, False])
def test_a_lost_node_ends_its_job_without_an_exit_of_its_own(
    services: JobServices, switches: Switches, pool: str, *, early: bool
) -> None:
    name = fresh()
    if early:
        switches.on("node_lost", job=name)
    services.submit(name, pool, FOREVER, "mine")
    if not early:
        until(lambda: status(services, name) is JobStatus.RUNNING)
        switches.on("node_lost", job=name)
    assert ended(services, name).status is JobStatus.INTERNAL_ERROR
    assert services.containers(name)[0].message == "Compute pool node was lost"


def test_a_container_without_memory_is_killed_with_137(services: JobServices, switches: Switches, pool: str) -> None:
    name = fresh()
    switches.on("oom", job=f"freshet.public.{name}")
    services.submit(name, pool, FOREVER, "mine")
    assert ended(services, name).status is JobStatus.FAILED
    (container,) = services.containers(name)
    assert (container.exit_code, container.message) == (137, "Container was OOMKilled due to resource usage")


def test_logs_that_are_gone_are_an_error(services: JobServices, switches: Switches, pool: str) -> None:
    name = fresh()
    services.submit(name, pool, shell("echo here"), "mine")
    ended(services, name)
    fault = switches.on("logs_gone", job=name)
    with pytest.raises(SnowflakeRefusedError, match="no longer available"):
        services.execute(f"SELECT SYSTEM$GET_SERVICE_LOGS('{name}', 0, 'main')")
    switches.off(fault)
    assert services.logs(name) == "here"


def test_a_job_can_be_left_to_the_history(services: JobServices, switches: Switches, pool: str) -> None:
    name = fresh()
    services.submit(name, pool, shell("true"), "mine")
    ended(services, name)
    fault = switches.on("history_only", job=name)
    assert services.describe(name) is None
    assert services.list_jobs(name) == []
    found = services.history(name)
    assert found is not None
    assert found.status is JobStatus.DONE
    switches.off(fault)
    assert services.describe(name) is not None


def test_a_lasting_switch_is_listed_with_its_hits(client: Client, switches: Switches) -> None:
    sql = unique()
    fault = switches.on("http_503", statement=sql, times="always")
    assert [client.status_of(sql) for _ in range(3)] == [503] * 3
    shown = switches.shown(fault)
    assert shown is not None
    assert (shown["kind"], shown["hits"], shown["times"]) == ("http_503", 3, "always")
    assert (switches.off(fault), switches.off(fault)) == (200, 404)
    assert client.status_of(sql) == 200


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"kind": "earthquake"}, "kind"),
        ({"kind": "oom", "times": 0}, "times"),
        ({"kind": "http_503", "statement": "("}, "statement"),
        ({"kind": "oom", "jobs": "x"}, "jobs"),
        ({"kind": "slow_answer", "seconds": -1}, "seconds"),
    ],
)
def test_a_switch_that_makes_no_sense_is_refused_by_name(switches: Switches, wrong: dict[str, Any], word: str) -> None:
    answer = httpx.post(switches.url, json=wrong)
    assert answer.status_code == 400
    assert word in answer.json()["message"]


def test_a_missing_privilege_refuses_what_it_fits_until_it_is_back(services: JobServices, switches: Switches) -> None:
    sql = unique()
    fault = switches.on("no_privilege", statement=sql, on="compute pool 'P'")
    for _ in range(2):
        with pytest.raises(
            SnowflakeRefusedError, match="Insufficient privileges to operate on compute pool 'P'"
        ) as error:
            services.execute(sql)
        assert (error.value.errno, error.value.sqlstate) == (3001, "42501")
    switches.off(fault)
    assert services.execute(sql)


@pytest.mark.parametrize(("value", "taken"), [("abc1", True), ('"a b"', True), ("[1, 2]", True), ("a b", False)])
def test_a_template_takes_values_that_are_alphanumeric_or_json(
    services: JobServices, pool: str, value: str, taken: bool
) -> None:
    template = "spec: {containers: [{name: main, image: /a:1, command: ['true'], env: {A: {{ a }} } }]}".replace(
        "{{ a }}", "'x'" if value.startswith("[") else "{{ a }}"
    )
    specification = Specification(text=template, using={"a": value})
    if taken:
        services.submit(fresh(), pool, specification, "c")
    else:
        with pytest.raises(SnowflakeRefusedError, match="neither alphanumeric nor JSON"):
            services.submit(fresh(), pool, specification, "c")
