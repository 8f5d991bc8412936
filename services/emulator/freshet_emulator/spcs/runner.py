"""Who runs containers: local processes here, Docker in `docker`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from freshet_emulator.spcs.environment import Endpoint, container_environment
from freshet_emulator.spcs.images import ImageMap
from freshet_emulator.spcs.jobs import Container, Job, Replica
from freshet_emulator.spcs.processes import ContainerProcess
from freshet_emulator.spcs.secrets import Secrets
from freshet_emulator.spcs.tokens import ContainerTokens

OnExit = Callable[[int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class PlatformOptions:
    """How containers are run: seconds between SIGTERM and SIGKILL, slots of a node, seconds until a node is up."""

    endpoint: Endpoint
    images: ImageMap
    environment: Mapping[str, str]
    grace: float = 30.0
    jobs_per_node: int = 1
    node_start: float = 0.0
    docker: bool = False


class LocalRunner:
    """Runs a container as a process of this machine."""

    def __init__(self, options: PlatformOptions, tokens: ContainerTokens, secrets: Secrets) -> None:
        self.options = options
        self.tokens = tokens
        self.secrets = secrets

    # Whether it takes time to find out about an image.
    pulls = False

    def prepare(self) -> None:
        """Clear away what an earlier life left."""

    def has_image(self, container: Container) -> bool:
        """Whether the container's image can be run."""
        return self.options.images.command(container.specification) is not None

    def environment(self, job: Job, replica: Replica, container: Container) -> dict[str, str]:
        """The environment of a container."""
        own = container_environment(
            self.options.environment,
            self.options.endpoint,
            job=job,
            replica=replica,
            container=container,
            token=self.tokens.issue(job.id, job.name),
        )
        return own | self.secrets.environment(container.specification, job.name)

    def start(self, job: Job, replica: Replica, container: Container, on_exit: OnExit) -> ContainerProcess | None:
        """Start a container; None, with a line in its output, if its program does not exist."""
        argv = self.options.images.command(container.specification) or [""]
        environment = self.environment(job, replica, container)
        if shutil.which(argv[0], path=environment.get("PATH")) is None:
            container.output.append(f"{argv[0]}: no such program\n".encode())
            return None
        return ContainerProcess(argv, environment=environment, output=container.output, on_exit=on_exit)
