"""The user code of the workloads, for Freshet: next to nothing, so that what is left is the cost of orchestration.

Guarantee: what a join answers lets the harness check that each item came once. Never: a sleep.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from freshet import process


@process("bench_count", version="1.0.0")
def count(payload: Mapping[str, Any], context: Any) -> int:
    """How many items there shall be."""
    return int(context.params["n"])


@process("bench_size", version="1.0.0")
def size(payload: Any, context: Any) -> int:
    """How many items each group of a nested map shall have."""
    return int(context.params["size"])


@process("bench_echo", version="1.0.0")
def echo(payload: Any, context: Any) -> Any:
    """Answer the payload."""
    return payload


@process("bench_list", version="1.0.0")
def listed(payload: Mapping[str, Any], context: Any) -> list[int]:
    """A list made at run time, which becomes rows when the map is expanded."""
    return list(range(int(context.params["n"])))


@process("bench_table", version="1.0.0")
def make_table(payload: Mapping[str, Any], context: Any) -> int:
    """The table that rows go into; how many there shall be."""
    context.connection.execute("create table if not exists bench_rows (run text not null, item bigint not null)")
    return int(context.params["n"])


@process("bench_row_each", version="1.0.0")
def insert_row_alone(payload: int, context: Any) -> int:
    """One row; the effect and the report are a transaction of their own."""
    return insert_row(payload, context)


@process("bench_row", version="1.0.0", commit="bundle")
def insert_row(payload: int, context: Any) -> int:
    """One row; effects and reports of a bundle are one transaction."""
    context.connection.execute("insert into bench_rows (run, item) values (%s, %s)", (str(context.run_id), payload))
    return payload


@process("bench_blob", version="1.0.0")
def make_blob(payload: int, context: Any) -> str:
    """A result of as many bytes as the run asks for, different for each item."""
    return f"{payload:08d}".ljust(int(context.params["bytes"]), "x")


@process("bench_collect", version="1.0.0")
def collect(payload: Iterable[Any], context: Any) -> dict[str, int]:
    """How many results there are, how many different ones, and their length if they are text."""
    seen: set[Any] = set()
    joined = length = 0
    for result in payload:
        joined += 1
        seen.add(result[:8] if isinstance(result, str) else result)
        length += len(result) if isinstance(result, str) else 0
    return {"joined": joined, "distinct": len(seen), "bytes": length}


@process("bench_add", version="1.0.0")
def add_up(payload: Iterable[Mapping[str, int]], context: Any) -> dict[str, int]:
    """The counts of all groups together."""
    groups = list(payload)
    return {name: sum(group[name] for group in groups) for name in ("joined", "distinct")}


@process("bench_mark", version="1.0.0")
def mark(payload: Any, context: Any) -> int:
    """Nanoseconds of the clock when this ran: the difference to the task before is the hop."""
    return time.time_ns()


@process("bench_fibo", version="1.0.0")
def work(payload: Any, context: Any) -> int:
    """The naive Fibonacci number of the run's argument."""
    return fibo(int(context.params["argument"]))


def fibo(number: int) -> int:
    """The naive recursion of the public suite."""
    return number if number < 2 else fibo(number - 1) + fibo(number - 2)
