"""What the plots show, as data: panels with lines or stacked bars.

Guarantee: a point is the repetition in the middle by rate. Never: a point for a figure with a problem.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from benchmarks.figures import Figure, Json, Record, typical

AXES = {
    "items": ("items of the map", "log"),
    "blocked": ("blocked tasks", "symlog"),
    "workers": ("workers", "linear"),
    "dispatchers": ("dispatchers", "linear"),
    "history hop": ("finished items stored (chain)", "symlog"),
    "history fan": ("finished items stored (map)", "symlog"),
}


def plots(records: Sequence[Record]) -> list[Json]:
    """Every plot for which there are figures."""
    figures = [figure for record in records for figure in record.figures if figure.problem is None]
    built = (
        _plot("fan", "1 → N → 1", [_by_width(figures, "fan"), _by_width(figures, "rows")]),
        _plot("cpu", "CPU of Freshet by process", list(_cpu(figures))),
        _plot("growth", "What a unit costs", list(_growth(figures))),
        _plot("growth-rate", "Rates along the same axes", list(_growth(figures, rate=True))),
        _plot("endurance", "Hops back to back", list(_endurance(figures))),
        _plot("memory", "Memory of Freshet", list(_memory(figures))),
    )
    return [plot for plot in built if plot["panels"]]


def _plot(name: str, title: str, panels: Iterable[Json]) -> Json:
    return {"name": name, "title": title, "panels": [each for each in panels if each["lines"] or each["bars"]]}


def panel(title: str, x: str, y: str, **given: Any) -> Json:
    """A panel without anything in it, but for what is given."""
    return {
        "title": title, "x": x, "y": y, "x_scale": "linear", "y_scale": "linear", "lines": [], "bars": [], **given
    }  # fmt: skip


def _by_width(figures: Iterable[Figure], workload: str) -> Json:
    """Tasks per second against N, a line for each engine."""
    places: dict[str, dict[float, list[Figure]]] = defaultdict(lambda: defaultdict(list))
    for figure in figures:
        if figure.workload == workload:
            _, comma, way = figure.case.partition(", ")
            places[figure.engine + comma + way][figure.count].append(figure)
    lines = [_line(engine, found, lambda figure: figure.rate) for engine, found in places.items()]
    return panel(workload, "N", "tasks per second", x_scale="log", y_scale="log", lines=lines)


def _line(label: str, places: dict[float, list[Figure]], value: Any) -> Json:
    points = [(at, figure) for at, found in sorted(places.items()) if (figure := typical(found))]
    return {"label": label, "x": [at for at, _ in points], "y": [value(figure) for _, figure in points]}


def _cpu(figures: Sequence[Figure]) -> Iterator[Json]:
    for workload, unit in (("fan", "task"), ("rows", "task"), ("hop", "hop")):
        mine = [each for each in figures if each.workload == workload and each.engine == "freshet"]
        cases = {each.case: found for each in mine if (found := typical([x for x in mine if x.case == each.case]))}
        roles = sorted({role for found in cases.values() for role in found.cpu_us})
        bars = [
            {"label": role, "x": list(cases), "y": [found.cpu_us.get(role, 0.0) for found in cases.values()]}
            for role in roles
        ]
        yield panel(workload, "", f"CPU µs per {unit}", bars=bars)


def _growth(figures: Iterable[Figure], *, rate: bool = False) -> Iterator[Json]:
    places: dict[str, dict[float, list[Figure]]] = defaultdict(lambda: defaultdict(list))
    for figure in figures:
        if figure.workload in {"growth", "history"} and "axis" in figure.details:
            places[figure.details["axis"]][figure.details["at"]].append(figure)
    for axis, found in places.items():
        label, scale = AXES[axis]
        unit = next(iter(found.values()))[0].unit
        line = _line("per second" if rate else "CPU µs", found, _rate if rate else _cpu_each)
        yield panel(label, label, f"{unit} per second" if rate else f"CPU µs, {unit}", x_scale=scale, lines=[line])


def _rate(figure: Figure) -> float:
    return figure.rate


def _cpu_each(figure: Figure) -> float:
    return figure.cpu_us_in_all


def _endurance(figures: Iterable[Figure]) -> Iterator[Json]:
    for figure in figures:
        if figure.workload == "endurance":
            parts, seconds = figure.details["minutes"], figure.details["part_s"]
            at = [(number + 1) * seconds / 60 for number in range(len(parts))]
            lines = [
                {"label": share, "x": at, "y": [each["hop_ms"].get(share) for each in parts]}
                for share in ("p50", "p99")
            ]
            yield panel("per hop", "minutes", "ms", lines=lines)
            steal = {"label": "steal", "x": at, "y": [each["steal"] for each in parts]}
            yield panel("taken by the host", "minutes", "share", lines=[steal])


def _memory(figures: Iterable[Figure]) -> Iterator[Json]:
    for figure in figures:
        if figure.workload == "memory" and len(figure.details.get("memory", ())) > 1:
            sizes = figure.details["memory"]
            names = sorted(sizes)
            bars = [{"label": "PSS", "x": names, "y": [sizes[name]["pss"] / 1e6 for name in names]}]
            yield panel(figure.case, "", "MB", bars=bars)
