"""Figures: what was measured, as JSON on disk, one file for each workload and engine.

Guarantees: a file is written whole or not at all, so an interrupted run is gone on with; a figure holds what it takes
to judge it (count, seconds, CPU, steal, what was checked). Never: a figure that was not measured.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

Json = dict[str, Any]
RESULTS = "results"
NOT_MEASURED = "not-measured"  # the directory of what engines that do not start say


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One measurement of one case.

    `wall_s` is the harness's clock from the request to the observed end; `cpu_s` is by role, until everything was
    recorded; `steal` is a share. `problem` says why the figures are not to be used: refused, failed or wrong.
    """

    workload: str
    engine: str
    case: str
    unit: str
    count: int
    wall_s: float
    steal: float = 0.0
    cpu_s: Mapping[str, float] = field(default_factory=dict)
    checks: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None

    @property
    def rate(self) -> float:
        """Units per second."""
        return self.count / self.wall_s if self.wall_s else 0.0

    @property
    def each_ms(self) -> float:
        """Milliseconds of wall per unit."""
        return self.wall_s / self.count * 1000 if self.count else 0.0

    @property
    def cpu_us(self) -> dict[str, float]:
        """CPU microseconds per unit, by role."""
        return {role: seconds / self.count * 1e6 for role, seconds in self.cpu_s.items()} if self.count else {}

    @property
    def cpu_us_in_all(self) -> float:
        """CPU microseconds per unit of all processes but the harness itself."""
        return sum(micros for role, micros in self.cpu_us.items() if role != "harness")


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """What one engine did in one workload, and how it was set up."""

    workload: str
    engine: str
    settings: Mapping[str, Any]
    figures: Sequence[Figure]


class Results:
    """The directory of records."""

    def __init__(self, directory: Path) -> None:
        """Nothing is made until something is written."""
        self._directory = directory / RESULTS

    def path(self, workload: str, engine: str) -> Path:
        """Where a record stands."""
        return self._directory / f"{workload}.{engine}.json"

    def has(self, workload: str, engine: str) -> bool:
        """Whether it was measured already."""
        return self.path(workload, engine).exists()

    def write(self, record: Record) -> None:
        """Whole or not at all."""
        write_json(self.path(record.workload, record.engine), asdict(record))

    def records(self) -> list[Record]:
        """All there are, by name."""
        return [read_record(orjson.loads(path.read_bytes())) for path in sorted(self._directory.glob("*.json"))]


def write_json(path: Path, content: object) -> None:
    """Indented JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    temporary.replace(path)


def read_record(content: Json) -> Record:
    """A record from its JSON."""
    return Record(**{**content, "figures": [Figure(**figure) for figure in content["figures"]]})


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed; 0 for none."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(len(ordered) * share * 1000) // 1000) - 1)] if ordered else 0.0


def spread(values: Sequence[float]) -> Json:
    """How values are spread: count, p50, p99, least and most, in their own unit."""
    if not values:
        return {"count": 0}
    return {
        "count": len(values),
        "p50": statistics.median(values),
        "p99": percentile(values, 0.99),
        "min": min(values),
        "max": max(values),
    }


def typical(figures: Sequence[Figure]) -> Figure | None:
    """The repetition in the middle by rate, of those without a problem."""
    good = sorted((figure for figure in figures if figure.problem is None), key=lambda figure: figure.rate)
    return good[len(good) // 2] if good else None
