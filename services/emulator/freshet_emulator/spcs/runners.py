"""Which runner a platform gets."""

from __future__ import annotations

from freshet_emulator.spcs.runner import LocalRunner, PlatformOptions
from freshet_emulator.spcs.secrets import Secrets
from freshet_emulator.spcs.tokens import ContainerTokens


def runner(options: PlatformOptions, tokens: ContainerTokens, secrets: Secrets) -> LocalRunner:
    """Who runs the containers. Raises EmulatorError if Docker is asked for and there is none."""
    if not options.docker:
        return LocalRunner(options, tokens, secrets)
    from freshet_emulator.spcs.docker import DockerRunner

    return DockerRunner(options, tokens, secrets)
