"""A hundred thousand tasks per second, on paper: `python -m benchmarks.scale_model` prints docs/scale.md.

Purpose: from measured costs of one item to the machines that a rate needs, and to what gives out first. Guarantees:
every number is measured (`unit_costs.json`, taken from a report by `--from DIR`), an assumption that is named, or
computed from both. Never: a number by hand.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import orjson

from benchmarks.report.layout import table

COSTS = Path(__file__).with_name("unit_costs.json")
RATE = 100_000  # tasks per second
DAY = 86_400  # seconds
#: Items of a bundle, and what a bundle costs in round trips: put in a queue, popped, two wake-ups, two stream entries.
BUNDLE, REDIS_COMMANDS, COMMITS = 200, 6, 3
#: What one machine of each kind is taken to give; the shares are those above which waiting grows.
SHARE = 0.7  # of a core or a disk
DATABASE_CORES, DATABASE_DISK, DATABASE_COMMITS = 32, 500e6, 6_000  # cores, bytes/s, commits/s of one row
DISPATCHERS = 16  # partitions of runs: one dispatcher each at most
REDIS_OPERATIONS, NETWORK = 100_000, 1.25e9  # commands/s of one core, bytes/s of 10 Gbit
KEPT_HOURS = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """Of one item that does nothing: CPU in microseconds, the rest in bytes."""

    postgres_us: float
    dispatchers_session_us: float  # of them: what one dispatcher waits for
    worker_us: float
    dispatcher_us: float
    recorder_us: float
    redis_us: float
    written_ahead: float
    stored: float
    redis_traffic: float
    measured: str  # on which machine, and what

    @property
    def one_dispatcher_us(self) -> float:
        """It does one thing after the other: it works, or its session does."""
        return self.dispatcher_us + self.dispatchers_session_us

    @property
    def in_all_us(self) -> float:
        """CPU of everything."""
        return self.postgres_us + self.worker_us + self.dispatcher_us + self.recorder_us + self.redis_us


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """The rate at which one thing gives out."""

    what: str
    rate: float  # tasks per second
    then: str  # what is done about it


def limits(costs: Costs) -> list[Limit]:
    """Of one installation with one Postgres, the lowest first."""
    found = [
        Limit(
            what=f"CPU of one Postgres ({DATABASE_CORES} cores at {SHARE:.0%})",
            rate=DATABASE_CORES * SHARE / costs.postgres_us * 1e6,
            then="several installations, each with a share of the runs",
        ),
        Limit(
            what=f"write-ahead log of one Postgres ({DATABASE_DISK / 1e6:.0f} MB/s at {SHARE:.0%})",
            rate=DATABASE_DISK * SHARE / costs.written_ahead,
            then="a disk of its own for the log; then several installations",
        ),
        Limit(
            what=f"commits of one Postgres ({DATABASE_COMMITS:,} per second)",
            rate=DATABASE_COMMITS * SHARE / COMMITS * BUNDLE,
            then="larger bundles",
        ),
        Limit(
            what=f"{DISPATCHERS} dispatchers, one for each partition",
            rate=DISPATCHERS * SHARE / costs.one_dispatcher_us * 1e6,
            then="more partitions (a constant and a migration)",
        ),
        Limit(
            what="one dispatcher with its session: what one run can have, for a run lives in one partition",
            rate=SHARE / costs.one_dispatcher_us * 1e6,
            then="several runs and several dispatchers",
        ),
        Limit(
            what=f"one recorder at {SHARE:.0%} of a core",
            rate=SHARE / costs.recorder_us * 1e6,
            then="several, they share a consumer group",
        ),
        Limit(
            what=f"one Redis ({REDIS_OPERATIONS:,} commands per second)",
            rate=REDIS_OPERATIONS * SHARE / REDIS_COMMANDS * BUNDLE,
            then="a cluster: a queue lives in one slot, so queues are what is spread",
        ),
        Limit(
            what="network of one Postgres (10 Gbit, log to one replica and traffic of its clients)",
            rate=NETWORK * SHARE / (2 * costs.written_ahead),
            then="several installations",
        ),
    ]
    return sorted(found, key=lambda limit: limit.rate)


def page(costs: Costs, rate: int = RATE) -> str:
    """The page as Markdown."""
    return "\n".join([*_head(costs, rate), "", *_needs(costs, rate), "", *_firsts(costs, rate), ""])


def _head(costs: Costs, rate: int) -> Iterator[str]:
    yield f"# {rate:,} tasks per second, on paper"
    yield ""
    yield "*Printed by `python -m benchmarks.scale_model`; the costs are measured, the machines are assumed.*"
    yield ""
    yield f"One item that does nothing costs, measured {costs.measured}:"
    yield ""
    cells = [
        ("CPU, Postgres", f"{costs.postgres_us:.1f} µs"),
        ("of it, the dispatcher's session", f"{costs.dispatchers_session_us:.1f} µs"),
        ("CPU, workers (supervisor and child)", f"{costs.worker_us:.1f} µs"),
        ("CPU, dispatcher", f"{costs.dispatcher_us:.1f} µs"),
        ("CPU, recorder", f"{costs.recorder_us:.1f} µs"),
        ("CPU, Redis", f"{costs.redis_us:.1f} µs"),
        ("CPU in all", f"{costs.in_all_us:.1f} µs"),
        ("write-ahead log of Postgres", f"{costs.written_ahead:,.0f} bytes"),
        ("rows and indexes that stay until retention", f"{costs.stored:,.0f} bytes"),
        ("traffic of Redis", f"{costs.redis_traffic:,.0f} bytes"),
    ]
    yield table(("What", "Per item"), cells)


def _needs(costs: Costs, rate: int) -> Iterator[str]:
    def cores(micros: float) -> float:
        return rate * micros / 1e6

    stored = rate * costs.stored * 3600 * KEPT_HOURS
    yield f"## What {rate:,} per second need"
    yield ""
    cells = [
        ("Postgres", f"{cores(costs.postgres_us):.1f} cores, {rate * costs.written_ahead / 1e6:,.0f} MB/s of log"),
        ("Workers", f"{cores(costs.worker_us):.1f} cores, and what the items themselves need"),
        ("Dispatchers", f"{ceil(cores(costs.one_dispatcher_us) / SHARE)} processes"),
        ("Recorders", f"{ceil(cores(costs.recorder_us) / SHARE)} processes"),
        ("Redis", f"{cores(costs.redis_us):.1f} cores, {rate / BUNDLE * REDIS_COMMANDS:,.0f} commands per second"),
        ("Network at Redis", f"{rate * costs.redis_traffic / 1e6:,.1f} MB/s"),
        (f"Storage, {KEPT_HOURS} hours kept", f"{stored / 1e12:,.1f} TB; the log tables are partitioned by day"),
    ]
    yield table(("What", "How much"), cells)


def _firsts(costs: Costs, rate: int) -> Iterator[str]:
    found = limits(costs)
    short = [limit for limit in found if limit.rate < rate]
    yield "## What gives out first"
    yield ""
    rows = ((limit.what, f"{limit.rate:,.0f}", limit.then) for limit in found)
    yield table(("What", "At tasks per second", "Then"), rows)
    yield ""
    first = found[0]
    yield f"The first limit is {first.what}, at {first.rate:,.0f} tasks per second; then: {first.then}."
    if short:
        shards = max(ceil(rate / limit.rate) for limit in short)
        yield f"Below {rate:,} are {len(short)} of them; the scarcest is needed {shards} times."
    hours = 4e12 / (rate * costs.stored) / 3600
    yield ""
    yield (
        f"Storage is no rate, but comes sooner than any of them: 4 TB are full after {hours:.1f} hours at this rate."
        " What is kept for longer goes to a warehouse; `FRESHET_RETENTION`, which counts days, needs a finer unit."
    )


def costs_of(results: Path) -> dict[str, Any]:
    """Costs from a report's directory: the widest fan and the memory of the widest map."""
    fan = max(_figures(results / "fan.freshet.json"), key=lambda figure: figure["count"])
    flight = next(f for f in _figures(results / "memory.freshet.json") if f["case"].endswith("in flight"))
    micros: dict[str, float] = {"postgres": 0.0, "worker": 0.0, "dispatcher": 0.0, "recorder": 0.0, "redis": 0.0}
    for role, seconds in fan["cpu_s"].items():
        name = role.partition("-")[0]
        if name in micros:
            micros[name] += seconds / fan["count"] * 1e6
    details = flight["details"]
    return {
        **{f"{name}_us": round(value, 2) for name, value in micros.items()},
        "dispatchers_session_us": details["sessions_us_per_item"]["freshet dispatcher"],
        "written_ahead": round(details["written_ahead_per_item"], 1),
        "stored": round(details["postgres_bytes_per_item"], 1),
        "redis_traffic": round(details["redis_traffic_per_item"], 2),
        "measured": f"in maps of {fan['count']:,} (CPU) and {flight['count']:,} items (bytes) on two cores",
    }


def _figures(path: Path) -> list[Mapping[str, Any]]:
    figures: list[Mapping[str, Any]] = orjson.loads(path.read_bytes())["figures"]
    return [figure for figure in figures if not figure.get("problem")]


def read_costs(path: Path = COSTS) -> Costs:
    """The costs that are kept beside this module."""
    return Costs(**orjson.loads(path.read_bytes()))


def main(arguments: list[str] | None = None) -> int:
    """Print the page, or take new costs first."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale_model", description=__doc__)
    parser.add_argument("--from", dest="source", type=Path, metavar="DIR", help="a report's directory: take its costs")
    given = parser.parse_args(arguments)
    if given.source:
        costs = costs_of(given.source / "results")
        COSTS.write_bytes(orjson.dumps(costs, option=orjson.OPT_INDENT_2) + b"\n")
    sys.stdout.write(page(read_costs()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
