"""A whole `freshet up`, in its own process, and the REST client that tests talk to it with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import psycopg

ROOT = Path(__file__).parents[2]
FRESHET = Path(sys.executable).with_name("freshet")
FINAL = {"succeeded", "failed", "skipped", "cancelled"}
DEADLINE = 120.0  # seconds; far more than anything here needs on a busy machine


class Installation:
    """Started in `directory`, which is also where its user code may be imported from."""

    def __init__(self, directory: Path, *, processes: str, workers: int = 2, code: Path = ROOT) -> None:
        self.data = directory / "data"
        self._pause = threading.Event()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FRESHET_")} | {
            "XDG_STATE_HOME": str(directory / "state"),
            "PYTHONPATH": str(code),
        }
        self.environment = environment
        self.log = (directory / "up.log").open("w")
        command = [str(FRESHET), "up", "--port", "0", "--data", str(self.data)]
        self.process = subprocess.Popen(
            [*command, "--workers", str(workers), "--processes", processes],
            cwd=code,
            env=environment,
            stdout=self.log,
            stderr=self.log,
        )
        self.wait((self.data / "connection.json").exists, "connection.json")
        self.client = httpx.Client(
            base_url=self.connection["url"],
            headers={"Authorization": f"Bearer {self.connection['token']}"},
            timeout=30,
        )

    @property
    def connection(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.data / "connection.json").read_text())
        return found

    def close(self) -> None:
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=60)
        finally:
            self.process.kill()
            self.log.close()

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        """Await a condition; a deadline only ends what would never come."""
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"up ended with {self.process.returncode} while {what} was awaited")
            if answer := condition():
                return answer
            self._pause.wait(0.05)
        raise AssertionError(f"{what} did not come")

    def pids(self, service: str) -> list[int]:
        return list(self.connection["pids"][service])

    def apply(self, document: Mapping[str, Any]) -> None:
        self.client.put(f"/api/v1/workflows/{document['name']}", json=document).raise_for_status()

    def start(self, workflow: str, **params: Any) -> str:
        answer = self.client.post(f"/api/v1/workflows/{workflow}/runs", json={"params": params})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["run_id"])

    def run(self, run: str) -> dict[str, Any]:
        answer = self.client.get(f"/api/v1/runs/{run}")
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def ended(self, run: str) -> dict[str, Any]:
        """The run object once the run is final and recorded."""

        def recorded() -> dict[str, Any] | None:
            found = self.run(run)
            return found if found["state"] in FINAL and found["recorded"] else None

        found: dict[str, Any] = self.wait(recorded, f"the end of run {run}")
        return found

    def sql(self, text: str, *values: Any) -> list[Any]:
        with psycopg.connect(self.connection["database_url"], autocommit=True) as session:
            cursor = session.execute(text, values)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def one(self, text: str, *values: Any) -> Any:
        ((value,),) = self.sql(text, *values)
        return value

    def cli(self, *words: str, code: int | None = 0, directory: Path = ROOT) -> str:
        """The command line's output."""
        answer = subprocess.run(
            [str(FRESHET), *words],
            env=self.environment | {"FRESHET_URL": self.connection["url"], "FRESHET_TOKEN": self.connection["token"]},
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert code is None or answer.returncode == code, answer.stdout + answer.stderr
        return answer.stdout
