"""The run: each engine started, each workload measured, each record written as soon as there is one.

Guarantees: what is on disk already is not measured again; a workload that fails leaves the others standing, and says
why. Never: two engines at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.engine import Engine, measure, repeat
from benchmarks.figures import NOT_MEASURED, Figure, Record, Results, write_json
from benchmarks.installation import freshet
from benchmarks.peer import peer
from benchmarks.scale import SLOW, Scale
from benchmarks.workloads import contention, endurance, growth, history, memory
from benchmarks.workloads.cases import CASES

#: Questions about two things at once, to a warm engine.
BESIDE = {"blocked-mass": contention.blocked_mass, "noisy-neighbour": contention.noisy_neighbour}
#: Freshet alone, on installations of their own.
OWN = {
    "growth": growth.measure_growth,
    "memory": memory.measure_memory,
    "history": history.measure_history,
    "endurance": endurance.measure_endurance,
}
SHARED = (*CASES, *BESIDE)
WORKLOADS = (*SHARED, *OWN)
QUICK = ("hop", "fan", "rows", "small-runs", "payload", "fibo", "nested", "blocked-mass", "noisy-neighbour", "memory")
#: Cases up to this size are run once before they are measured: a worker may not have met their code.
WARMED = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is asked for."""

    workloads: Sequence[str]
    peers: Sequence[str]
    scale: Scale
    out: Path
    cache: Path
    workers: int = 2


def run(plan: Plan) -> None:
    """Measure what is missing."""
    results = Results(plan.out)
    plan.out.mkdir(parents=True, exist_ok=True)
    (plan.out / ".gitignore").write_text("*\n")  # it may stand in a repository
    write_json(plan.out / "machine.json", {**machine.describe(), "scale": plan.scale.name, "workers": plan.workers})
    for name in ("freshet", *plan.peers):
        missing = [each for each in SHARED if each in plan.workloads and not results.has(each, name)]
        if missing:
            _run_shared(plan, name, missing, results)
    for name, workload in OWN.items():
        if name in plan.workloads and not results.has(name, "freshet"):
            say(f"{name}: freshet …")
            results.write(_guarded(name, "freshet", partial(workload, plan.scale, plan.workers)))


def say(sentence: str) -> None:
    """Progress, on stderr."""
    sys.stderr.write(f"{sentence}\n")


def engine_of(plan: Plan, name: str) -> AbstractContextManager[Engine]:
    """Freshet or a peer, on fresh servers."""
    if name == "freshet":
        return freshet(workers=plan.workers)
    return peer(name, plan.cache, plan.out / "logs", workers=plan.workers)


def _run_shared(plan: Plan, name: str, missing: Sequence[str], results: Results) -> None:
    """All that is missing of one engine; if it does not start, the report says so, and the next run tries again."""
    say(f"{name} starts …")
    try:
        with engine_of(plan, name) as engine:
            for workload in missing:
                if asked := _figures(plan.scale, engine, workload):
                    say(f"{workload}: {name} …")
                    results.write(_guarded(workload, name, asked, engine.settings))
    except (OSError, RuntimeError, SystemExit) as error:
        say(f"{name} can't be measured: {error}")
        write_json(plan.out / NOT_MEASURED / f"{name}.json", {"engine": name, "problem": str(error)})
    else:
        (plan.out / NOT_MEASURED / f"{name}.json").unlink(missing_ok=True)


def _figures(scale: Scale, engine: Engine, workload: str) -> Callable[[], Iterator[Figure]] | None:
    """How to measure a workload on an engine; None when it can't express it."""
    if workload in BESIDE:
        kind = {"blocked-mass": "blocked", "noisy-neighbour": "small"}[workload]
        return (lambda: BESIDE[workload](scale, engine)) if engine.can(kind) else None
    cases, kind = CASES[workload]
    return (lambda: _measured(scale, engine, workload, cases)) if engine.can(kind) else None


def _measured(scale: Scale, engine: Engine, workload: str, cases: Any) -> Iterator[Figure]:
    """Every case as often as the scale says."""
    for case in cases(scale, engine.name):
        if case.count <= WARMED:
            first = measure(engine, workload, case)
            if first.problem is not None:  # it will not be better for being asked again
                say(line(first))
                yield first
                continue
        times = scale.chains if case.kind == "hop" and engine.name not in SLOW else 1
        for figure in repeat(engine, workload, case, scale.repeats, times=times):
            say(line(figure))
            yield figure


def _guarded(workload: str, engine: str, measured: Callable[[], Iterator[Figure]], settings: Any = None) -> Record:
    """The record of a workload; an exception becomes a figure that says what happened."""
    figures: list[Figure] = []
    try:
        figures.extend(measured())
    except Exception as error:  # noqa: BLE001  (whatever an engine does, the other workloads go on)
        problem = f"{type(error).__name__}: {error}"[:500]
        say(f"{workload} on {engine}: {problem}")
        figures.append(Figure(workload=workload, engine=engine, case="", unit="", count=0, wall_s=0.0, problem=problem))
    return Record(workload=workload, engine=engine, settings=settings or {}, figures=figures)


def line(figure: Figure) -> str:
    """A figure for the terminal."""
    if figure.problem is not None:
        return f"  {figure.case}: {figure.problem}"
    cpu = f"{figure.cpu_us_in_all:,.0f} µs CPU each"
    rate = f"{figure.rate:,.0f} {figure.unit}/s, {figure.each_ms:.2f} ms each"
    return f"  {figure.case}: {rate}, {cpu}, steal {figure.steal:.0%}"
