"""Celery: warm workers over the Redis socket, results in Redis.

Settings: as its guide to optimising says for short tasks, a high prefetch multiplier, no gossip, mingle or heartbeat;
the pool with one process for each worker and no hand-over (`solo`); results ignored where nobody reads them. A chain
is `chain`, a fan is a `chord` that the first task puts in its own place. Never: eager tasks.
"""

from __future__ import annotations

import os
import time
from functools import cache
from typing import Any

import psycopg
from celery import Celery, chain, chord, group

from benchmarks.peers import session
from benchmarks.peers.session import Json, Place, await_true, blob, fibo, hops, processes, tally

REDIS = "BENCH_REDIS_URL"
DATABASE = "BENCH_DATABASE_URL"
PREFETCH = 64
POOL = "solo"
PATIENCE = 600  # seconds for one answer
QUIET = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "ERROR"]

app: Any = Celery("benchmark")
app.conf.update(
    broker_url=os.environ.get(REDIS, ""),
    result_backend=os.environ.get(REDIS, ""),
    worker_prefetch_multiplier=PREFETCH,
    worker_disable_rate_limits=True,
    task_acks_late=False,
    task_send_sent_event=False,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
)


@cache
def database() -> psycopg.Connection[Any]:
    """One session for a process."""
    return psycopg.connect(os.environ[DATABASE], autocommit=True)


def echo(item: int) -> int:
    """Nothing."""
    return item


def insert(item: int, run: str) -> int:
    """One row."""
    database().execute("insert into bench_rows (run, item) values (%s, %s)", (run, item))
    return item


def make_blob(item: int, size: int) -> str:
    """A result of so many bytes."""
    return blob(item, size)


def mark(moments: Any = None) -> list[float]:
    """When this ran, behind those before it."""
    return [*(moments or []), time.time()]


def join_marks(results: Any) -> int:
    """The bottom of a diamond."""
    return len(results)


def work_fibo(argument: int) -> int:
    """The work of the public suite."""
    return fibo(argument)


def join(results: list[Any]) -> Json:
    """The last task of a fan."""
    return tally(results)


def fan_out(task: Any, count: int, work: str, *arguments: Any) -> None:
    """The first task of a fan: a chord takes its place."""
    signature = app.tasks[f"bench.{work}"]
    raise task.replace(chord([signature.s(item, *arguments) for item in range(count)], app.tasks["bench.join"].s()))


for function in (echo, insert, make_blob, mark, join_marks, work_fibo, join):
    app.task(name=f"bench.{function.__name__}")(function)
app.task(name="bench.fan_out", bind=True)(fan_out)


class Adapter:
    """See `session.Adapter`."""

    kinds = frozenset({"hop", "fan", "small", "list", "rows", "payload", "diamonds", "fibo"})

    def __init__(self, place: Place) -> None:
        """Start the workers and run a little on each."""
        url = f"redis+socket://{place.socket}?virtual_host=0"
        given = {REDIS: url, DATABASE: place.database_url}
        os.environ |= given
        app.conf.update(broker_url=url, result_backend=url)
        database().execute("create table if not exists bench_rows (run text not null, item bigint not null)")
        options = ["-A", "benchmarks.peers.celery", "worker", "-P", POOL, "-c", "1", *QUIET]
        named = [["celery", *options, "-n", f"worker{number}@local"] for number in range(place.workers)]
        self._workers = processes(named, place, **given)
        await_true(lambda: len(app.control.ping(timeout=1.0)) == place.workers)
        self.finish("fan", self.start("fan", {"n": 100}))
        self.settings: Json = {"options": " ".join(options[2:]), "worker_prefetch_multiplier": PREFETCH}

    def roles(self) -> dict[str, list[int]]:
        """The workers."""
        return {f"worker-{number}": [worker.pid] for number, worker in enumerate(self._workers, start=1)}

    def start(self, kind: str, parameters: Json) -> Any:
        """The result whose end is awaited."""
        tasks = app.tasks
        match kind:
            case "hop":
                return chain(tasks["bench.mark"].s() for _ in range(parameters["length"]))()
            case "fibo":
                return chain(tasks["bench.work_fibo"].si(parameters["argument"]) for _ in range(parameters["length"]))()
            case "diamonds":
                return [diamond() for _ in range(parameters["runs"])]
            case "rows":
                run = f"{time.time_ns()}"
                return run, tasks["bench.fan_out"].delay(parameters["n"], "insert", run)
            case "payload":
                return None, tasks["bench.fan_out"].delay(parameters["n"], "make_blob", parameters["bytes"])
        return None, tasks["bench.fan_out"].delay(parameters["n"], "echo")

    def finish(self, kind: str, asked: Any) -> Json:
        """Await the last result."""
        if kind == "diamonds":
            return {"joined": sum(2 + each.get(timeout=PATIENCE) for each in asked)}
        if kind == "hop":
            moments = asked.get(timeout=PATIENCE)
            return {"joined": len(moments), "hops_ms": hops(moments)}
        if kind == "fibo":
            value, length = asked.get(timeout=PATIENCE), 1
            while (asked := asked.parent) is not None:
                length += 1
            return {"value": value, "joined": length}
        run, result = asked
        found: Json = result.get(timeout=PATIENCE)
        return {**found, **(rows(run) if kind == "rows" else {})}

    def close(self) -> None:
        """End the workers."""
        session.end(self._workers)


def diamond() -> Any:
    """One, two beside each other, one."""
    tasks = app.tasks
    sides = group(tasks["bench.mark"].s(), tasks["bench.mark"].s())
    return (tasks["bench.mark"].s() | sides | tasks["bench.join_marks"].s()).delay()


def rows(run: str) -> Json:
    """What the items have inserted."""
    query = "select count(*), count(distinct item) from bench_rows where run = %s"
    found = database().execute(query, [run]).fetchone()
    return {"rows": found[0], "distinct_rows": found[1]} if found else {}


if __name__ == "__main__":
    from benchmarks.peers.celery import Adapter as Imported  # tasks are known by their module's name

    session.serve(Imported)
