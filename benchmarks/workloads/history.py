"""History: hop and fan with millions of finished items stored, against the same installation when it was empty.

Guarantees: the stored rows are copies of a run that the engine has just made, in every table and partition that it
wrote, with new keys, over ten days; statistics are fresh. Never: an index or a table that an installation would not
have.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg

from benchmarks.engine import Case, repeat
from benchmarks.figures import Figure, Json
from benchmarks.installation import Installation, freshet
from benchmarks.scale import Scale
from benchmarks.workloads.cases import fan_case, hop_case

HISTORY = "history"
DAYS = 10  # over which the history is spread
TEMPLATE = 10_000  # items of the run that is copied
COPIES = 10  # runs copied in one transaction
STATEMENTS = Path(__file__).with_name("history.sql")
COPIED = ("Begin", "TaskMap", "Run", "TaskRun", "WorkItem", "Event", "Attempt", "Task", "LogRun")
SIZES = (
    "select n.nspname || '.' || regexp_replace(c.relname, '_(default|[0-9]{8})$', ''),"
    " sum(pg_total_relation_size(c.oid))"
    " from pg_class c join pg_namespace n on n.oid = c.relnamespace"
    " where n.nspname in ('engine', 'log') and c.relkind = 'r' group by 1 order by 2 desc limit 8"
)


def measure_history(scale: Scale, workers: int) -> Iterator[Figure]:
    """Empty, then with each number of finished items."""
    with freshet(workers=workers) as engine:
        yield from _cases(engine, scale, 0, {})
        stored = 0
        for items in scale.history:
            made = store(engine, items - stored)
            stored = items
            yield from _cases(engine, scale, items, made)


def store(engine: Installation, items: int) -> Json:
    """Make that many finished items; how long it took and how large the tables are."""
    each = min(TEMPLATE, items)
    run = _template(engine, each)
    began = time.monotonic()
    engine.session.execute(statements()["Days"], {"days": DAYS})
    copies = items // each
    for first in range(0, copies, COPIES):
        _copy(engine.session, run, first, min(first + COPIES, copies))
    engine.session.execute("vacuum analyze")
    engine.session.execute("checkpoint")
    os.sync()  # else the kernel writes gigabytes while we measure
    return {"made_in_s": time.monotonic() - began, "table_bytes": table_sizes(engine.session)}


def statements() -> dict[str, bytes]:
    """The statements of the SQL file by name."""
    parts = STATEMENTS.read_text("utf-8").split("-- name: ")[1:]
    return {name: text.strip().encode() for name, _, text in (part.partition("\n") for part in parts)}


def table_sizes(session: psycopg.Connection) -> Json:
    """Bytes of the largest tables, indexes and all partitions included."""
    return {str(name): int(size) for name, size in session.execute(SIZES)}


def _template(engine: Installation, items: int) -> str:
    handle = engine.start("fan", {"n": items})
    run = engine.runs_of(handle)[0]
    if problem := engine.finish(handle).get("problem"):
        raise RuntimeError(problem)
    engine.settle()
    return run


def _copy(session: psycopg.Connection, run: str, first: int, past: int) -> None:
    """Some copies, in one transaction."""
    named = statements()
    with session.transaction():
        for name in COPIED:
            values = {"template": run, "first": first, "past": past, "days": DAYS}
            session.execute(named[name], values)


def _cases(engine: Installation, scale: Scale, stored: int, made: Json) -> Iterator[Figure]:
    """A chain and a fan, both once before they are measured."""
    fan = fan_case(min(10_000, max(scale.growth_items)))
    for case, times in ((hop_case(scale.hop), scale.chains), (fan, 1)):
        placed: Case = replace(case, label=f"{case.label}, {stored:,} stored")
        list(repeat(engine, HISTORY, placed, 1))
        for figure in repeat(engine, HISTORY, placed, scale.repeats, times=times):
            yield replace(figure, details={**figure.details, **made, "axis": f"history {case.kind}", "at": stored})
