"""Prefect: flows whose tasks run in a pool of threads, against a server of their own on the Postgres socket.

Settings: ThreadPoolTaskRunner with a thread for each worker, its default runner and the fastest here; logs not sent
to the server, events in the server's memory, results in memory; analytics and the pages off. A task is a call in the
flow's process, which is this one; its states go to the server over HTTP. Never: Prefect Cloud.
"""

from __future__ import annotations

import os
import socket
import time
import urllib.request
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.peers import session
from benchmarks.peers.session import Json, Place, await_true, blob, fibo, hops, processes, tally

DATABASE = "BENCH_DATABASE_URL"


@cache
def database() -> psycopg.Connection[Any]:
    """One session for the process; psycopg's lock keeps threads apart."""
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


def start_with(count: int) -> list[int]:
    """The first task of a fan."""
    return list(range(count))


def mark(*_: Any) -> float:
    """When this ran."""
    return time.time()


def work_fibo(_: Any, argument: int) -> int:
    """The work of the public suite."""
    return fibo(argument)


@cache
def tasks() -> dict[str, Any]:
    """The functions as tasks; the library reads its settings when it is imported, so not before they are made."""
    from prefect import task

    functions = (echo, insert, make_blob, start_with, mark, work_fibo)
    made: dict[str, Any] = {function.__name__: task(function, name=function.__name__) for function in functions}
    return {**made, "tally": task(tally, name="tally")}


def fan(count: int, work: str, *arguments: Any) -> Json:
    """1 → N → 1."""
    from prefect import unmapped

    items = tasks()["start_with"].submit(count)
    done = tasks()[work].map(items, *(unmapped(argument) for argument in arguments))
    found: Json = tasks()["tally"].submit(done).result()
    return found


def chain(work: str, length: int, *arguments: Any) -> list[Any]:
    """Tasks one after the other."""
    futures: list[Any] = []
    for _ in range(length):
        futures.append(tasks()[work].submit(futures[-1] if futures else None, *arguments))
    return [future.result() for future in futures]


class Adapter:
    """See `session.Adapter`."""

    kinds = frozenset({"hop", "fan", "small", "list", "rows", "payload", "fibo"})

    def __init__(self, place: Place) -> None:
        """Start the server, make the flows, run a little."""
        port = free_port()
        os.environ |= environment(place, port)
        database().execute("create table if not exists bench_rows (run text not null, item bigint not null)")
        options = ["--no-ui", "--analytics-off", "--host", "127.0.0.1", "--port", str(port)]
        self._server = processes([["prefect", "server", "start", *options]], place)
        await_true(lambda: answers(f"{os.environ['PREFECT_API_URL']}/health"), 120.0)
        from prefect import flow
        from prefect.task_runners import ThreadPoolTaskRunner

        runner = ThreadPoolTaskRunner(max_workers=place.workers)
        self._fan = flow(fan, name="fan", task_runner=runner)
        self._chain = flow(chain, name="chain", task_runner=runner)
        self._flows = ThreadPoolExecutor(4)
        self.finish("fan", self.start("fan", {"n": 20}))
        self.settings: Json = {"task_runner": f"ThreadPoolTaskRunner(max_workers={place.workers})"}

    def roles(self) -> dict[str, list[int]]:
        """The server; flow and tasks run in this process, the client."""
        return {"server": [server.pid for server in self._server]}

    def start(self, kind: str, parameters: Json) -> Any:
        """The future of a flow's answer, and the name of what rows are counted by."""
        run = str(time.time_ns())
        if kind == "hop":
            return run, self._flows.submit(self._chain, "mark", parameters["length"])
        if kind == "fibo":
            return run, self._flows.submit(self._chain, "work_fibo", parameters["length"], parameters["argument"])
        given = {"rows": ("insert", run), "payload": ("make_blob", parameters.get("bytes"))}
        return run, self._flows.submit(self._fan, parameters["n"], *given.get(kind, ("echo",)))

    def finish(self, kind: str, asked: tuple[str, Future[Any]]) -> Json:
        """Await the flow."""
        run, future = asked
        found = future.result()
        if kind == "hop":
            return {"joined": len(found), "hops_ms": hops(found)}
        if kind == "fibo":
            return {"joined": len(found), "value": found[0]}
        return {**found, **(rows(run) if kind == "rows" else {})}

    def close(self) -> None:
        """End the server."""
        self._flows.shutdown()
        session.end(self._server)


def environment(place: Place, port: int) -> dict[str, str]:
    """Settings of server and flows."""
    home = Path(place.directory) / "prefect"
    return {
        DATABASE: place.database_url,
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_API_DATABASE_CONNECTION_URL": place.database("asyncpg"),
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }


def answers(url: str) -> bool:
    """Whether GET answers 200."""
    with suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
        return bool(answer.status == 200)
    return False


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def rows(run: str) -> Json:
    """What the items have inserted."""
    query = "select count(*), count(distinct item) from bench_rows where run = %s"
    found = database().execute(query, [run]).fetchone()
    return {"rows": found[0], "distinct_rows": found[1]} if found else {}


if __name__ == "__main__":
    session.serve(Adapter)
