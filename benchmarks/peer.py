"""A peer as an engine of the harness: its module in its own environment, asked by JSON lines.

Guarantees: fresh servers with the settings that Freshet gets; a peer that dies answers with a problem, never with a
hang. Never: a library of a peer in this process.
"""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.environments import environment, versions
from benchmarks.figures import Json
from benchmarks.processes import Roles
from benchmarks.servers import Servers, fresh_servers

ROOT = Path(__file__).parents[1]
NEED_CONTRIB = frozenset({"prefect"})  # pg_trgm


class Peer:
    """A running peer; see `Engine`."""

    def __init__(self, name: str, python: Path, servers: Servers, *, workers: int, log: Path) -> None:
        """Start it and wait until its workers are warm; `close` ends it."""
        self.name = name
        self.servers = servers
        self._log = log.open("w")
        self._process = self._launch(python, workers)
        hello = self._read()
        if "problem" in hello:
            raise ChildProcessError(f"{name} does not start; the end of {log}:\n{log.read_text()[-2000:]}")
        self._kinds = frozenset(hello["kinds"])
        self.settings: Json = {**hello["settings"], "workers": workers, "servers": servers.settings()}
        self.settings["packages"] = versions(python)

    def close(self) -> None:
        """Hang up, and wait until it has ended its processes."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def can(self, kind: str) -> bool:
        """What its module says."""
        return kind in self._kinds

    def roles(self) -> Roles:
        """Its processes and the servers."""
        return {**self.servers.roles, **self._ask({"op": "roles"})}

    def start(self, kind: str, parameters: Mapping[str, Any]) -> str:
        """Ask for the work."""
        handle = str(uuid.uuid4())
        answer = self._ask({"op": "start", "handle": handle, "kind": kind, "parameters": dict(parameters)})
        return handle if "problem" not in answer else json.dumps(answer)

    def finish(self, handle: str) -> Json:
        """Await the end."""
        if handle.startswith("{"):  # it was refused at the start
            refused: Json = json.loads(handle)
            return refused
        return self._ask({"op": "finish", "handle": handle})

    def cancel(self, handle: str) -> None:
        """Leave it where it is: the servers are thrown away."""
        self.finish(handle)

    def settle(self) -> float:
        """Peers write nothing after the end that anybody waits for."""
        return 0.0

    def _launch(self, python: Path, workers: int) -> subprocess.Popen[str]:
        place = {
            "database_url": self.servers.database(self.name),
            "redis_url": self.servers.redis_url,
            "directory": str(self.servers.directory),
            "workers": workers,
        }
        # -P: a module here may be called as the library that it drives.
        command = [str(python), "-P", "-m", f"benchmarks.peers.{self.name}", json.dumps(place)]
        path = os.pathsep.join([str(python.parent), os.environ.get("PATH", "")])
        env = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path, "PYTHONSAFEPATH": "1"}
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, stderr=self._log, text=True, bufsize=1)

    def _ask(self, request: Json) -> Json:
        if self._process.stdin is None or self._process.poll() is not None:
            return {"problem": f"{self.name} has ended"}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> Json:
        line = self._process.stdout.readline() if self._process.stdout is not None else ""
        answer: Json = json.loads(line) if line else {"problem": f"{self.name} has ended"}
        return answer


@contextmanager
def peer(name: str, cache: Path, logs: Path, *, workers: int = 2) -> Iterator[Peer]:
    """A peer on fresh servers, warm."""
    logs.mkdir(parents=True, exist_ok=True)
    python = environment(name, cache)
    with fresh_servers(packaged=name in NEED_CONTRIB) as servers:
        found = Peer(name, python, servers, workers=workers, log=logs / f"{name}.log")
        try:
            yield found
        finally:
            found.close()
