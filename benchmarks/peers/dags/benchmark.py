"""Airflow's graphs: chains of two kinds and maps of two kinds; Airflow reads this file, nobody imports it.

Guarantee: a run's `conf` says how many items there are. Never: a schedule.
"""

from __future__ import annotations

import os
import time
from typing import Any

import psycopg
from airflow.sdk import DAG, get_current_context, task
from benchmarks.peers.session import fibo, tally

LENGTH = int(os.environ["BENCH_CHAIN"])


def conf() -> dict[str, Any]:
    """What the run was asked for with."""
    found: dict[str, Any] = get_current_context()["dag_run"].conf
    return found


def items() -> list[int]:
    """The first task of a map."""
    return list(range(int(conf()["n"])))


def echo(item: int) -> int:
    """Nothing."""
    return item


def insert(item: int) -> int:
    """One row, by a session of the task's own process."""
    with psycopg.connect(os.environ["BENCH_DATABASE_URL"], autocommit=True) as session:
        session.execute("insert into bench_rows (run, item) values (%s, %s)", (conf()["run"], item))
    return item


def collect(results: Any) -> dict[str, Any]:
    """The last task of a map."""
    return tally(results)


def mark() -> float:
    """When this ran."""
    return time.time()


def work() -> int:
    """The work of the public suite."""
    return fibo(int(conf()["argument"]))


def chain(name: str, function: Any) -> DAG:
    """Tasks one after the other."""
    with DAG(name, schedule=None) as dag:
        last: Any = None
        for number in range(LENGTH):
            following = task(function, task_id=f"task_{number}")()
            if last is not None:
                last >> following
            last = following
    return dag


def fan(name: str, function: Any) -> DAG:
    """1 → N → 1."""
    with DAG(name, schedule=None, max_active_tasks=1_000) as dag:
        done = task(function, task_id="work").expand(item=task(items, task_id="start")())
        task(collect, task_id="end")(done)
    return dag


CHAINS = [chain("hop", mark), chain("fibo", work)]
FANS = [fan("fan", echo), fan("rows", insert)]
for graph in (*CHAINS, *FANS):
    globals()[f"dag_{graph.dag_id}"] = graph
