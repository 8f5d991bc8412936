"""Airflow: api-server, scheduler with the LocalExecutor and dag-processor, its metadata on the Postgres socket.

Settings: as many tasks at once as there are workers, the scheduler's idle sleep at a tenth of a second and runs
looked at each tenth, as its guide to tuning allows; examples off. A task is a process. A run is asked for over REST,
and its end is seen in its row. Never: the SequentialExecutor, or SQLite.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import time
import urllib.request
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.peers import session
from benchmarks.peers.session import Json, Place, await_true, hops, processes

DATABASE = "BENCH_DATABASE_URL"
DAGS = ("hop", "fibo", "fan", "rows")
CHAIN = 10  # tasks; `scale` asks for no other length
START_S = 180.0  # seconds until everything must serve
TUNED = {
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    "AIRFLOW__SCHEDULER__MAX_TIS_PER_QUERY": "64",
    "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
    "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
    "AIRFLOW__CORE__MAX_MAP_LENGTH": "100000",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
}


@cache
def database() -> psycopg.Connection[Any]:
    """One session for the client."""
    return psycopg.connect(os.environ[DATABASE], autocommit=True)


class Adapter:
    """See `session.Adapter`."""

    kinds = frozenset({"hop", "fan", "list", "rows", "fibo"})

    def __init__(self, place: Place) -> None:
        """Make the tables, start the three services, run a little."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        os.environ |= {**TUNED, **environment(place, self._port)}
        database().execute("create table if not exists bench_rows (run text not null, item bigint not null)")
        subprocess.run(["airflow", "db", "migrate"], check=True)
        serve = ["api-server", "--host", "127.0.0.1", "--port", str(self._port), "--workers", "1"]
        self._services = processes([["airflow", *serve], ["airflow", "scheduler"], ["airflow", "dag-processor"]], place)
        await_true(lambda: one("select count(*) from dag where dag_id = any(%s)", [list(DAGS)]) == len(DAGS), START_S)
        await_true(self._token, START_S)
        self.finish("fan", self.start("fan", {"n": 2}))
        self.settings: Json = {**TUNED, "parallelism": place.workers}

    def roles(self) -> dict[str, list[int]]:
        """The services; tasks are children of the scheduler."""
        names = ("api-server", "scheduler", "dag-processor")
        return {name: [service.pid] for name, service in zip(names, self._services, strict=True)}

    def start(self, kind: str, parameters: Json) -> Any:
        """The run's id, and what rows are counted by."""
        name = str(time.time_ns())
        body = {"logical_date": None, "conf": {**parameters, "run": name}}
        dag = "fan" if kind == "list" else kind
        answer = self._ask(f"/api/v2/dags/{dag}/dagRuns", body, self._token())
        return name, answer["dag_run_id"]

    def finish(self, kind: str, asked: tuple[str, str]) -> Json:
        """Await the run's end in its row."""
        name, run = asked
        query = "select state from dag_run where run_id = %s and state in ('success', 'failed')"
        await_true(lambda: one(query, [run]))
        if one(query, [run]) != "success":
            return {"problem": "the run failed"}
        if kind in {"hop", "fibo"}:
            values = results(run)
            shown = {"hops_ms": hops(values)} if kind == "hop" else {"value": values[0]}
            return {"joined": len(values), **shown}
        joined: Json = results(run, "end")[0]
        return {**joined, **(rows(name) if kind == "rows" else {})}

    def close(self) -> None:
        """End the services."""
        session.end(self._services)

    def _token(self) -> str:
        """Everybody is an administrator here; empty while nobody answers."""
        with suppress(OSError):
            return str(self._ask("/auth/token", None, "")["access_token"])
        return ""

    def _ask(self, path: str, body: Json | None, token: str) -> Json:
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}{path}", data, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: Json = json.load(answer)
        return found


def environment(place: Place, port: int) -> dict[str, str]:
    """What depends on this installation."""
    secret = secrets.token_urlsafe(32)
    return {
        DATABASE: place.database_url,
        "BENCH_CHAIN": str(CHAIN),
        "AIRFLOW_HOME": str(Path(place.directory) / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).parent / "dags"),
        "AIRFLOW__CORE__PARALLELISM": str(place.workers),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__API__SECRET_KEY": secret,
        "AIRFLOW__API_AUTH__JWT_SECRET": secret,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": place.database("psycopg2"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": place.database("asyncpg"),
    }


def one(query: str, arguments: list[Any]) -> Any:
    """The first column of the first row."""
    found = database().execute(query.encode(), arguments).fetchone()
    return found[0] if found else None


def results(run: str, task: str | None = None) -> list[Any]:
    """What tasks answered, in the order in which they began."""
    query = (
        "select x.value from xcom x join task_instance t using (dag_id, run_id, task_id, map_index)"
        " where x.key = 'return_value' and x.run_id = %s and (%s::text is null or x.task_id = %s) order by t.start_date"
    )
    found = [row[0] for row in database().execute(query.encode(), [run, task, task])]
    return [json.loads(value) if isinstance(value, str) else value for value in found]


def rows(run: str) -> Json:
    """What the items have inserted."""
    query = "select count(*), count(distinct item) from bench_rows where run = %s"
    found = database().execute(query.encode(), [run]).fetchone()
    return {"rows": found[0], "distinct_rows": found[1]} if found else {}


if __name__ == "__main__":
    session.serve(Adapter)
