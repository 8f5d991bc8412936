"""Long-running services: as much of them as a worker service needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.emulator.server import EmulatorProcess, fresh, status, until

from freshet.snowflake import JobServices, JobStatus, SnowflakeRefusedError


def spec(script: str) -> str:
    container = {"name": "main", "image": "/x", "command": ["sh", "-c", script]}
    endpoints = [{"name": "api", "port": 8000, "public": True}]
    return json.dumps({"spec": {"containers": [container], "endpoints": endpoints}})


def create(services: JobServices, pool: str, script: str) -> str:
    name = fresh("SVC")
    services.execute(
        f"CREATE SERVICE {name} IN COMPUTE POOL {pool} FROM SPECIFICATION $${spec(script)}$$ "
        "AUTO_RESUME = TRUE MIN_INSTANCES = 1 MAX_INSTANCES = 1 COMMENT = 'c'"
    )
    return name


def row_of(services: JobServices, name: str) -> dict[str, Any]:
    (row,) = services.execute(f"DESC SERVICE {name}")
    return row


def test_a_service_runs_until_it_is_suspended_and_again_after_that(services: JobServices, pool: str) -> None:
    name = create(services, pool, "exec sleep 600")
    until(lambda: status(services, name) is JobStatus.RUNNING)
    assert (row_of(services, name)["is_job"], row_of(services, name)["comment"]) == ("false", "c")
    services.execute(f"ALTER SERVICE {name} SUSPEND")
    until(lambda: row_of(services, name)["status"] == "SUSPENDED")
    services.execute(f"ALTER SERVICE {name} RESUME")
    until(lambda: status(services, name) is JobStatus.RUNNING)
    services.execute(f"DROP SERVICE {name}")
    assert services.describe(name) is None


def test_a_container_of_a_service_that_exits_is_started_again(services: JobServices, pool: str, tmp_path: Path) -> None:
    name = create(services, pool, f"echo up >> {tmp_path}/starts; [ $(wc -l < {tmp_path}/starts) -lt 2 ] || sleep 600")
    until(lambda: (tmp_path / "starts").exists() and (tmp_path / "starts").read_text() == "up\nup\n")
    (row,) = services.execute(f"SHOW SERVICE CONTAINERS IN SERVICE {name}")
    assert row["restart_count"] == 1


def test_services_and_jobs_are_shown_apart(services: JobServices, pool: str) -> None:
    name = create(services, pool, "exec sleep 600")
    assert [row["name"] for row in services.execute(f"SHOW SERVICES EXCLUDE JOBS LIKE '{name}'")] == [name]
    assert [row["name"] for row in services.execute(f"SHOW SERVICES LIKE '{name}'")] == [name]
    assert services.execute(f"SHOW JOB SERVICES LIKE '{name}'") == []
    assert services.history(name) is None
    (endpoint,) = services.execute(f"SHOW ENDPOINTS IN SERVICE {name}")
    assert (endpoint["name"], endpoint["port"], endpoint["is_public"]) == ("api", 8000, "true")


def test_a_job_can_not_be_altered_and_a_name_is_used_once(services: JobServices, pool: str) -> None:
    name = create(services, pool, "exec sleep 600")
    again = f"SERVICE IF NOT EXISTS {name} IN COMPUTE POOL {pool} FROM SPECIFICATION $${spec('true')}$$"
    services.execute(f"CREATE {again}")
    with pytest.raises(SnowflakeRefusedError) as taken:
        services.execute(f"CREATE {again.replace('IF NOT EXISTS ', '')}")
    assert taken.value.errno == 2002
    job = fresh()
    services.submit(job, pool, spec("true"), "mine")
    with pytest.raises(SnowflakeRefusedError, match="not possible"):
        services.execute(f"ALTER SERVICE {job} SUSPEND")
    services.execute(f"ALTER SERVICE IF EXISTS {fresh()} RESUME")


def test_a_service_comes_back_with_the_emulator(tmp_path: Path) -> None:
    first = EmulatorProcess("--state", str(tmp_path))
    services = first.services()
    name = create(services, "PR_STD_POOL_S", "exec sleep 600")
    until(lambda: status(services, name) is JobStatus.RUNNING)
    first.kill()
    services.close()
    second = EmulatorProcess("--state", str(tmp_path))
    services = second.services()
    until(lambda: status(services, name) is JobStatus.RUNNING)
    services.close()
    assert second.stop() == 0
