"""Postgres and Redis servers in containers, for tests against the versions that production runs.

Every container carries a label with the directory of its test session, so that a later session can remove
what a killed one has left. The reaper container of testcontainers is switched off: its image cannot be had
everywhere.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import docker
from docker.errors import DockerException, NotFound
from docker.models.containers import Container

from freshet.testing.embedded import DEADLINE, POSTGRES_OPTIONS, REDIS_OPTIONS, ServerFailedError, answers

POSTGRES_IMAGE: Final = "postgres:17"
REDIS_IMAGE: Final = "redis:8"
LABEL: Final = "freshet.test-session"


@contextmanager
def engine() -> Iterator[docker.DockerClient]:
    """A client of the Docker Engine; DockerException if none answers."""
    client = docker.from_env(timeout=60)
    try:
        yield client
    finally:
        client.close()


def available() -> bool:
    """Whether an engine answers that has both images (nothing is pulled)."""
    with suppress(DockerException, OSError), engine() as client:
        client.images.get(POSTGRES_IMAGE)
        client.images.get(REDIS_IMAGE)
        return True
    return False


@dataclass(frozen=True, kw_only=True, slots=True)
class ContainerServer:
    """A server in a container that keeps its address over `kill` and `start`."""

    container_id: str
    url: str

    def start(self) -> None:
        """Start the container again after `stop` or `kill`; returns once the server answers."""
        self._act(Container.start)
        deadline = time.monotonic() + DEADLINE
        while not answers(self.url):
            if time.monotonic() > deadline:
                raise ServerFailedError(f"the server at {self.url} did not come back within {DEADLINE:.0f} s")
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop the server and keep its data."""
        self._act(Container.stop)

    def kill(self) -> None:
        """SIGKILL the server, as a crash would."""
        self._act(Container.kill)

    def pause(self) -> None:
        """Freeze the server: connections stay open and nobody answers."""
        self._act(Container.pause)

    def resume(self) -> None:
        """Thaw what `pause` froze."""
        self._act(Container.unpause)

    def remove(self) -> None:
        """Remove the container with its data."""
        self._act(lambda container: container.remove(force=True, v=True))

    def _act(self, action: Callable[[Container], Any]) -> None:
        with engine() as client:
            action(client.containers.get(self.container_id))


def start_postgres(session: Path) -> ContainerServer:
    """A Postgres that answers; its user is a superuser."""
    # Read when testcontainers is imported, therefore set before.
    os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"
    from testcontainers.community.postgres import PostgresContainer

    container = PostgresContainer(
        POSTGRES_IMAGE,
        username="postgres",
        password="freshet",
        dbname="postgres",
        driver=None,
        **_labels(session),
    )
    container.with_command(["postgres", *POSTGRES_OPTIONS]).with_bind_ports(5432, free_port())
    container.start()
    server = ContainerServer(container_id=container.get_container_id(), url=container.get_connection_url())
    container.get_docker_client().client.close()
    return server


def start_redis(session: Path) -> ContainerServer:
    """A Redis that answers, without persistence."""
    os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"
    from testcontainers.community.redis import RedisContainer

    container = RedisContainer(REDIS_IMAGE, **_labels(session))
    container.with_command(["redis-server", *REDIS_OPTIONS]).with_bind_ports(6379, free_port())
    container.start()
    address = f"{container.get_container_host_ip()}:{container.get_exposed_port(6379)}"
    server = ContainerServer(container_id=container.get_container_id(), url=f"redis://{address}")
    container.get_docker_client().client.close()
    return server


def remove_all(is_over: Callable[[Path], bool]) -> None:
    """Remove every labelled container whose session is over; nothing happens without an engine."""
    with suppress(DockerException, OSError), engine() as client:
        for container in client.containers.list(all=True, filters={"label": LABEL}):
            if is_over(Path(container.labels[LABEL])):
                with suppress(NotFound):
                    container.remove(force=True, v=True)


def free_port() -> int:
    """A TCP port nobody listens on now; one chosen by Docker would change with every restart."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _labels(session: Path) -> dict[str, Any]:
    return {"labels": {LABEL: str(session)}}
