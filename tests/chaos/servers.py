"""A Postgres and a Redis that may be treated badly.

Purpose: the servers of `freshet up`, on TCP, so that a line to them can be cut. Guarantees: fsync and the append-only
file are on; each keeps its port over everything done to it; both die with us. Never: waits; `ready` asks.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psycopg
import redis

from freshet.runtime.child import Child, Command
from freshet.runtime.embedded import PostgresServer, ValkeyServer, places

LOCAL = "127.0.0.1"


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((LOCAL, 0))
        return int(probe.getsockname()[1])


class Postgres:
    """The truth."""

    def __init__(self, directory: Path, *, addresses: Sequence[str], networks: Sequence[str]) -> None:
        """Data in `directory`. `networks`: from where, beside this machine, sessions come."""
        self.port = free_port()
        self._server = PostgresServer(directory)
        self.directory = directory
        self._addresses = ",".join((LOCAL, *addresses))
        self._networks = networks
        self._child: Child | None = None

    def url(self, host: str = LOCAL, port: int | None = None) -> str:
        """Where a service finds it."""
        return f"postgresql://freshet@{host}:{port or self.port}/postgres"

    def start(self) -> None:
        """Start it; it recovers by itself."""
        command = self._server.command()
        with (self.directory / "postgres" / "pg_hba.conf").open("r+") as rules:
            known = rules.read()
            for network in self._networks:
                line = f"host all all {network} trust\n"
                rules.write("" if line in known else line)
        options = {
            "listen_addresses": self._addresses,
            "port": str(self.port),
            "max_wal_size": "512MB",
            "log_line_prefix": "%m [%p] %a ",
        }
        more = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        self._child = Child(replace(command, argv=(*command.argv, *more)), self.directory / "postgres.log")

    def stop(self, *, immediate: bool) -> None:
        """Ask it to end, fast or at once."""
        if self._child is not None:
            with suppress(ProcessLookupError):
                os.kill(self._child.pid, signal.SIGQUIT if immediate else signal.SIGINT)

    @property
    def pid(self) -> int | None:
        """Its process, while it runs."""
        return None if self._child is None or self.ended else self._child.pid

    @property
    def ended(self) -> bool:
        """Whether it has to be started."""
        return self._child is None or self._child.exit_code() is not None

    def ready(self) -> bool:
        """Whether it answers."""
        try:
            with psycopg.connect(self.url(), connect_timeout=2):
                return True
        except psycopg.Error:
            return False

    def close(self) -> None:
        """End it for good."""
        if self._child is not None:
            self._child.stop(10.0)
        places.remove_sockets(self.directory)


class Redis:
    """Rebuildable."""

    def __init__(self, directory: Path, *, addresses: Sequence[str]) -> None:
        self.port = free_port()
        self._server = ValkeyServer(directory)
        self.directory = directory
        self._addresses = (LOCAL, *addresses)
        self._child: Child | None = None

    def url(self, host: str = LOCAL, port: int | None = None) -> str:
        """Where a service finds it."""
        return f"redis://{host}:{port or self.port}/0"

    def start(self) -> None:
        """Start it on what its append-only file holds."""
        command: Command = self._server.command()
        more = ("--port", str(self.port), "--bind", *self._addresses, "--protected-mode", "no")
        self._child = Child(replace(command, argv=(*command.argv, *more)), self.directory / "redis.log")

    def kill(self, *, forget: bool) -> None:
        """SIGKILL; `forget`: its append-only file is lost, too."""
        if self._child is not None:
            with suppress(ProcessLookupError):
                os.kill(self._child.pid, signal.SIGKILL)
            self._child.wait(5.0)
        if forget:
            shutil.rmtree(self.directory / "redis", ignore_errors=True)

    def flush(self) -> None:
        """FLUSHALL; nothing happens while it is away."""
        with suppress(redis.RedisError), redis.Redis(port=self.port, socket_timeout=2.0) as client:
            client.flushall()

    @property
    def pid(self) -> int | None:
        """Its process, while it runs."""
        return None if self._child is None or self.ended else self._child.pid

    @property
    def ended(self) -> bool:
        """Whether it has to be started."""
        return self._child is None or self._child.exit_code() is not None

    def ready(self) -> bool:
        """Whether it answers."""
        try:
            with redis.Redis(port=self.port, socket_timeout=2.0) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def close(self) -> None:
        """End it for good."""
        if self._child is not None:
            self._child.stop(10.0)
