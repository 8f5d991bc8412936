"""The workloads that are questions to one warm engine, the same for Freshet and for every peer.

Guarantee: each case says what its answer must hold, so a lost or doubled item is no figure. Never: two questions at
once; those are in `contention`.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.engine import Case
from benchmarks.scale import Scale, capped, chain_length, sizes


def hop(scale: Scale, engine: str) -> Iterator[Case]:
    """A chain: milliseconds for each hop."""
    yield hop_case(chain_length(scale.hop, engine))


def hop_case(length: int) -> Case:
    """One chain."""
    parameters = {"length": length}
    return Case(
        label=f"{length} tasks",
        kind="hop",
        count=length,
        unit="hops",
        parameters=parameters,
        expected={"joined": length},
    )


def fan(scale: Scale, engine: str) -> Iterator[Case]:
    """1 → N → 1 for each N."""
    for items in sizes(scale.fan, engine):
        yield fan_case(items)
    if engine == "rq":
        yield fan_case(min(1_000, max(sizes(scale.fan, engine))), join="depends_on")


def fan_case(items: int, kind: str = "fan", join: str | None = None) -> Case:
    """1 → N → 1, each item joined once."""
    return Case(
        label=f"N = {items:,}" + (f", joined by {join}" if join else ""),
        kind=kind,
        count=items,
        parameters={"n": items, **({"join": join} if join else {})},
        expected={"joined": items, "distinct": items},
    )


def rows(scale: Scale, engine: str) -> Iterator[Case]:
    """The same with one row inserted per item."""
    for items in sizes(scale.rows, engine):
        yield rows_case(items)
    if engine == "freshet":
        yield rows_case(min(10_000, max(scale.rows)), kind="rows-each", way="a commit each")


def rows_case(items: int, kind: str = "rows", way: str | None = None) -> Case:
    """1 → N → 1, each item inserts a row; on Freshet items of a bundle share a commit, unless said otherwise."""
    return Case(
        label=f"N = {items:,}" + (f", {way}" if way else ""),
        kind=kind,
        count=items,
        parameters={"n": items},
        expected=dict.fromkeys(("joined", "distinct", "rows", "distinct_rows"), items),
    )


def nested(scale: Scale, engine: str) -> Iterator[Case]:
    """A map within a map."""
    groups, each = scale.nested
    items = capped(groups * each, engine)
    if items < groups * each:
        groups = each = max(1, int(items**0.5))
    items = groups * each
    yield Case(
        label=f"{groups:,} × {each:,}",
        kind="nested",
        count=items,
        parameters={"n": groups, "size": each},
        expected={"joined": items, "distinct": items},
    )


def small_runs(scale: Scale, engine: str) -> Iterator[Case]:
    """Many diamonds of four tasks."""
    runs = min(scale.diamonds, capped(4 * scale.diamonds, engine) // 4)
    yield Case(
        label=f"{runs:,} diamonds",
        kind="diamonds",
        count=runs,
        unit="runs",
        parameters={"runs": runs},
        expected={"joined": 4 * runs},
    )


def payload(scale: Scale, engine: str) -> Iterator[Case]:
    """Results of some kilobytes, read by the join."""
    items = capped(scale.payload_items, engine)
    for size in scale.payload_bytes:
        yield Case(
            label=f"{size // 1000} KB × {items}",
            kind="payload",
            count=items,
            parameters={"n": items, "bytes": size},
            expected={"joined": items, "distinct": items, "bytes": items * size},
        )


def fibo(scale: Scale, engine: str) -> Iterator[Case]:
    """The two sequences of the public suite."""
    for tasks, argument in scale.fibo:
        length = chain_length(tasks, engine)
        yield Case(
            label=f"{length} × fibo({argument})",
            kind="fibo",
            count=length,
            parameters={"length": length, "argument": argument},
            expected={"joined": length, "value": fibonacci(argument)},
        )


def fibonacci(number: int) -> int:
    """The right answer, by addition."""
    last, following = 0, 1
    for _ in range(number):
        last, following = following, last + following
    return last


#: By the workload's name: its cases, and the kind of work that an engine must be able to express.
CASES = {
    "hop": (hop, "hop"),
    "fan": (fan, "fan"),
    "rows": (rows, "rows"),
    "small-runs": (small_runs, "diamonds"),
    "payload": (payload, "payload"),
    "fibo": (fibo, "fibo"),
    "nested": (nested, "nested"),
}
