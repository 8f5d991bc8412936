"""Freshet as an engine of the harness: `freshet up` on servers that the harness started.

Guarantees: every service runs as it does for a user; a run's end is seen in its own row, looked at each time a
hundredth of the time so far has passed (5 to 100 ms). Never: a setting that a user could not make.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import orjson
import psycopg

from benchmarks import workflows
from benchmarks.figures import Json
from benchmarks.processes import Roles
from benchmarks.servers import Servers, fresh_servers

ROOT = Path(__file__).parents[1]
PATIENCE = 3600.0  # seconds that anything may take
WARM_ITEMS = 400
ASKERS = 4  # threads that ask for many small runs
#: The workflow of each kind of work; the others are made to measure.
FIXED = {
    "fan": "bench-fan",
    "small": "bench-small",
    "list": "bench-list",
    "rows": "bench-rows",
    "rows-each": "bench-rows-each",
    "payload": "bench-payload",
    "nested": "bench-nested",
    "diamonds": "bench-diamond",
}
KINDS = frozenset({*FIXED, "hop", "fibo", "blocked"})


class Installation:
    """A running Freshet; see `Engine`."""

    name = "freshet"

    def __init__(self, servers: Servers, *, workers: int, dispatchers: int) -> None:
        """Start it; `close` ends it."""
        self.servers = servers
        self._stack = ExitStack()
        self._data = servers.directory / "up"
        self._log = self._stack.enter_context((servers.directory / "up.log").open("w"))
        self._up = self._start_up(workers)
        connection = self._connection()
        headers = {"Authorization": f"Bearer {connection['token']}"}
        self.client = self._stack.enter_context(httpx.Client(base_url=connection["url"], headers=headers, timeout=60))
        self.session = self._stack.enter_context(psycopg.connect(servers.database_url, autocommit=True))
        self._more = [self._start_service("dispatcher") for _ in range(dispatchers - 1)]
        self._asked: dict[str, tuple[str, list[str]]] = {}
        self._applied: set[str] = set()
        self.settings: Json = {
            "workers": workers,
            "dispatchers": dispatchers,
            "servers": servers.settings(),
            "other settings": "as shipped",
        }

    def close(self) -> None:
        """End it in order."""
        for process in (*self._more, self._up):
            process.terminate()
        for process in (*self._more, self._up):
            process.wait(timeout=60)
        self._stack.close()

    def can(self, kind: str) -> bool:
        """Everything that the harness asks."""
        return kind in KINDS

    def roles(self) -> Roles:
        """The pids by service, each worker on its own."""
        pids: Mapping[str, list[int]] = self._connection()["pids"]
        workers = {f"worker-{number}": [pid] for number, pid in enumerate(pids.get("worker", []), start=1)}
        services = {name: list(found) for name, found in pids.items() if name != "worker"}
        services["dispatcher"] = [*services.get("dispatcher", []), *(process.pid for process in self._more)]
        return {**self.servers.roles, **services, **workers, "up": [self._up.pid]}

    def start(self, kind: str, parameters: Mapping[str, Any]) -> str:
        """Ask for the runs."""
        handle = str(uuid.uuid4())
        name, times, params = self._workflow(kind, parameters)
        if times == 1:
            runs = [self._ask(name, params)]
        else:
            with ThreadPoolExecutor(ASKERS) as askers:
                runs = list(askers.map(lambda _: self._ask(name, params), range(times)))
        self._asked[handle] = (kind, runs)
        return handle

    def finish(self, handle: str) -> Json:
        """Await the ends; the last task's result, and the hops of a chain."""
        kind, runs = self._asked.pop(handle)
        states = self.await_ends(runs)
        if states != {"succeeded": len(runs)}:
            return {"problem": f"runs ended {states}: {self.failure(runs)}"}
        answer: Json = {"runs": len(runs), "engine_s": self._engine_seconds(runs)}
        if kind in {"hop", "fibo"}:
            values = self.chain_results(runs[0])
            return {**answer, "joined": len(values), **_chain_answer(kind, values)}
        if kind == "diamonds":
            return {**answer, "joined": self._items(runs)}
        found = self.client.get(f"/api/v1/runs/{runs[0]}/tasks/end/result").raise_for_status().json()["result"]
        return {**answer, **found, **(self._rows(runs[0]) if kind.startswith("rows") else {})}

    def settle(self) -> float:
        """Until the recorder has written everything."""
        began = time.monotonic()
        self.await_true(lambda: not self.value("select count(*) from engine.outbox"))
        return time.monotonic() - began

    def cancel(self, handle: str) -> None:
        """Give up what was asked for."""
        _, runs = self._asked.pop(handle)
        for run in runs:
            self.client.post(f"/api/v1/runs/{run}/cancel")
        self.await_ends(runs)

    def runs_of(self, handle: str) -> list[str]:
        """The runs that were asked for and not yet awaited."""
        return self._asked[handle][1]

    def await_ends(self, runs: list[str]) -> dict[str, int]:
        """How many runs ended in which state."""
        unfinished = "select count(*) from engine.run where id = any(%s::uuid[]) and finished_at is null"
        self.await_true(lambda: not self.value(unfinished, runs))
        rows = self.session.execute(
            "select state, count(*) from engine.run where id = any(%s::uuid[]) group by state", [runs]
        )
        return {str(state): int(number) for state, number in rows}

    def await_true(self, condition: Callable[[], object]) -> None:
        """Look again whenever a hundredth of the time so far has passed."""
        began = time.monotonic()
        while not condition():
            passed = time.monotonic() - began
            if passed > PATIENCE:
                raise TimeoutError("It did not come within an hour.")
            if self._up.poll() is not None:
                raise ChildProcessError(
                    f"`freshet up` ended: {(self.servers.directory / 'up.log').read_text()[-2000:]}"
                )
            time.sleep(min(0.1, max(0.005, passed / 100)))

    def value(self, query: str, *arguments: object) -> Any:
        """The first column of the first row."""
        row = self.session.execute(query.encode(), arguments or None).fetchone()
        return row[0] if row else None

    def chain_results(self, run: str) -> list[int]:
        """What each task of a chain answered, in order."""
        rows = self.session.execute(
            "select w.result::text::bigint from engine.task_run t join engine.work_item w on w.id = t.id << 24"
            " where t.run_id = %s order by t.id",
            [run],
        )
        return [int(row[0]) for row in rows]

    def failure(self, runs: Iterable[str]) -> str:
        """The first error that a task of these runs ended with."""
        found = self.value(
            "select coalesce((select error::text from engine.work_item w join engine.task_run t on w.id >> 24 = t.id"
            " where t.run_id = any(%s::uuid[]) and w.error is not null limit 1), '')",
            list(runs),
        )
        return str(found)[:500]

    def apply(self, document: Json) -> None:
        """Store a workflow, once."""
        if document["name"] not in self._applied:
            self.client.put(f"/api/v1/workflows/{document['name']}", json=document).raise_for_status()
            self._applied.add(document["name"])

    def warm(self) -> None:
        """Run a little of everything, so that children are up and the means of items are known."""
        self.await_true(lambda: self.value("select count(*) from engine.process where name like 'bench_%'"))
        for document in workflows.fixed():
            self.apply(document)
        for kind in ("fan", "rows", "rows-each"):
            self.finish(self.start(kind, {"n": WARM_ITEMS}))
        self.finish(self.start("hop", {"length": 10}))
        self.settle()

    def _workflow(self, kind: str, parameters: Mapping[str, Any]) -> tuple[str, int, Json]:
        """Which workflow, how often, with which params."""
        given = dict(parameters)
        if kind in FIXED:
            return FIXED[kind], given.pop("runs", 1), given
        if kind == "blocked":
            document, times = workflows.blocked(given.pop("width")), given.pop("runs")
        elif kind == "fibo":
            document, times = workflows.chain(given.pop("length"), "bench_fibo", argument=workflows.WHOLE), 1
        else:
            document, times = workflows.chain(given.pop("length")), 1
        self.apply(document)
        return document["name"], times, given

    def _ask(self, name: str, params: Mapping[str, Any]) -> str:
        answer = self.client.post(f"/api/v1/workflows/{name}/runs", json={"params": dict(params)})
        return str(answer.raise_for_status().json()["run_id"])

    def _engine_seconds(self, runs: list[str]) -> float:
        """From the first creation to the last end, by the engine's own records."""
        return float(
            self.value(
                "select extract(epoch from max(finished_at) - min(created_at)) from engine.run"
                " where id = any(%s::uuid[])",
                runs,
            )
        )

    def _items(self, runs: list[str]) -> int:
        query = "select sum(succeeded) from engine.task_run where run_id = any(%s::uuid[])"
        return int(self.value(query, runs))

    def _rows(self, run: str) -> Json:
        query = "select count(*), count(distinct item) from bench_rows where run = %s"
        row = self.session.execute(query, [run]).fetchone()
        return {"rows": row[0], "distinct_rows": row[1]} if row else {}

    def _connection(self) -> Json:
        path = self._data / "connection.json"
        if not path.exists():
            self.await_true(path.exists)
        found: Json = orjson.loads(path.read_bytes())
        return found

    def _start_up(self, workers: int) -> subprocess.Popen[bytes]:
        options = ["--port", "0", "--data", str(self._data), "--workers", str(workers)]
        command = [str(Path(sys.executable).with_name("freshet")), "up", *options, "--processes", "benchmarks.tasks"]
        return subprocess.Popen(command, cwd=ROOT, env=self._environment(), stdout=self._log, stderr=self._log)

    def _start_service(self, word: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"freshet_{word}"]
        return subprocess.Popen(command, cwd=ROOT, env=self._environment(), stdout=self._log, stderr=self._log)

    def _environment(self) -> dict[str, str]:
        """Ours, with the servers, and a register of installations that is nobody's."""
        given = {"FRESHET_DATABASE_URL": self.servers.database_url, "FRESHET_REDIS_URL": self.servers.redis_url}
        return {**os.environ, **given, "XDG_STATE_HOME": str(self.servers.directory / "state")}


def _chain_answer(kind: str, values: list[int]) -> Json:
    """The hops of marks; the number that all tasks of a fibo chain answered."""
    if kind == "fibo":
        return {"value": values[0] if len(set(values)) == 1 else values}
    return {"hops_ms": [(later - earlier) / 1e6 for earlier, later in pairwise(values)]}


@contextmanager
def freshet(*, workers: int = 2, dispatchers: int = 1) -> Iterator[Installation]:
    """Freshet on fresh servers, warm."""
    with fresh_servers() as servers:
        found = Installation(servers, workers=workers, dispatchers=dispatchers)
        try:
            found.warm()
            yield found
        finally:
            found.close()
