"""An emulator as a process of its own, and what tests do with it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import IO, Any, TypeVar

import httpx

from freshet.snowflake import JobRow, JobServices, JobStatus, SnowflakeSettings

DEADLINE = 30.0
CREDENTIALS = {"user": "freshet", "password": "freshet"}
Found = TypeVar("Found")


def until(condition: Callable[[], Found | None], deadline: float = DEADLINE) -> Found:
    """The condition's value as soon as it is true."""
    end = time.monotonic() + deadline
    pause = threading.Event()
    while not (found := condition()):
        assert time.monotonic() < end, "the condition did not come true in time"
        pause.wait(0.02)
    return found


class EmulatorProcess:
    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "freshet_emulator", "--port", "0", "--grace", "5", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        ready = json.loads(self.process.stdout.readline())
        assert ready["event"] == "listening"
        self.port: int = ready["port"]
        self.url = f"http://127.0.0.1:{self.port}"
        self._drain = threading.Thread(target=drain, args=(self.process.stdout,), daemon=True)
        self._drain.start()

    def settings(self, **changes: Any) -> SnowflakeSettings:
        given = {"account": "local", "database": "FRESHET", "schema": "PUBLIC", "host": "127.0.0.1"}
        return SnowflakeSettings(**{**given, "port": self.port, "protocol": "http", **CREDENTIALS, **changes})

    def services(self, **changes: Any) -> JobServices:
        return JobServices(self.settings(**changes))

    def fault(self, **switches: Any) -> None:
        httpx.post(f"{self.url}/control/faults", json=switches).raise_for_status()

    @contextmanager
    def faulty(self, **switch: Any) -> Iterator[None]:
        """A fault for as long as this lasts."""
        self.fault(**switch)
        try:
            yield
        finally:
            httpx.delete(f"{self.url}/control/faults").raise_for_status()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(DEADLINE)
        self._drain.join(DEADLINE)
        return code

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE)
        self._drain.join(DEADLINE)


def drain(pipe: IO[str]) -> None:
    with closing(pipe):
        for _ in pipe:
            pass


def shell(script: str, **env: str) -> str:
    """A specification whose one container runs a shell script."""
    container = {"name": "main", "image": "/db/s/repo/shell:1", "command": ["sh", "-c", script], "env": env}
    return json.dumps({"spec": {"containers": [container]}})


def fresh(prefix: str = "T") -> str:
    """A name that no other test uses."""
    return f"{prefix}_{uuid.uuid4().hex.upper()}"


def status(services: JobServices, name: str) -> JobStatus:
    """The status of a job that must exist."""
    row = services.describe(name)
    assert row is not None, f"{name} is gone"
    return row.status


def ended(services: JobServices, name: str) -> JobRow:
    """The job, once it has ended."""

    def look() -> JobRow | None:
        row = services.describe(name)
        assert row is not None, f"{name} is gone"
        return row if row.status.is_terminal else None

    return until(look)
