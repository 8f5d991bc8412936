"""DBOS: two executors over the Postgres socket, queues polled every hundredth of a second.

Settings: a fan is a workflow that enqueues child workflows and awaits them; a chain is a workflow of steps, which run
in its own process, as its documentation has it: no step of it is dispatched to another worker. A diamond is four
steps. Never: DBOS Conductor, which is a service.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from functools import cache
from typing import Any

import psycopg
from dbos import DBOS, DBOSClient

from benchmarks.peers import session
from benchmarks.peers.session import Json, Place, await_true, blob, fibo, hops, processes, tally

DATABASE = "BENCH_DATABASE_URL"
VERSION = "1"
CONCURRENCY = 16  # workflows that one executor runs at once
POLL = 0.01  # seconds; shorter than what is shipped, 1
POOL = 20  # sessions of one executor
RUNS, ITEMS = "bench-runs", "bench-items"


@cache
def database() -> psycopg.Connection[Any]:
    """One session for a process; psycopg's lock keeps threads apart."""
    return psycopg.connect(os.environ[DATABASE], autocommit=True)


def echo(item: int) -> int:
    """Nothing."""
    return item


def insert(item: int, run: str) -> int:
    """One row, in a step."""
    return int(DBOS.run_step(None, insert_row, item, run))


def insert_row(item: int, run: str) -> int:
    """The step."""
    database().execute("insert into bench_rows (run, item) values (%s, %s)", (run, item))
    return item


def make_blob(item: int, size: int) -> str:
    """A result of so many bytes."""
    return blob(item, size)


def fan_out(count: int, work: str, *arguments: Any) -> Json:
    """All of a fan: enqueue the items, await them, count."""
    handles = [DBOS.enqueue_workflow(ITEMS, WORKFLOWS[work], item, *arguments) for item in range(count)]
    return tally(handle.get_result(polling_interval_sec=POLL) for handle in handles)


def nest(groups: int, each: int) -> Json:
    """A fan of fans."""
    handles = [DBOS.enqueue_workflow(RUNS, WORKFLOWS["fan_out"], each, "echo") for _ in range(groups)]
    found = [handle.get_result(polling_interval_sec=POLL) for handle in handles]
    return {name: sum(one[name] for one in found) for name in ("joined", "distinct")}


def chain(length: int) -> list[float]:
    """Steps one after the other."""
    return [DBOS.run_step(None, time.time) for _ in range(length)]


def chain_fibo(length: int, argument: int) -> list[int]:
    """Steps that work."""
    return [DBOS.run_step(None, fibo, argument) for _ in range(length)]


WORKFLOWS = {
    function.__name__: DBOS.workflow(name=function.__name__)(function)
    for function in (echo, insert, make_blob, fan_out, nest, chain, chain_fibo)
}


def work(url: str, number: str) -> None:
    """An executor, until it is ended."""
    DBOS(
        config={
            "name": "benchmark",
            "system_database_url": url,
            "application_version": VERSION,
            "executor_id": f"worker-{number}",
            "sys_db_pool_size": POOL,
            "log_level": "WARNING",
        }
    )
    DBOS.launch()
    DBOS.register_queue(RUNS, polling_interval_sec=POLL)
    DBOS.register_queue(ITEMS, polling_interval_sec=POLL, worker_concurrency=CONCURRENCY)
    database().execute("insert into bench_ready values (%s)", (number,))
    threading.Event().wait()


class Adapter:
    """See `session.Adapter`."""

    kinds = frozenset({"hop", "fan", "small", "list", "rows", "payload", "diamonds", "fibo", "nested"})

    def __init__(self, place: Place) -> None:
        """Start the executors, one after the other for the sake of the migration, and run a little."""
        os.environ[DATABASE] = place.database_url
        database().execute("create table if not exists bench_rows (run text not null, item bigint not null)")
        database().execute("create table if not exists bench_ready (number text)")
        self._workers: list[Any] = []
        for number in range(1, place.workers + 1):
            command = [sys.executable, "-P", "-m", "benchmarks.peers.dbos", "work", place.database_url, str(number)]
            self._workers += processes([command], place)
            await_true(lambda: count("select count(*) from bench_ready") == len(self._workers))
        self._client = DBOSClient(system_database_url=place.database_url, application_name="benchmark")
        self.finish("fan", self.start("fan", {"n": 100}))
        polls = {"queue_polling_interval_s": POLL, "worker_concurrency": CONCURRENCY, "sys_db_pool_size": POOL}
        self.settings: Json = {**polls, "a hop": "a step in the workflow's process"}

    def roles(self) -> dict[str, list[int]]:
        """The executors."""
        return {f"worker-{number}": [worker.pid] for number, worker in enumerate(self._workers, start=1)}

    def start(self, kind: str, parameters: Json) -> Any:
        """The handles whose results are awaited, and the name of what rows are counted by."""
        run = str(time.time_ns())
        match kind:
            case "hop":
                return run, [self._enqueue("chain", parameters["length"])]
            case "fibo":
                return run, [self._enqueue("chain_fibo", parameters["length"], parameters["argument"])]
            case "diamonds":
                return run, [self._enqueue("chain", 4) for _ in range(parameters["runs"])]
            case "nested":
                return run, [self._enqueue("nest", parameters["n"], parameters["size"])]
        given = {"rows": ("insert", run), "payload": ("make_blob", parameters.get("bytes"))}
        return run, [self._enqueue("fan_out", parameters["n"], *given.get(kind, ("echo",)))]

    def finish(self, kind: str, asked: Any) -> Json:
        """Await the results."""
        run, handles = asked
        found = [handle.get_result(polling_interval_sec=POLL) for handle in handles]
        match kind:
            case "hop":
                return {"joined": len(found[0]), "hops_ms": hops(found[0])}
            case "fibo":
                return {"joined": len(found[0]), "value": found[0][0]}
            case "diamonds":
                return {"joined": sum(map(len, found))}
            case "rows":
                return {**found[0], **rows(run)}
        joined: Json = found[0]
        return joined

    def close(self) -> None:
        """End the executors."""
        self._client.destroy()
        session.end(self._workers)

    def _enqueue(self, name: str, *arguments: Any) -> Any:
        return self._client.enqueue({"workflow_name": name, "queue_name": RUNS, "app_version": VERSION}, *arguments)


def rows(run: str) -> Json:
    """What the items have inserted."""
    query = "select count(*), count(distinct item) from bench_rows where run = %s"
    found = database().execute(query, [run]).fetchone()
    return {"rows": found[0], "distinct_rows": found[1]} if found else {}


def count(query: str) -> int:
    """One number."""
    found = database().execute(query.encode()).fetchone()
    return int(found[0]) if found else 0


if __name__ == "__main__":
    if sys.argv[1] == "work":
        work(*sys.argv[2:4])
    else:
        session.serve(Adapter)
