"""Speed of an installation, as ratios against a peer in the same run and as CPU per item.

Guarantee: every figure comes from runs made just now on this machine; a run that did not succeed stops the benchmark.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import orjson
import redis
from examples.fanout.chain import chain
from rq import Queue

from freshet.definition import load_file, normalise_document

ROOT = Path(__file__).parents[1]
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One workload: how many, in how many seconds of wall and of CPU."""

    name: str
    count: int
    wall_s: float
    cpu_s: float

    def line(self) -> str:
        """A row of the table."""
        each = self.wall_s / self.count * 1000
        rate = self.count / self.wall_s
        return f"{self.name:<14} {self.count:>8} {self.wall_s:>9.2f} {rate:>10.0f} {each:>9.3f} {self.cpu_us:>9.0f}"

    @property
    def cpu_us(self) -> float:
        """CPU microseconds per item, all processes together."""
        return self.cpu_s / self.count * 1e6


class Server:
    """An installation made for this benchmark."""

    def __init__(self, directory: Path, workers: int) -> None:
        program = Path(sys.executable).with_name("freshet")
        self._log = (directory / "up.log").open("w")
        self.process = subprocess.Popen(
            [
                str(program),
                "up",
                "--port",
                "0",
                "--data",
                str(directory / "data"),
                "--workers",
                str(workers),
                "--processes",
                "examples.fanout.processes",
            ],
            cwd=ROOT,
            stdout=self._log,
            stderr=self._log,
        )
        path = directory / "data" / "connection.json"
        await_true(path.exists)
        self.connection: dict[str, Any] = orjson.loads(path.read_bytes())
        headers = {"Authorization": f"Bearer {self.connection['token']}"}
        self.client = httpx.Client(base_url=self.connection["url"], headers=headers, timeout=30)

    def stop(self) -> None:
        """End it in order."""
        self.client.close()
        self.process.terminate()
        self.process.wait(timeout=60)
        self._log.close()

    def apply(self, document: dict[str, Any]) -> None:
        """Store a workflow."""
        self.client.put(f"/api/v1/workflows/{document['name']}", json=document).raise_for_status()

    def run(self, workflow: str, **params: Any) -> dict[str, Any]:
        """Start a run and await its end; its run object."""
        answer = self.client.post(f"/api/v1/workflows/{workflow}/runs", json={"params": params}).raise_for_status()
        path = f"/api/v1/runs/{answer.json()['run_id']}"
        await_true(lambda: self.client.get(path).json()["recorded"], pause=0.2)
        found: dict[str, Any] = self.client.get(path).json()
        if found["state"] != "succeeded":
            raise SystemExit(f"{workflow} ended {found['state']}: {found['error']}")
        return found


def await_true(condition: Callable[[], Any], pause: float = 0.05) -> None:
    """Wait, at most ten minutes."""
    deadline = time.monotonic() + 600
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("It did not come within ten minutes.")
        time.sleep(pause)


def cpu_seconds(root: int) -> float:
    """CPU of a process and all its descendants, those included that have ended and were waited for."""
    parents: dict[int, tuple[int, float]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents[int(entry.name)] = (int(fields[1]), sum(map(int, fields[11:15])) / TICKS)
    family, grown = {root}, True
    while grown:
        more = {pid for pid, (parent, _) in parents.items() if parent in family} - family
        family |= more
        grown = bool(more)
    return sum(cpu for pid, (_, cpu) in parents.items() if pid in family)


def measure(server: Server, name: str, count: int, **params: Any) -> Figure:
    """One run of a workflow that is already known to the workers."""
    before = cpu_seconds(server.process.pid)
    found = server.run(name, **params)
    cpu = cpu_seconds(server.process.pid) - before
    wall = (moment(found["finished_at"]) - moment(found["created_at"])).total_seconds()
    return Figure(name=name, count=count, wall_s=wall, cpu_s=cpu)


def moment(text: str) -> datetime:
    """A time of the API."""
    return datetime.fromisoformat(text)


@contextmanager
def rq_workers(url: str, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Stock RQ workers in burst mode."""
    program = Path(sys.executable).with_name("rq")
    command = [str(program), "worker", "--burst", "--quiet", "-w", "rq.SimpleWorker", "--url", url, "benchmark"]
    workers = [subprocess.Popen(command, cwd=ROOT) for _ in range(count)]
    yield workers
    for worker in workers:
        worker.wait(timeout=600)


def measure_rq(url: str, jobs: int, workers: int) -> Figure:
    """No-op jobs on stock RQ; enqueued before the clock starts, which flatters it."""
    with redis.Redis.from_url(url) as connection:
        queue = Queue("benchmark", connection=connection)
        queue.enqueue_many([Queue.prepare_data("math.sqrt", args=(4,), result_ttl=60) for _ in range(jobs)])
        began, before = time.monotonic(), cpu_seconds(os.getpid())
        with rq_workers(url, workers):
            await_true(lambda: queue.count == 0)
            wall = time.monotonic() - began
        return Figure(name="rq", count=jobs, wall_s=wall, cpu_s=cpu_seconds(os.getpid()) - before)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--hops", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rq-jobs", type=int, default=2_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="freshet-benchmark-") as directory:
        server = Server(Path(directory), options.workers)
        try:
            report(server, options)
        finally:
            server.stop()


def report(server: Server, options: argparse.Namespace) -> None:
    """Warm up, measure, compare."""
    for document in load_file(ROOT / "examples/fanout/workflow.yaml"):
        server.apply(normalise_document(document))
    server.apply(chain(options.hops))
    server.run("fanout", n=200)
    figures = [
        measure(server, "fanout", options.items, n=options.items),
        measure(server, "fanout-rows", options.items, n=options.items),
        measure(server, "chain", options.hops),
        measure_rq(server.connection["redis_url"], options.rq_jobs, options.workers),
    ]
    print(f"{'workload':<14} {'count':>8} {'wall s':>9} {'per s':>10} {'ms each':>9} {'CPU us':>9}")
    for figure in figures:
        print(figure.line())
    fan, peer = figures[0], figures[-1]
    ratio = (fan.count / fan.wall_s) / (peer.count / peer.wall_s)
    print(f"fanout runs {ratio:.1f} times as many tasks per second as stock RQ runs jobs.")


if __name__ == "__main__":
    main()
