"""Both embedded servers at once, for tests and benchmarks; `freshet up` supervises them itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from freshet.domain.errors import FreshetError, UnreachableError
from freshet.runtime.child import Child, Program, last_lines
from freshet.runtime.embedded import places
from freshet.runtime.embedded.postgres import PostgresServer
from freshet.runtime.embedded.valkey import ValkeyServer
from freshet.runtime.lock import locked

START_TIMEOUT = 60.0  # seconds; crash recovery of Postgres is within


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddedServers:
    """Where the servers are."""

    database_url: str
    redis_url: str
    postgres: Child
    redis: Child


@contextmanager
def start_servers(directory: Path) -> Iterator[EmbeddedServers]:
    """Run Postgres and Valkey on `directory` while the context lasts.

    Raises ConflictError when another process uses the directory, FreshetError when a server does not start.
    Enter it in a thread that lives as long as the process (the main one).
    """
    directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(locked(directory))
        redis, postgres = ValkeyServer(directory), PostgresServer(directory)
        stack.callback(places.remove_sockets, directory)
        redis_child = _start(redis, directory, stack)
        postgres_child = _start(postgres, directory, stack)
        await_ready(redis, redis_child)
        await_ready(postgres, postgres_child)
        yield EmbeddedServers(
            database_url=postgres.url, redis_url=redis.url, postgres=postgres_child, redis=redis_child
        )


def await_ready(program: Program, child: Child, timeout: float = START_TIMEOUT) -> None:
    """Wait until it serves. Raises FreshetError with the end of its log when it ends first or takes too long."""
    deadline = time.monotonic() + timeout
    while not program.ready(child.pid):
        if child.exit_code() is not None:
            raise FreshetError(f"{program.name} ended with code {child.exit_code()}:\n{last_lines(child.log)}")
        if time.monotonic() > deadline:
            raise UnreachableError(f"{program.name} is not ready after {timeout:g} s:\n{last_lines(child.log)}")
        time.sleep(0.01)


def _start(program: Program, directory: Path, stack: ExitStack) -> Child:
    child = Child(program.command(), directory / f"{program.name}.log")
    stack.callback(child.stop, 10.0)
    return child
