"""Containers with Docker: the same claims as for local processes, where a Docker Engine answers."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from tests.emulator.server import EmulatorProcess, ended, fresh, status, until

from freshet.snowflake import JobServices, JobStatus

IMAGE = "python:3.13-slim"


def has_docker() -> bool:
    found = shutil.which("docker")
    if found is None:
        return False
    return subprocess.run([found, "image", "inspect", IMAGE], capture_output=True, check=False).returncode == 0


pytestmark = [
    pytest.mark.skipif(not has_docker(), reason=f"no Docker Engine with the image {IMAGE}"),
    pytest.mark.xdist_group("docker"),
]


@pytest.fixture(scope="module")
def services() -> Iterator[JobServices]:
    own = EmulatorProcess("--docker")
    found = own.services()
    yield found
    found.close()
    assert own.stop() == 0


def spec(script: str, image: str = f"/db/schema/repo/{IMAGE}", **more: Any) -> str:
    container = {"name": "main", "image": image, "command": ["sh", "-c", script], **more}
    return json.dumps({"spec": {"containers": [container]}})


def test_an_image_is_run_with_its_environment_token_and_arguments(services: JobServices) -> None:
    name = fresh()
    script = 'echo "$GREETING $SNOWFLAKE_SERVICE_NAME $0"; test -s /snowflake/session/token && echo token; exit 3'
    services.submit(name, "PR_STD_POOL_S", spec(script, args=["it's $$"], env={"GREETING": "hello"}), "mine")
    assert ended(services, name).status is JobStatus.FAILED
    assert services.containers(name)[0].exit_code == 3
    assert services.logs(name) == f"hello {name} it's $$\ntoken"


def test_a_cancelled_container_is_gone(services: JobServices) -> None:
    name = fresh()
    services.submit(name, "PR_STD_POOL_S", spec("trap '' TERM; echo up; while true; do sleep 1; done"), "mine")
    until(lambda: services.logs(name) == "up")
    services.cancel(name)
    assert ended(services, name).status is JobStatus.CANCELLED
    assert services.containers(name)[0].exit_code == 137


def test_an_image_that_docker_does_not_have_leaves_its_job_pending(services: JobServices) -> None:
    name = fresh()
    services.submit(name, "PR_STD_POOL_S", spec("true", image="/db/schema/repo/no_such_image:1"), "mine")
    until(lambda: services.containers(name)[0].message == "Failed to pull image")
    assert status(services, name) is JobStatus.PENDING
    services.cancel(name)
    assert status(services, name) is JobStatus.CANCELLED
