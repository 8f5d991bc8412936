"""The emulator's settings: options of the command line over `FRESHET_EMULATOR_*` over defaults."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from freshet_emulator.errors import EmulatorError


class EmulatorSettings(BaseSettings):
    """Where the emulator listens, who may log in and how containers run. Times are seconds."""

    model_config = SettingsConfigDict(env_prefix="FRESHET_EMULATOR_", frozen=True, extra="ignore")

    host: Annotated[str, Field(description="address to listen on")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="port to listen on; 0 picks a free one")] = 8085
    state: Annotated[Path | None, Field(description="directory that keeps pools, tables and jobs over a restart")] = (
        None
    )
    images: Annotated[
        Path | None, Field(description="YAML or JSON file: image glob to the argv that stands for it")
    ] = None
    user: Annotated[str, Field(min_length=1, description="the user that may log in")] = "freshet"
    password: Annotated[str, Field(min_length=1, description="that user's password")] = "freshet"  # noqa: S105 - the local default
    account: Annotated[str, Field(min_length=1, description="the account it plays")] = "FRESHET"
    grace: Annotated[float, Field(ge=0, description="between SIGTERM and SIGKILL of a container")] = 30.0
    jobs_per_node: Annotated[int, Field(ge=1, description="job replicas that fit on one node")] = 1
    node_start: Annotated[float, Field(ge=0, description="seconds until a node of a pool is up")] = 0.0
    docker: Annotated[bool, Field(description="run containers with Docker")] = False
    hold: Annotated[
        float, Field(gt=0, description="how long an answer may wait before the client is told to ask again")
    ] = 40.0
    session_validity: Annotated[float, Field(gt=0, description="life of a session token before it must be renewed")] = (
        3600.0
    )


def read_settings(argv: Sequence[str]) -> EmulatorSettings:
    """Settings from options and environment. Raises EmulatorError with a sentence that names the wrong one."""
    parser = argparse.ArgumentParser(prog="freshet emulator", description="A local Snowflake for job services.")
    for name, field in EmulatorSettings.model_fields.items():
        option = "--" + name.replace("_", "-")
        kind: dict[str, Any] = {"action": "store_true"} if field.annotation is bool else {}
        parser.add_argument(option, dest=name, default=argparse.SUPPRESS, help=field.description, **kind)
    try:
        return EmulatorSettings(**vars(parser.parse_args(argv)))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        raise EmulatorError(
            f"--{name.replace('_', '-')} (FRESHET_EMULATOR_{name.upper()}) is wrong: {first['msg']}."
        ) from error
