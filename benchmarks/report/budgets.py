"""The budgets of the design, met or missed, from what was measured.

Guarantee: a budget is judged only at the size that it names, or is said to be not measured. Never: a test: a missed
budget fails nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.figures import Figure, Record, typical


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A budget, what was measured, and whether it is met; `met` is None when it was not measured."""

    what: str
    budget: str
    measured: str
    met: bool | None


Value = Callable[[Figure], float | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """What is asked of one figure."""

    what: str
    workload: str
    case: str  # how the case's label begins
    value: Value
    limit: float
    unit: str
    least: bool = False  # the limit is a least value, else a highest

    def judge(self, figures: Sequence[Figure]) -> Judged:
        """By the repetition in the middle."""
        sign = "≥" if self.least else "≤"
        mine = [each for each in figures if each.workload == self.workload and each.case.startswith(self.case)]
        found = typical(mine)
        value = self.value(found) if found is not None else None
        met = None if value is None else (value >= self.limit if self.least else value <= self.limit)
        shown = "not measured" if value is None else f"{value:,.4g} {self.unit}"
        return Judged(what=self.what, budget=f"{sign} {self.limit:,g} {self.unit}", measured=shown, met=met)


def _rate(figure: Figure) -> float:
    return figure.rate


def _cpu(figure: Figure) -> float:
    return figure.cpu_us_in_all


def _hop(share: str) -> Value:
    return lambda figure: figure.details.get("hop_ms", {}).get(share)


def _detail(name: str) -> Value:
    return lambda figure: figure.details.get(name)


def _dispatcher(figure: Figure) -> float | None:
    sizes = figure.details.get("memory", {}).get("dispatcher")
    return sizes["rss"] / 1e6 if sizes else None


def _demo(share: str) -> Value:
    return lambda figure: figure.details["memory"]["demo"][share] / 1e6


def _seconds(figure: Figure) -> float:
    return figure.wall_s


FAN = "N = 10,000"
BUDGETS = (
    Budget(what="fan, N = 10,000", workload="fan", case=FAN, value=_rate, limit=10_000, unit="tasks/s", least=True),
    Budget(what="fan, CPU in all", workload="fan", case=FAN, value=_cpu, limit=150, unit="µs per item"),
    Budget(what="rows, N = 10,000", workload="rows", case=FAN, value=_rate, limit=2_000, unit="tasks/s", least=True),
    Budget(what="hop, p50", workload="hop", case="50 tasks", value=_hop("p50"), limit=5, unit="ms"),
    Budget(what="hop, p99", workload="hop", case="50 tasks", value=_hop("p99"), limit=15, unit="ms"),
    Budget(
        what="100,000 items made at run time, expansion", workload="memory", case="100,000 in flight",
        value=_detail("expand_s"), limit=1, unit="s",
    ),
    Budget(
        what="the same, dispatcher's RSS", workload="memory", case="100,000 in flight", value=_dispatcher, limit=100,
        unit="MB",
    ),
    Budget(what="demo, start to end", workload="memory", case="demo", value=_seconds, limit=10, unit="s"),
    Budget(what="demo, RSS summed over processes", workload="memory", case="demo", value=_demo("rss"), limit=300,
        unit="MB"),
    Budget(what="demo, PSS (shared pages once)", workload="memory", case="demo", value=_demo("pss"), limit=300,
        unit="MB"),
    Budget(
        what="30 minutes of hops, last to first", workload="endurance", case="30 minutes",
        value=_detail("last_to_first"), limit=1.1, unit="×",
    ),
)  # fmt: skip


def judge(records: Sequence[Record]) -> list[Judged]:
    """Every budget that a benchmark can judge."""
    figures = [figure for record in records if record.engine == "freshet" for figure in record.figures]
    return [*(budget.judge(figures) for budget in BUDGETS), *_ratios(figures)]


def _ratios(figures: Sequence[Figure]) -> Iterator[Judged]:
    """One figure over another."""
    by_width = ("fan", "N = 1,000,000", "N = 1,000")
    yield _ratio("CPU per task, 1,000,000 items to 1,000", figures, by_width, _cpu, 1.2)
    yield _ratio("blocked mass, hop p99 to alone", figures, ("blocked-mass", "beside", "alone"), _hop("p99"), 2)
    yield _ratio("noisy neighbour, p99 to alone", figures, ("noisy-neighbour", "beside", "alone"), _request_p99, 2)
    hop_cases, fan_cases = _history_cases(figures, "history hop"), _history_cases(figures, "history fan")
    yield _ratio("history, hop p50 to empty", figures, ("history", *hop_cases), _hop("p50"), 1.1)
    yield _ratio("history, seconds per task of a fan to empty", figures, ("history", *fan_cases), _each, 1.1)


def _request_p99(figure: Figure) -> float | None:
    found: float | None = figure.details.get("request_ms", {}).get("p99")
    return found


def _each(figure: Figure) -> float:
    return figure.each_ms


def _history_cases(figures: Sequence[Figure], axis: str) -> tuple[str, str]:
    """The cases with the most and with nothing stored."""
    mine = sorted((each for each in figures if each.details.get("axis") == axis), key=lambda each: each.details["at"])
    return (mine[-1].case, mine[0].case) if mine else ("none", "none")


def _ratio(what: str, figures: Sequence[Figure], places: tuple[str, str, str], value: Value, limit: float) -> Judged:
    workload, above, below = places
    pair = [_value(figures, workload, case, value) for case in (above, below)]
    if pair[0] is None or not pair[1]:
        return Judged(what=what, budget=f"≤ {limit:g} ×", measured="not measured", met=None)
    ratio = pair[0] / pair[1]
    return Judged(what=what, budget=f"≤ {limit:g} ×", measured=f"{ratio:.2f} ×", met=ratio <= limit)


def _value(figures: Sequence[Figure], workload: str, case: str, value: Value) -> float | None:
    """Of the case with that label, or else of the one that begins so."""
    mine = [each for each in figures if each.workload == workload and each.case == case]
    mine = mine or [each for each in figures if each.workload == workload and each.case.startswith(case)]
    found = typical(mine)
    return value(found) if found is not None else None
