"""What no column shows, as tables of their own: memory by process, imports, minutes, sizes of tables.

Guarantee: units stand in the head of each column. Never: a detail that is shown elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from benchmarks.figures import Figure, Json, Record
from benchmarks.report.comparison import middle
from benchmarks.report.layout import number, table

SHOWN = frozenset({"hop_ms", "request_ms"})  # details that have columns
USUAL = frozenset({"runs", "lag_s", "engine_s", "distinct", "bytes", "axis", "at", "joined", "redis_bytes"})
TABLES = ("memory", "imports", "minutes", "table_bytes")


def notes(records: Sequence[Record]) -> Iterator[str]:
    """Problems, then tables, then what is left, as JSON."""
    for record in records:
        for figure in record.figures:
            if figure.problem is not None:
                yield f"- {record.engine}, {figure.case or record.workload}: {figure.problem}"
    figures = [figure for record in records for figure in middle(record.figures).values()]
    yield from _tables(figures)
    for figure in figures:
        left = {name: value for name, value in figure.details.items() if name not in {*SHOWN, *USUAL, *TABLES}}
        if left:
            yield f"- {figure.engine}, {figure.case}: `{json.dumps(left, default=str)}`"


def _tables(figures: Sequence[Figure]) -> Iterator[str]:
    memories = {figure.case: figure.details["memory"] for figure in figures if "memory" in figure.details}
    if memories:
        yield _memory(memories)
    for figure in figures:
        if "imports" in figure.details:
            yield _imports(figure.details["imports"])
        if "minutes" in figure.details:
            yield _minutes(figure.details["minutes"])
    stored = {
        figure.details["at"]: figure.details["table_bytes"] for figure in figures if "table_bytes" in figure.details
    }
    for at, sizes in stored.items():
        rows = [(name, number(size / 1e6), number(size / at)) for name, size in sizes.items()]
        yield table((f"{at:,} finished items stored", "MB", "bytes per item"), rows)


def _memory(memories: dict[str, Json]) -> str:
    """A line for each process, resident and proportional MB in each case."""
    roles = sorted({role for sizes in memories.values() for role in sizes})
    head = ("MB", *(f"{case}, {kind}" for case in memories for kind in ("RSS", "PSS")))
    sums = {
        case: {kind: sum(size[kind] for size in sizes.values()) for kind in ("rss", "pss")}
        for case, sizes in memories.items()
    }
    rows = [
        (role, *(_megabytes(sizes.get(role), kind) for sizes in memories.values() for kind in ("rss", "pss")))
        for role in roles
    ]
    total = ("in all", *(_megabytes(sums[case], kind) for case in memories for kind in ("rss", "pss")))
    return table(head, [*rows, total])


def _megabytes(sizes: Json | None, kind: str) -> str:
    return "–" if sizes is None else number(sizes[kind] / 1e6)


def _imports(imports: Json) -> str:
    head = ("service", "import s", "RSS MB", "RSS of Python alone MB")
    rows = [
        (name, number(each["import_s"]), number(each["rss"] / 1e6), number(each["rss_of_python"] / 1e6))
        for name, each in imports.items()
    ]
    return table(head, rows)


def _minutes(minutes: Sequence[Json]) -> str:
    head = ("part", "hops", "p50 ms", "p99 ms", "steal")
    rows = [
        (
            place,
            part["hops"],
            number(part["hop_ms"].get("p50", 0)),
            number(part["hop_ms"].get("p99", 0)),
            f"{part['steal']:.1%}",
        )
        for place, part in enumerate(minutes, start=1)
    ]
    return table(head, rows)
