"""The services as programs for the supervisor.

Purpose: which module, which settings, and how each says that it serves. Guarantees: a service gets what it
needs in `FRESHET_*` variables, never on a command line that others can read; the working directory is
importable for those that import user code, and only for them. Never: a service's code in this process.
"""

from __future__ import annotations

import http.client
import importlib
import os
import pkgutil
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from freshet.runtime.child import Command

USER_CODE = frozenset({"worker"})  # as the api, they import the modules of --processes
LOCAL = "127.0.0.1"


def free_port(host: str = LOCAL) -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def reachable_host(host: str) -> str:
    """Where a client on this machine finds what listens on `host`."""
    return LOCAL if host in {"0.0.0.0", "::"} else host  # noqa: S104  (compared, not bound)


def answers(port: int, page: str = "/readyz", host: str = LOCAL) -> bool:
    """Whether GET answers 200."""
    connection = http.client.HTTPConnection(host, port, timeout=2.0)
    try:
        connection.request("GET", page)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@dataclass(kw_only=True, slots=True)
class Service:
    """`python -m freshet_<word>` with a health port of its own; `env` is read anew at each start."""

    name: str
    env: Callable[[], Mapping[str, str]]
    code: Path  # the directory that user code is imported from
    port: int = 0  # of its readyz; 0 until started

    @property
    def word(self) -> str:
        """The module's suffix: `worker` for `worker-2`."""
        return self.name.partition("-")[0]

    def command(self) -> Command:
        """A fresh health port at each start, for another may have taken the last one."""
        self.port = free_port()
        env = {**self.env(), "FRESHET_HEALTH_PORT": str(self.port)}
        return python(self.word, env, code=self.code if self.word in USER_CODE else None)

    def ready(self, pid: int) -> bool:  # noqa: ARG002  (its port is its own)
        """Whether /readyz answers 200."""
        return answers(self.port)


@dataclass(kw_only=True, slots=True)
class Api:
    """The front door; it keeps its port over restarts, for its users know it."""

    host: str
    port: int
    env: Callable[[], Mapping[str, str]]
    code: Path
    name: str = "api"

    def command(self) -> Command:
        """Listen where `up` was told to."""
        env = {**self.env(), "FRESHET_HOST": self.host, "FRESHET_PORT": str(self.port)}
        return python("api", env, code=self.code)

    def ready(self, pid: int) -> bool:  # noqa: ARG002  (its port is its own)
        """Whether /readyz answers 200."""
        return answers(self.port, host=reachable_host(self.host))


@dataclass(kw_only=True, slots=True)
class Emulator:
    """The local Snowflake; it keeps its port, for the workers know it."""

    state: Path
    images: Path | None
    password: str
    name: str = "emulator"
    port: int = field(default_factory=free_port)

    def command(self) -> Command:
        """Its state is kept beside the other data."""
        env = {
            "FRESHET_EMULATOR_HOST": LOCAL,
            "FRESHET_EMULATOR_PORT": str(self.port),
            "FRESHET_EMULATOR_STATE": str(self.state),
            "FRESHET_EMULATOR_PASSWORD": self.password,
            **({"FRESHET_EMULATOR_IMAGES": str(self.images)} if self.images else {}),
        }
        return python("emulator", env)

    def ready(self, pid: int) -> bool:  # noqa: ARG002  (its port is its own)
        """Whether it listens."""
        try:
            socket.create_connection((LOCAL, self.port), timeout=1.0).close()
        except OSError:
            return False
        return True

    def snowflake(self) -> dict[str, str]:
        """The settings with which a worker finds it."""
        return {
            "FRESHET_SNOWFLAKE_ACCOUNT": "freshet",
            "FRESHET_SNOWFLAKE_HOST": LOCAL,
            "FRESHET_SNOWFLAKE_PORT": str(self.port),
            "FRESHET_SNOWFLAKE_PROTOCOL": "http",
            "FRESHET_SNOWFLAKE_USER": os.environ.get("FRESHET_EMULATOR_USER", "freshet"),
            "FRESHET_SNOWFLAKE_PASSWORD": self.password,
            "FRESHET_SNOWFLAKE_DATABASE": "FRESHET",
            "FRESHET_SNOWFLAKE_SCHEMA": "PUBLIC",
            "FRESHET_SNOWFLAKE_WAREHOUSE": "COMPUTE_WH",
        }


def python(word: str, env: Mapping[str, str], *, code: Path | None = None) -> Command:
    """`python -m freshet_<word>`, with `code` importable."""
    # -P: `-m` alone would put the working directory before the standard library, also where no user code is
    # wanted
    known = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    paths = ([str(code)] if code else []) + known
    module = f"freshet_{word}"
    return Command(
        argv=(sys.executable, "-P", "-m", module),
        env={**env, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"},
        module=module,
        path=tuple(paths),
    )


def preload(words: Iterable[str]) -> None:
    """Import what services begin with, so that their forks share it; what can't be imported fails in its service.

    Not the Snowflake connector: its import starts threads, and those do not live on in a fork.
    """
    for word in words:
        with suppress(ImportError):
            package = importlib.import_module(f"freshet_{word}")
            for module in pkgutil.iter_modules(package.__path__):
                if module.name != "__main__":
                    importlib.import_module(f"{package.__name__}.{module.name}")
