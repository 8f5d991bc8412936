"""Freshet beside the best peer, workload by workload.

Guarantee: rates are compared as rates by the harness's clock, the repetition in the middle of each case; where a peer
had a smaller N, its best N counts. Never: a peer's problem counted as a win.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.figures import Figure, Record, typical

#: Workloads whose cases are different questions; of the others an engine's best case counts.
BY_CASE = frozenset({"payload", "fibo"})
#: Beside something else: judged against alone, by `budgets`, not against a peer's rate.
RELATIVE = frozenset({"blocked-mass", "noisy-neighbour"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """One line: rates per second by engine, the best peer, and Freshet's rate over its."""

    question: str
    unit: str
    rates: Mapping[str, float]
    cases: Mapping[str, str]
    best_peer: str | None
    ratio: float | None


def compare(records: Sequence[Record]) -> list[Compared]:
    """Every question that Freshet has answered."""
    figures = [figure for record in records for figure in record.figures]
    asked = dict.fromkeys(_question(figure) for figure in figures if _counts(figure))
    lines = [_compared(question, [each for each in figures if _question(each) == question]) for question in asked]
    return [line for line in lines if line is not None]


def middle(figures: Sequence[Figure]) -> dict[str, Figure]:
    """By case, the repetition in the middle."""
    cases = dict.fromkeys(figure.case for figure in figures)
    return {case: found for case in cases if (found := typical([each for each in figures if each.case == case]))}


def _counts(figure: Figure) -> bool:
    return figure.engine == "freshet" and figure.problem is None and figure.workload in WORKLOADS


#: In the order of the table.
WORKLOADS = ("hop", "fan", "rows", "nested", "small-runs", "payload", "fibo")


def _question(figure: Figure) -> str:
    return f"{figure.workload}, {figure.case}" if figure.workload in BY_CASE else figure.workload


def _compared(question: str, figures: Sequence[Figure]) -> Compared | None:
    best: dict[str, Figure] = {}
    for engine in dict.fromkeys(figure.engine for figure in figures):
        answered = middle([figure for figure in figures if figure.engine == engine])
        if answered:
            best[engine] = max(answered.values(), key=lambda figure: figure.rate)
    if "freshet" not in best:
        return None
    peers = {engine: figure.rate for engine, figure in best.items() if engine != "freshet"}
    winner = max(peers, key=lambda engine: peers[engine], default=None)
    return Compared(
        question=question,
        unit=best["freshet"].unit,
        rates={engine: figure.rate for engine, figure in best.items()},
        cases={engine: figure.case for engine, figure in best.items()},
        best_peer=winner,
        ratio=best["freshet"].rate / peers[winner] if winner is not None else None,
    )
