"""Chains back to back for half an hour: does a hop take longer at the end than at the beginning?

Guarantee: every minute's hops are kept as a spread, beside the steal of that minute. Never: a pause between two chains.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks import processes
from benchmarks.engine import Engine, measure
from benchmarks.figures import Figure, Json, spread
from benchmarks.installation import freshet
from benchmarks.scale import Scale
from benchmarks.workloads.cases import hop_case

MINUTES = 10  # parts of a run that is shorter than that many minutes


def measure_endurance(scale: Scale, workers: int) -> Iterator[Figure]:
    """One figure; `minutes` in its details."""
    with freshet(workers=workers) as engine:
        measure(engine, "endurance", hop_case(scale.hop), times=scale.chains)
        yield _endure(engine, scale)


def _endure(engine: Engine, scale: Scale) -> Figure:
    part = min(60.0, scale.endurance_s / MINUTES)
    before = processes.sample(engine.roles())
    parts = [_part(engine, scale.hop, part) for _ in range(round(scale.endurance_s / part))]
    after = processes.sample(engine.roles())
    problems = [each["problem"] for each in parts if each["problem"]]
    return Figure(
        workload="endurance",
        engine=engine.name,
        case=f"{scale.endurance_s / 60:.3g} minutes",
        unit="hops",
        count=sum(each["hops"] for each in parts),
        wall_s=after.at - before.at,
        steal=processes.steal_between(before, after),
        cpu_s=processes.cpu_between(before, after),
        details={"part_s": part, "minutes": parts, "last_to_first": last_to_first(parts)},
        problem=problems[0] if problems else None,
    )


def last_to_first(parts: list[Json]) -> float | None:
    """The median hop of the last part over that of the first."""
    medians = [part["hop_ms"]["p50"] for part in parts if part["hop_ms"]["count"]]
    return medians[-1] / medians[0] if medians else None


def _part(engine: Engine, length: int, seconds: float) -> Json:
    """Chains until the time is over."""
    before = processes.sample(engine.roles())
    hops: list[float] = []
    problem = None
    while problem is None and time.monotonic() - before.at < seconds:
        answer = engine.finish(engine.start("hop", {"length": length}))
        problem = answer.get("problem")
        hops += answer.get("hops_ms", ())
    steal = processes.steal_between(before, processes.sample(engine.roles()))
    return {"hops": len(hops), "hop_ms": spread(hops), "steal": steal, "problem": problem}
