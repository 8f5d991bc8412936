"""The report as Markdown.

Guarantee: every figure stands beside its count, CPU and steal; problems are quoted. Never: a rounding that hides a
miss.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from benchmarks.figures import Json, Record
from benchmarks.report import details
from benchmarks.report.budgets import Judged
from benchmarks.report.comparison import Compared, middle
from benchmarks.report.layout import Row, number, table


def document(
    *,
    machine: Json,
    records: Sequence[Record],
    compared: Sequence[Compared],
    judged: Sequence[Judged],
    plots: Sequence[str],
    failures: Sequence[Json] = (),
) -> str:
    """All of it."""
    parts = [
        "# Benchmarks",
        *_machine(machine),
        "## Beside the peers",
        _compared_table(compared),
        *(f"- {each['engine']} could not be measured: {str(each['problem'])[-300:]}" for each in failures),
        "## Budgets",
        table(("what", "budget", "measured", ""), [(j.what, j.budget, j.measured, verdict(j.met)) for j in judged]),
        *(f"![{name}](plots/{name}.png)" for name in plots),
        *_workloads(records),
        "## Settings",
        *_settings(records),
    ]
    return "\n\n".join(parts) + "\n"


def verdict(met: bool | None) -> str:  # noqa: FBT001  (a word for it)
    """Met, missed, or nothing."""
    return {True: "met", False: "**missed**", None: ""}[met]


def _machine(machine: Json) -> Iterator[str]:
    if machine:
        packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
        yield (
            f"{machine['processors']} × {machine['processor']}, {machine['memory']}, Linux {machine['kernel']}, "
            f"Python {machine['python']}; {packages}. Commit {machine['commit']}, {machine['at']}, "
            f"{machine['workers']} workers, sizes: {machine['scale']}. Two figures of one run may be compared; "
            "rates swing with the host, CPU does not."
        )


def _compared_table(compared: Sequence[Compared]) -> str:
    engines = list(dict.fromkeys(engine for each in compared for engine in each.rates))
    head = ("question", "unit", *(f"{engine} /s" for engine in engines), "best peer", "ratio")
    return table(head, [_compared_row(each, engines) for each in compared])


def _compared_row(each: Compared, engines: Sequence[str]) -> Row:
    rates = [f"{number(each.rates[name])} ({each.cases[name]})" if name in each.rates else "–" for name in engines]
    ratio = "–" if each.ratio is None else f"{number(each.ratio)} ×"
    return (each.question, each.unit, *rates, each.best_peer or "–", ratio)


def _workloads(records: Sequence[Record]) -> Iterator[str]:
    for workload in dict.fromkeys(record.workload for record in records):
        yield f"## {workload}"
        mine = [record for record in records if record.workload == workload]
        head = ("engine", "case", "per s", "ms each", "p50 ms", "p99 ms", "CPU µs each", "by process", "steal", "times")
        yield table(head, [row for record in mine for row in _rows(record)])
        yield from details.notes(mine)


def _rows(record: Record) -> Iterator[Row]:
    timed = {case: figure for case, figure in middle(record.figures).items() if figure.unit != "looks"}
    for case, figure in timed.items():
        times = [each.rate for each in record.figures if each.case == case and each.problem is None]
        seen = f"{len(times)} ({number(min(times))}–{number(max(times))} /s)"
        spread = figure.details.get("hop_ms") or figure.details.get("request_ms") or {}
        shares = [number(spread[share]) if share in spread else "–" for share in ("p50", "p99")]
        rates = (f"{number(figure.rate)} {figure.unit}", number(figure.each_ms))
        yield (
            record.engine, case, *rates, *shares, number(figure.cpu_us_in_all), _by_role(figure.cpu_us),
            f"{figure.steal:.1%}", seen,
        )  # fmt: skip


def _by_role(micros: Mapping[str, float]) -> str:
    return ", ".join(f"{role} {number(value)}" for role, value in micros.items() if value >= 0.5)


def _settings(records: Sequence[Record]) -> Iterator[str]:
    """Of each engine, once."""
    found = {record.engine: record.settings for record in records if record.settings}
    for engine, settings in found.items():
        yield f"### {engine}\n\n```json\n{json.dumps(settings, indent=1)}\n```"
