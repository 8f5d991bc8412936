"""What a container finds in its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from freshet_emulator.spcs.jobs import Container, Job, Replica

# A container does not see the emulator's own environment, only what a local process can't do without.
INHERITED = (
    "HOME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "PATH",
    "PYTHONPATH",
    "SSL_CERT_FILE",
    "SYSTEMROOT",
    "TMPDIR",
    "TZ",
    "VIRTUAL_ENV",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """Where containers reach the emulator, and the account it plays."""

    host: str
    port: int
    account: str
    protocol: str = "http"


def inherited_environment(source: Mapping[str, str] | None = None) -> dict[str, str]:
    """The part of the emulator's environment that containers share."""
    found = os.environ if source is None else source
    return {key: found[key] for key in INHERITED if key in found}


def container_environment(
    base: Mapping[str, str], endpoint: Endpoint, *, job: Job, replica: Replica, container: Container, token: Path
) -> dict[str, str]:
    """The environment of one container: the specification's, then what the platform sets.

    SNOWFLAKE_PORT, SNOWFLAKE_PROTOCOL and SNOWFLAKE_TOKEN_FILE_PATH exist only here: real SPCS needs no port, and
    its token lies at a fixed path.
    """
    values = {**base, **container.specification.env}
    values |= {
        "SNOWFLAKE_ACCOUNT": endpoint.account,
        "SNOWFLAKE_HOST": endpoint.host,
        "SNOWFLAKE_PORT": str(endpoint.port),
        "SNOWFLAKE_PROTOCOL": endpoint.protocol,
        "SNOWFLAKE_DATABASE": job.name.database,
        "SNOWFLAKE_SCHEMA": job.name.schema,
        "SNOWFLAKE_SERVICE_NAME": job.name.name,
        "SNOWFLAKE_TOKEN_FILE_PATH": str(token),
    }
    if job.replicas_given:
        values |= {"SNOWFLAKE_JOBS_COUNT": str(len(job.replicas)), "SNOWFLAKE_JOB_INDEX": str(replica.index)}
    return values
