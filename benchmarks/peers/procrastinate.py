"""Procrastinate: two workers over the Postgres socket, woken by LISTEN and NOTIFY.

Settings: asynchronous tasks, several at once in each worker, as its guide advises. It has no graph: a fan is one job
that defers the items in one statement, and is over when the jobs' table says that all have succeeded (nothing is
joined); in a chain each job defers the next. Never: a synchronous task, which would run in a thread.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from functools import cache
from typing import Any

import procrastinate
import psycopg

from benchmarks.peers import session
from benchmarks.peers.session import Json, Place, await_true, hops, processes

DATABASE = "BENCH_DATABASE_URL"
CONCURRENCY = 10  # jobs that one worker runs at once
TABLES = (
    "create table if not exists bench_rows (run text not null, item bigint not null)",
    "create table if not exists bench_ends (run text primary key, moments double precision[])",
)
SUCCEEDED = (
    "select count(*), count(distinct args ->> 'item') from procrastinate_jobs"
    " where status = 'succeeded' and task_name = any(%s) and args ->> 'run' = %s"
)

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ.get(DATABASE, "")))


@cache
def database() -> psycopg.Connection[Any]:
    """One session for the client."""
    return psycopg.connect(os.environ[DATABASE], autocommit=True)


async def echo(item: int, run: str) -> None:
    """Nothing."""


async def insert(item: int, run: str) -> None:
    """One row, by a session of the worker's pool."""
    await app.connector.execute_query_async(
        "insert into bench_rows (run, item) values (%(run)s, %(item)s)", run=run, item=item
    )


async def fan_out(count: int, work: str, run: str) -> None:
    """The first job: defer the items."""
    await app.tasks[work].batch_defer_async(*({"item": item, "run": run} for item in range(count)))


async def mark(left: int, moments: list[float], run: str) -> None:
    """When this ran, behind those before it; then the next, or the end."""
    moments = [*moments, time.time()]
    if left > 1:
        await app.tasks["mark"].defer_async(left=left - 1, moments=moments, run=run)
    else:
        await app.connector.execute_query_async(
            "insert into bench_ends (run, moments) values (%(run)s, %(moments)s)", run=run, moments=moments
        )


for function in (echo, insert, fan_out, mark):
    app.task(name=function.__name__)(function)


async def work(name: str) -> None:
    """A worker, until it is ended."""
    async with app.open_async():
        await app.run_worker_async(name=name, concurrency=CONCURRENCY)


class Adapter:
    """See `session.Adapter`."""

    kinds = frozenset({"hop", "fan", "small", "list", "rows"})

    def __init__(self, place: Place) -> None:
        """Make the tables, start the workers and run a little."""
        for statement in TABLES:
            database().execute(statement.encode())
        app.open()
        app.schema_manager.apply_schema()
        command = [sys.executable, "-P", "-m", "benchmarks.peers.procrastinate", "work"]
        numbered = [[*command, f"worker-{number}"] for number in range(1, place.workers + 1)]
        self._workers = processes(numbered, place, **{DATABASE: place.database_url})
        self.finish("fan", self.start("fan", {"n": 200}))
        self.settings: Json = {"concurrency": CONCURRENCY, "listen_notify": True, "tasks": "asynchronous"}

    def roles(self) -> dict[str, list[int]]:
        """The workers."""
        return {f"worker-{number}": [worker.pid] for number, worker in enumerate(self._workers, start=1)}

    def start(self, kind: str, parameters: Json) -> Any:
        """The name by which the jobs are known, and how many there are."""
        run = str(time.time_ns())
        if kind == "hop":
            app.tasks["mark"].defer(left=parameters["length"], moments=[], run=run)
            return run, parameters["length"]
        task = "insert" if kind == "rows" else "echo"
        app.tasks["fan_out"].defer(count=parameters["n"], work=task, run=run)
        return run, parameters["n"]

    def finish(self, kind: str, asked: Any) -> Json:
        """Await the end of the chain, or of all items."""
        run, count = asked
        if kind == "hop":
            query = "select moments from bench_ends where run = %s"
            await_true(lambda: database().execute(query, [run]).fetchone())
            moments = one(query, [run])[0]
            return {"joined": len(moments), "hops_ms": hops(moments)}
        arguments = [["echo", "insert"], run]
        await_true(lambda: one(SUCCEEDED, arguments)[0] == count)
        joined, distinct = one(SUCCEEDED, arguments)
        return {"joined": joined, "distinct": distinct, **(rows(run) if kind == "rows" else {})}

    def close(self) -> None:
        """End the workers."""
        app.close()
        session.end(self._workers)


def one(query: str, arguments: list[Any]) -> tuple[Any, ...]:
    """The first row."""
    return database().execute(query.encode(), arguments).fetchone() or (0, 0)


def rows(run: str) -> Json:
    """What the items have inserted."""
    found = one("select count(*), count(distinct item) from bench_rows where run = %s", [run])
    return {"rows": found[0], "distinct_rows": found[1]}


if __name__ == "__main__":
    if sys.argv[1] == "work":
        asyncio.run(work(sys.argv[2]))
    else:
        os.environ[DATABASE] = json.loads(sys.argv[1])["database_url"]
        from benchmarks.peers.procrastinate import Adapter as Imported  # whose app knows the database

        session.serve(Imported)
