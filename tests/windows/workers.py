"""Workers that are processes, beside a dispatcher and a recorder in this one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.emulator.server import EmulatorProcess
from tests.windows.site import FINAL, Site

DEADLINE = 150.0  # seconds; far more than anything here needs on a busy machine
MODULE = "tests.windows.processes"
#: A worker that died is found as soon as its heartbeat is gone: sooner than in earnest.
SOON = {"FRESHET_HEARTBEAT": "0.2", "FRESHET_DEAD_AFTER": "1"}


class Workers:
    """Started one after the other; what is left is killed in the end."""

    def __init__(self, site: Site, directory: Path, **settings: str) -> None:
        self.site, self.directory = site, directory
        self.trace = directory / "trace"
        self.trace.touch()
        self._alone = False  # whether dispatcher and recorder are processes, too
        self._settings = settings
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, *command: str, **settings: str) -> subprocess.Popen[bytes]:
        """`python -m …`, by default the worker as it is."""
        environment = {name: text for name, text in os.environ.items() if not name.startswith(("FRESHET_", "WINDOW_"))}
        with (self.directory / f"worker-{len(self._running)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *(command or ("freshet_worker",))],
                env={
                    **environment,
                    **SOON,
                    "FRESHET_DATABASE_URL": self.site.database_url,
                    "FRESHET_REDIS_URL": self.site.redis_url,
                    "FRESHET_PROCESSES": MODULE,
                    "WINDOW_TRACE": str(self.trace),
                    **self._settings,
                    **settings,
                },
                stdout=log,
                stderr=log,
            )
        self._running.append(process)
        return process

    def leave_the_rest_to_processes(self) -> None:
        """The dispatcher and the recorder of this process step back."""
        self._alone = True
        self.site.dispatcher.dispatcher.close()

    def close(self) -> None:
        for process in self._running:
            process.kill()
            process.wait(DEADLINE)

    def pass_round(self) -> None:
        """What dispatcher and recorder have to do just now."""
        if not self._alone:
            self.site.step()
            self.site.record()
        threading.Event().wait(0.01)

    def until(self, condition: Callable[[], Any]) -> Any:
        """Let the services work until it is so."""
        end = time.monotonic() + DEADLINE
        while not (found := condition()):
            assert time.monotonic() < end, self.logs()
            self.pass_round()
        return found

    def until_killed(self, process: subprocess.Popen[bytes]) -> None:
        self.until(lambda: process.poll() is not None)
        assert process.returncode == -signal.SIGKILL, self.logs()
        self.site.age(10.0)  # a lost message is looked for after a while

    def until_recorded(self, run: uuid.UUID) -> Mapping[str, Any]:
        def ended() -> Mapping[str, Any] | None:
            found = self.site.reads.run_object(run)
            return found if found["state"] in FINAL and found["recorded"] else None

        found: Mapping[str, Any] = self.until(ended)
        return found

    def tries(self) -> Counter[str]:
        """How often each try was begun."""
        return Counter(self.trace.read_text(encoding="utf-8").splitlines())

    def logs(self) -> str:
        return "\n".join(path.read_text("utf-8", "replace") for path in sorted(self.directory.glob("worker-*.log")))


def jobs_of(site: Site, directory: Path, emulator: EmulatorProcess, **more: str) -> Workers:
    """Workers that serve job services on this emulator, with `more` settings."""
    return Workers(
        site,
        directory,
        FRESHET_SNOWFLAKE_ACCOUNT="local",
        FRESHET_SNOWFLAKE_HOST="127.0.0.1",
        FRESHET_SNOWFLAKE_PORT=str(emulator.port),
        FRESHET_SNOWFLAKE_PROTOCOL="http",
        FRESHET_SNOWFLAKE_USER="freshet",
        FRESHET_SNOWFLAKE_PASSWORD="freshet",
        FRESHET_SNOWFLAKE_DATABASE="FRESHET",
        FRESHET_SNOWFLAKE_SCHEMA="PUBLIC",
        **more,
        FRESHET_JOB_POLL="0.2",
        FRESHET_JOB_KEEP="0.1",
    )
