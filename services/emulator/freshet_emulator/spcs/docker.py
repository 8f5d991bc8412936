"""Containers as Docker containers, by way of the `docker` command.

They share the network of this machine, so that they reach the emulator at the address that it tells them; the session
token lies where it lies on SPCS. A container outlives an emulator that was killed; the next one clears it away.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Sequence
from functools import lru_cache

from freshet_emulator.errors import EmulatorError
from freshet_emulator.spcs.capacity import memory
from freshet_emulator.spcs.jobs import Container, Job, Replica
from freshet_emulator.spcs.processes import ContainerProcess
from freshet_emulator.spcs.runner import LocalRunner, OnExit, PlatformOptions
from freshet_emulator.spcs.secrets import Secrets
from freshet_emulator.spcs.tokens import ContainerTokens

TOKEN = "/snowflake/session/token"  # noqa: S105 - a path
LABEL = "freshet.emulator"
# What the docker command itself needs; a container sees none of it.
CLIENT = ("PATH", "HOME", "DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_CONTEXT", "XDG_RUNTIME_DIR")
OWN = ("PATH", "HOME", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "TMPDIR", "SSL_CERT_FILE")
PULL_SECONDS = 600


class DockerProcess(ContainerProcess):
    """A `docker run` in the foreground: a SIGTERM reaches the container through it, a SIGKILL has to be sent apart."""

    container = ""

    def kill(self) -> None:
        """Kill the container; the command then ends by itself."""
        if self.ended:
            super().kill()
            return
        threading.Thread(target=docker, args=("kill", self.container), daemon=True).start()


def docker(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a docker command; a failure is in its return code."""
    return subprocess.run(  # noqa: S603 - a fixed program, no shell
        ["docker", *arguments],  # noqa: S607 - found on the path, as every user's docker is
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def names(image: str) -> list[str]:
    """What an image of a Snowflake repository may be called here: its whole path, or its last part."""
    path = image.lstrip("/")
    return list(dict.fromkeys((path, path.rsplit("/", 1)[-1])))


@lru_cache(maxsize=256)
def found_image(image: str) -> str | None:
    """The local name of an image, pulled if it names a registry; None if there is none."""
    for name in names(image):
        if docker("image", "inspect", name).returncode == 0:
            return name
    has_registry = "." in image.lstrip("/").split("/", 1)[0]
    if has_registry and docker("pull", image, timeout=PULL_SECONDS).returncode == 0:
        return image
    return None


class DockerRunner(LocalRunner):
    """Runs containers with Docker. Raises EmulatorError if there is none."""

    pulls = True

    def __init__(self, options: PlatformOptions, tokens: ContainerTokens, secrets: Secrets) -> None:
        super().__init__(options, tokens, secrets)
        if shutil.which("docker") is None or docker("version").returncode != 0:
            raise EmulatorError("--docker needs a Docker Engine, and `docker version` finds none.")

    def prepare(self) -> None:
        """Remove the containers of an earlier life at this port."""
        left = docker("ps", "-aq", "--filter", f"label={self.label}").stdout.split()
        if left:
            docker("rm", "-f", *left)

    @property
    def label(self) -> str:
        """What our containers are marked with."""
        return f"{LABEL}={self.options.endpoint.port}"

    def has_image(self, container: Container) -> bool:
        """Whether Docker has the image or can pull it; takes as long as the pull."""
        found = found_image(container.specification.image)
        if found is None:
            found_image.cache_clear()
        return found is not None

    def start(self, job: Job, replica: Replica, container: Container, on_exit: OnExit) -> ContainerProcess | None:
        """`docker run`."""
        values = self.environment(job, replica, container)
        own = {key: value for key, value in values.items() if key not in OWN or key in container.specification.env}
        token, own["SNOWFLAKE_TOKEN_FILE_PATH"] = values["SNOWFLAKE_TOKEN_FILE_PATH"], TOKEN
        name = f"freshet-{job.id}-{replica.index}-{container.specification.name}"
        head = ["docker", "run", "--rm", "--name", name, "--label", self.label, "--network", "host"]
        argv = [*head, "-v", f"{token}:{TOKEN}:ro", *limits(container), *variables(own), *program(container)]
        client = {key: os.environ[key] for key in CLIENT if key in os.environ}
        process = DockerProcess(argv, environment=client | shadowed(own), output=container.output, on_exit=on_exit)
        process.container = name
        return process


def variables(values: dict[str, str]) -> list[str]:
    """The container's environment; values that the command's own would shadow are given in full."""
    return [word for key, value in values.items() for word in ("-e", f"{key}={value}" if key in CLIENT else key)]


def shadowed(values: dict[str, str]) -> dict[str, str]:
    """What `-e NAME` takes from the command's environment, so that no value stands in a list of processes."""
    return {key: value for key, value in values.items() if key not in CLIENT}


def limits(container: Container) -> list[str]:
    """The specification's limits of memory and CPU."""
    asked = container.specification.resources.limits
    found = ["--memory", str(int(memory(asked["memory"])))] if "memory" in asked else []
    return found + (["--cpus", asked["cpu"]] if "cpu" in asked and not asked["cpu"].endswith("m") else [])


def program(container: Container) -> Sequence[str]:
    """Image and arguments: `command` replaces the ENTRYPOINT, `args` the CMD."""
    specification = container.specification
    image = found_image(specification.image) or specification.image
    if not specification.command:
        return [image, *specification.args]
    first, *others = specification.command
    return ["--entrypoint", first, image, *others, *specification.args]
