"""The driver against the emulator: what the worker's executor and watcher rely on."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.emulator.server import EmulatorProcess, ended, fresh, shell, status, until

from freshet.snowflake import (
    JobNameTakenError,
    JobServices,
    JobStatus,
    SnowflakeLoginRefusedError,
    SnowflakeRefusedError,
    SnowflakeUnreachableError,
)


def test_a_job_that_exits_zero_is_done_and_leaves_its_output(services: JobServices, pool: str) -> None:
    name = fresh()
    services.submit(name, pool, shell("echo out; echo err >&2"), "mine")
    row = ended(services, name)
    assert (row.status, row.comment, row.compute_pool) == (JobStatus.DONE, "mine", pool)
    assert services.logs(name) == "out\nerr"
    assert services.logs(name, lines=1) == "err"


def test_the_exit_code_of_a_failed_job_is_told(services: JobServices, pool: str) -> None:
    name = fresh()
    services.submit(name, pool, shell("exit 7"), "mine")
    assert ended(services, name).status is JobStatus.FAILED
    (container,) = services.containers(name)
    assert (container.exit_code, container.status) == (7, "FAILED")
    assert container.message == "User application error, check container logs"


def test_a_program_that_does_not_exist_fails_without_an_exit_code(services: JobServices, pool: str) -> None:
    spec = {"spec": {"containers": [{"name": "main", "image": "/x", "command": ["/no/such/program"]}]}}
    name = fresh()
    services.submit(name, pool, json.dumps(spec), "mine")
    assert ended(services, name).status is JobStatus.FAILED
    (container,) = services.containers(name)
    assert container.exit_code is None
    assert container.message == "Encountered fatal error while starting container"


def test_one_node_runs_one_job_at_a_time(services: JobServices, pool: str, tmp_path: Path) -> None:
    first, second, gate = fresh(), fresh(), tmp_path / "gate"
    services.submit(first, pool, shell(f"while [ ! -e {gate} ]; do sleep 0.02; done"), "mine")
    until(lambda: status(services, first) is JobStatus.RUNNING)
    services.submit(second, pool, shell(f"test -e {gate}"), "mine")
    until(lambda: services.containers(second)[0].message == "Unschedulable due to insufficient resources")
    assert status(services, second) is JobStatus.PENDING
    assert services.logs(second) == ""
    gate.touch()
    assert ended(services, second).status is JobStatus.DONE
    assert ended(services, first).status is JobStatus.DONE


def test_an_image_that_nobody_knows_stays_pending(services: JobServices, pool: str) -> None:
    name = fresh()
    services.submit(name, pool, '{"spec": {"containers": [{"name": "main", "image": "/no/such:1"}]}}', "mine")
    assert services.containers(name)[0].message == "Failed to pull image"
    assert status(services, name) is JobStatus.PENDING
    services.cancel(name)
    assert status(services, name) is JobStatus.CANCELLED


def test_a_second_submit_of_the_same_attempt_adopts_the_job(services: JobServices, pool: str, tmp_path: Path) -> None:
    name, count = fresh(), tmp_path / "count"
    for _ in range(3):
        services.submit(name, pool, shell(f"echo once >> {count}"), "attempt 1")
    ended(services, name)
    assert count.read_text() == "once\n"


def test_a_job_of_somebody_else_is_not_adopted(services: JobServices, pool: str) -> None:
    name = fresh()
    services.submit(name, pool, shell("true"), "theirs")
    with pytest.raises(JobNameTakenError) as refused:
        services.submit(name, pool, shell("true"), "ours")
    assert refused.value.errno == 2002


def test_a_lost_answer_launches_nothing_twice(emulator: EmulatorProcess, pool: str, tmp_path: Path) -> None:
    name, count = fresh(), tmp_path / "count"
    services = emulator.services()
    services.execute("SELECT 1")
    emulator.fault(lose_answers=1)
    services.submit(name, pool, shell(f"echo once >> {count}"), "mine")
    ended(services, name)
    services.close()
    assert count.read_text() == "once\n"


def test_a_missing_pool_and_a_bad_specification_are_the_users_errors(services: JobServices, pool: str) -> None:
    with pytest.raises(SnowflakeRefusedError, match="NO_SUCH_POOL") as missing:
        services.submit(fresh(), "NO_SUCH_POOL", shell("true"), "mine")
    assert missing.value.errno == 2003
    with pytest.raises(SnowflakeRefusedError, match=r"spec\.containers\.0\.image"):
        services.submit(fresh(), pool, '{"spec": {"containers": [{"name": "main"}]}}', "mine")


@pytest.mark.parametrize("name", ["", "a-b", "1A", "A" * 64, 'A"B', "Ä"])
def test_a_name_that_no_service_can_have_is_refused_before_it_is_sent(services: JobServices, name: str) -> None:
    with pytest.raises(SnowflakeRefusedError, match="63"):
        services.submit(name, "PR_STD_POOL_XS", shell("true"), "mine")


def test_cancel_stops_the_process_and_a_second_cancel_changes_nothing(
    services: JobServices, pool: str, tmp_path: Path
) -> None:
    name, pid = fresh(), tmp_path / "pid"
    services.submit(name, pool, shell(f"echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 600"), "mine")
    until(pid.exists)
    services.cancel(name)
    assert ended(services, name).status is JobStatus.CANCELLED
    until(lambda: not alive(int(pid.read_text())))
    services.cancel(name)
    assert status(services, name) is JobStatus.CANCELLED


def test_a_container_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    stubborn = EmulatorProcess("--grace", "0.2")
    services, name, mark = stubborn.services(), fresh(), tmp_path / "mark"
    script = f"trap '' TERM; touch {mark}; while true; do sleep 0.05; done"
    services.submit(name, "PR_STD_POOL_XS", shell(script), "mine")
    until(mark.exists)
    services.cancel(name)
    assert ended(services, name).status is JobStatus.CANCELLED
    assert services.containers(name)[0].exit_code == 128 + 9
    services.close()
    assert stubborn.stop() == 0


def test_dropped_jobs_are_gone_but_not_from_the_history(services: JobServices, pool: str) -> None:
    name = fresh()
    services.submit(name, pool, shell("exit 0"), "mine")
    ended(services, name)
    services.drop(name)
    services.drop(name)
    assert services.describe(name) is None
    assert services.containers(name) == []
    assert services.logs(name) == ""
    services.cancel(name)
    found = services.history(name)
    assert found is not None
    assert found.status is JobStatus.DONE
    assert found.deleted_on is not None
    assert services.history(fresh()) is None


def test_a_dropped_name_is_free_again_and_its_slot_too(services: JobServices, pool: str) -> None:
    name = fresh()
    services.submit(name, pool, shell("exec sleep 600"), "first")
    until(lambda: status(services, name) is JobStatus.RUNNING)
    services.drop(name)
    services.submit(name, pool, shell("true"), "second")
    assert ended(services, name).status is JobStatus.DONE


def test_a_prefix_lists_its_own_jobs_and_no_lookalikes(services: JobServices, pool: str) -> None:
    prefix = fresh()
    lookalike = prefix.replace("_", "X") + "_A"
    for name in (f"{prefix}_A", f"{prefix}_B", lookalike):
        services.submit(name, pool, shell("true"), "mine")
    assert [row.name for row in services.list_jobs(f"{prefix}_")] == [f"{prefix}_A", f"{prefix}_B"]


def test_a_lost_node_is_not_the_users_failure(emulator: EmulatorProcess, services: JobServices, pool: str) -> None:
    name = fresh()
    services.submit(name, pool, shell("exec sleep 600"), "mine")
    until(lambda: status(services, name) is JobStatus.RUNNING)
    emulator.fault(lose_node=name)
    assert ended(services, name).status is JobStatus.INTERNAL_ERROR


def test_a_lost_session_is_opened_anew(emulator: EmulatorProcess) -> None:
    services = EmulatorProcess()
    found = services.services()
    assert found.execute("SELECT 1 AS one") == [{"one": 1}]
    services.fault(forget_sessions=True)
    assert found.execute("SELECT 2 AS two") == [{"two": 2}]
    found.close()
    services.stop()


def test_an_expired_token_is_renewed(emulator: EmulatorProcess, services: JobServices) -> None:
    session = services.execute("SELECT CURRENT_SESSION() AS id")
    emulator.fault(expire_tokens=True)
    assert services.execute("SELECT CURRENT_SESSION() AS id") == session


def test_wrong_credentials_are_refused_and_a_missing_server_is_unreachable(emulator: EmulatorProcess) -> None:
    with pytest.raises(SnowflakeLoginRefusedError, match="Incorrect username or password"):
        emulator.services(password="wrong").execute("SELECT 1")
    with pytest.raises(SnowflakeUnreachableError):
        emulator.services(port=1, login_timeout=1).execute("SELECT 1")


# With connector 4 a thread of its own tells the dead server to abort the query, and fails.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_it_works_again_after_the_server_came_back() -> None:
    first = EmulatorProcess()
    services = first.services(network_timeout=1, login_timeout=1)
    services.execute("SELECT 1")
    first.kill()
    with pytest.raises(SnowflakeUnreachableError):
        services.execute("SELECT 1")
    second = EmulatorProcess("--port", str(first.port))
    assert services.execute("SELECT 1 AS one") == [{"one": 1}]
    services.close()
    second.stop()


def test_rows_have_lower_case_names_and_parameters_are_bound(services: JobServices) -> None:
    table = fresh()
    services.execute(f"CREATE TABLE {table} (id NUMBER, name VARCHAR)")
    services.execute(f"INSERT INTO {table} VALUES (%s, %s)", (1, "it's 100 % \\n"))
    assert services.execute(f"SELECT * FROM {table}") == [{"id": 1, "name": "it's 100 % \\n"}]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
