"""Servers, lines and services of one run, and everything that must be undone.

Guarantees: whatever was made is unmade, also after ctrl-C; what a killed predecessor left is removed first. Never: a
fault (that is `execution`).
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
from tests.chaos import disk, network
from tests.chaos.disk import SmallDisk
from tests.chaos.fleet import ROOT, Fleet, Service
from tests.chaos.network import Line, Namespace, Proxy
from tests.chaos.processes import EFFECTS
from tests.chaos.servers import LOCAL, Postgres, Redis, free_port

from freshet.storage import migrate

#: Seconds for servers and services to come up on a busy machine.
START = 90.0
POOL = "PR_STD_POOL_S"


class NotReadyError(Exception):
    """Something did not come up."""


@dataclass(kw_only=True)
class Installation:
    """Everything that runs."""

    directory: Path
    postgres: Postgres
    redis: Redis
    disk: SmallDisk | None
    lines: Mapping[str, Line]
    fleet: Fleet
    url: str
    token: str
    #: Moments before which the servers must not be started again.
    postgres_rests: float = 0.0
    redis_rests: float = 0.0
    restarts: dict[str, int] = field(default_factory=dict)

    @property
    def effects(self) -> Path:
        """Where jobs and scripts leave their lines."""
        return self.directory / "effects"

    @property
    def logs(self) -> Path:
        """A file for each service."""
        return self.directory / "logs"

    def look_after(self) -> None:
        """Start again whatever has ended, servers first."""
        now = time.monotonic()
        for name, server, rests in (
            ("postgres", self.postgres, self.postgres_rests),
            ("redis", self.redis, self.redis_rests),
        ):
            if server.ended and now >= rests:
                self._start_again(name, server)
        self.fleet.look_after()

    def _start_again(self, name: str, server: Postgres | Redis) -> None:
        rests = time.monotonic() + 0.5  # should it not stay up: the disk may be full
        if isinstance(server, Postgres):
            self.postgres_rests = rests
        else:
            self.redis_rests = rests
        try:
            server.start()
        except OSError:
            return
        self.restarts[name] = self.restarts.get(name, 0) + 1

    def await_(self, condition: Callable[[], bool], what: str, seconds: float = START) -> float:
        """Look after everything until it is so; how long it took. Raises NotReadyError."""
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > seconds:
                raise NotReadyError(f"{what} did not come about within {seconds:.0f} s")
            self.look_after()
            time.sleep(0.05)
        return time.monotonic() - began

    def answers(self) -> bool:
        """Whether the front door is ready."""
        try:
            return httpx.get(f"{self.url}/readyz", timeout=2.0).status_code == 200
        except httpx.TransportError:
            return False

    def start(self) -> None:
        """Servers, schema, services."""
        self.await_(lambda: self.postgres.ready() and self.redis.ready(), "postgres and redis")
        migrate(self.postgres.url())
        with psycopg.connect(self.postgres.url(), autocommit=True) as session:
            session.execute(EFFECTS.encode())
        self.fleet.start()
        self.await_(self.answers, "the api")


@contextmanager
def installation(
    *, names: Sequence[str], behind_lines: Sequence[str], settings: Mapping[str, str], as_root: bool = True
) -> Iterator[Installation]:
    """Servers that run and services that can be started. `names`: of the services; some of them behind a line.

    `as_root`: use what only root can have, if we are root.
    """
    for name in [name for name in os.environ if name.startswith("FRESHET_")]:
        del os.environ[name]  # a setting of this shell must not reach the services
    network.forget_dead()
    disk.forget_dead()
    _forget_dead()
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix=f"freshet-chaos-{os.getpid()}-"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        directory.chmod(0o755)
        for folder in ("logs", "effects", "data", "emulator", "tmp"):
            (directory / folder).mkdir()
        small = disk.mounted_disk(directory / "disk") if as_root else None
        if small is not None:
            stack.callback(small.close)
        lines = _lines(behind_lines, stack, as_root=as_root)
        data = small.path if small is not None else directory / "data"
        hosts = [line.address(0)[0] for line in lines.values() if isinstance(line, Namespace)]
        postgres = Postgres(data, addresses=hosts, networks=[f"{host}/30" for host in hosts])
        redis = Redis(data, addresses=hosts)
        stack.callback(postgres.close)
        stack.callback(redis.close)
        made = Installation(
            directory=directory,
            postgres=postgres,
            redis=redis,
            disk=small,
            lines=lines,
            fleet=Fleet(()),
            url=f"http://{LOCAL}:{free_port()}",
            token=secrets.token_urlsafe(16),
        )
        made.fleet = Fleet(_services(made, names, settings))
        stack.callback(_end, made)
        yield made


def _forget_dead() -> None:
    """Remove the directories of processes that are gone."""
    for path in Path(tempfile.gettempdir()).glob("freshet-chaos-*-*"):
        pid = path.name.split("-")[2]
        if pid.isdigit() and not _runs(int(pid)):
            shutil.rmtree(path, ignore_errors=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _end(made: Installation) -> None:
    """First of all nobody is frozen, cut off or short of room: else nothing ends."""
    made.fleet.thaw()
    if made.disk is not None:
        made.disk.free()
    made.fleet.stop(lambda name: name != "emulator", 0.0)
    made.fleet.stop(lambda _: True, 5.0)  # the emulator stops its containers


def _lines(names: Sequence[str], stack: ExitStack, *, as_root: bool) -> dict[str, Line]:
    kind = Namespace if as_root and network.can_make_namespaces() else None
    lines: dict[str, Line] = {}
    for number, name in enumerate(names):
        line: Line = kind(number) if kind else Proxy()
        stack.callback(line.close)
        lines[name] = line
    return lines


def _services(made: Installation, names: Sequence[str], settings: Mapping[str, str]) -> Iterator[Service]:
    port = free_port()
    for name in names:
        line = made.lines.get(name)
        env = {
            **_common(made, line),
            **_own(made, name.partition("-")[0], port, jobless=line is not None or "emulator" not in names),
            **settings,
        }
        yield Service(name=name, env=env, logs=made.logs, prefix=line.prefix if line else ())


def _common(made: Installation, line: Line | None) -> dict[str, str]:
    def address(port: int) -> tuple[str, int]:
        return line.address(port) if line else (LOCAL, port)

    return {
        "FRESHET_DATABASE_URL": made.postgres.url(*address(made.postgres.port)),
        "FRESHET_REDIS_URL": made.redis.url(*address(made.redis.port)),
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(made.directory / "tmp"),  # what is killed leaves its temporary files
    }


def _own(made: Installation, word: str, port: int, *, jobless: bool) -> dict[str, str]:
    """What a service of its sort needs besides. A worker behind a line sees no emulator, and serves no jobs."""
    host, api_port = made.url.removeprefix("http://").split(":")
    snowflake = {
        "FRESHET_SNOWFLAKE_ACCOUNT": "chaos",
        "FRESHET_SNOWFLAKE_HOST": LOCAL,
        "FRESHET_SNOWFLAKE_PORT": str(port),
        "FRESHET_SNOWFLAKE_PROTOCOL": "http",
        "FRESHET_SNOWFLAKE_USER": "freshet",
        "FRESHET_SNOWFLAKE_PASSWORD": "freshet",
        "FRESHET_SNOWFLAKE_DATABASE": "FRESHET",
        "FRESHET_SNOWFLAKE_SCHEMA": "PUBLIC",
        "FRESHET_JOB_POLL": "0.5",
    }
    match word:
        case "api":
            return {"FRESHET_HOST": host, "FRESHET_PORT": api_port, "FRESHET_TOKEN": made.token}
        case "worker":
            env = {"FRESHET_PROCESSES": "tests.chaos.processes", "FRESHET_DRAIN_GRACE": "5"}
            return env if jobless else {**env, **snowflake}
        case "emulator":
            return {
                "FRESHET_EMULATOR_HOST": LOCAL,
                "FRESHET_EMULATOR_PORT": str(port),
                "FRESHET_EMULATOR_STATE": str(made.directory / "emulator"),
                "FRESHET_EMULATOR_JOBS_PER_NODE": "4",
                "FRESHET_EMULATOR_GRACE": "2",
            }
    return {}
