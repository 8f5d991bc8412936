"""Growth: what a task costs against the width of its map, blocked tasks, workers and dispatchers.

Guarantee: along each axis one number changes, and CPU per task is measured beside the rate. The axis of history is
measured by `history`. Never: a number of processes that a user could not start.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.engine import Case, Engine, measure, repeat
from benchmarks.figures import Figure
from benchmarks.installation import freshet
from benchmarks.scale import Scale
from benchmarks.workloads.cases import fan_case, hop_case

GROWTH = "growth"
SIDE_BY_SIDE = 8  # runs at once when dispatchers are counted: a run belongs to one of them


def measure_growth(scale: Scale, workers: int) -> Iterator[Figure]:
    """Every axis."""
    with freshet(workers=workers) as engine:
        yield from _by_items(engine, scale)
        yield from _by_blocked(engine, scale)
    for number in scale.growth_workers:
        with freshet(workers=number) as engine:
            yield from _axis(engine, "workers", number, fan_case(_usual(scale)), scale.repeats)
    for number in scale.growth_dispatchers:
        with freshet(workers=workers, dispatchers=number) as engine:
            yield from _axis(engine, "dispatchers", number, _several_runs(_usual(scale)), scale.repeats)


def _by_items(engine: Engine, scale: Scale) -> Iterator[Figure]:
    for items in scale.growth_items:
        yield from _axis(engine, "items", items, fan_case(items), scale.repeats)


def _by_blocked(engine: Engine, scale: Scale) -> Iterator[Figure]:
    """The mass grows: what was asked for before stays."""
    asked = 0
    width = scale.blocked[1]
    masses = []
    for number in scale.growth_blocked:
        if number > asked:
            masses.append(engine.start("blocked", {"width": width, "runs": max(1, (number - asked) // width)}))
            asked = number
            engine.settle()
        yield from _axis(engine, "blocked", number, hop_case(scale.hop), scale.repeats, times=scale.chains)
    for mass in masses:
        engine.cancel(mass)


def _axis(engine: Engine, axis: str, number: int, case: Case, repeats: int, *, times: int = 1) -> Iterator[Figure]:
    """A case at one place of an axis, once before it is measured."""
    placed = replace(case, label=f"{number:,} {axis}")
    measure(engine, GROWTH, placed)
    for figure in repeat(engine, GROWTH, placed, repeats, times=times):
        yield replace(figure, details={**figure.details, "axis": axis, "at": number})


def _several_runs(items: int) -> Case:
    """Runs side by side, of so many items in all; the answer is checked on the first."""
    each = max(1, items // SIDE_BY_SIDE)
    case = fan_case(each)
    return replace(case, count=each * SIDE_BY_SIDE, parameters={"n": each, "runs": SIDE_BY_SIDE})


def _usual(scale: Scale) -> int:
    """10,000 items, or the widest map of a smaller scale."""
    return min(10_000, max(scale.growth_items))
