"""What the harness asks of an engine, Freshet or a peer, and how one question is measured.

Guarantees: the clock is the harness's own, from before the request until the end is observed; answers are checked before
a figure counts. Never: a rate from an engine's own records.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from benchmarks import processes
from benchmarks.figures import Figure, Json, spread
from benchmarks.processes import Roles


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One question: what is to run, how many units that is, and what the answer must say."""

    label: str
    kind: str
    count: int
    unit: str = "tasks"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    expected: Mapping[str, Any] = field(default_factory=dict)


class Engine(Protocol):
    """A running engine with warm workers."""

    name: str
    settings: Json

    def can(self, kind: str) -> bool:
        """Whether it can express this kind of work."""
        ...

    def roles(self) -> Roles:
        """Its processes now, servers included."""
        ...

    def start(self, kind: str, parameters: Mapping[str, Any]) -> str:
        """Ask for the work; a handle."""
        ...

    def finish(self, handle: str) -> Json:
        """Await the end and answer what came of it; `problem` says that nothing good did."""
        ...

    def settle(self) -> float:
        """Wait until what follows an end has been written too; the seconds that took."""
        ...


class Starter(Protocol):
    """Makes a fresh engine on fresh servers."""

    def __call__(self, *, workers: int = 2, dispatchers: int = 1) -> AbstractContextManager[Engine]:
        """Running and warm while the context lasts."""
        ...


def measure(engine: Engine, workload: str, case: Case) -> Figure:
    """One run of a case on a warm engine."""
    before = processes.sample(engine.roles())
    began = time.monotonic()
    answer = engine.finish(engine.start(case.kind, case.parameters))
    wall = time.monotonic() - began
    lag = engine.settle()
    after = processes.sample(engine.roles())
    return Figure(
        workload=workload,
        engine=engine.name,
        case=case.label,
        unit=case.unit,
        count=case.count,
        wall_s=wall,
        steal=processes.steal_between(before, after),
        cpu_s=processes.cpu_between(before, after),
        checks={name: answer.get(name) for name in case.expected},
        details=_details(answer, case, lag),
        problem=problem_of(answer, case.expected),
    )


def repeat(engine: Engine, workload: str, case: Case, times: int) -> Iterator[Figure]:
    """The same several times; what was refused once is not asked again."""
    for _ in range(times):
        figure = measure(engine, workload, case)
        yield figure
        if figure.problem is not None:
            return


def problem_of(answer: Mapping[str, Any], expected: Mapping[str, Any]) -> str | None:
    """Why an answer does not count: the engine's own sentence, or what is wrong with it."""
    if answer.get("problem"):
        return str(answer["problem"])
    wrong = [f"{name} is {answer.get(name)}, not {value}" for name, value in expected.items() if answer.get(name) != value]
    return "; ".join(wrong) or None


def _details(answer: Mapping[str, Any], case: Case, lag: float) -> Json:
    """What else was said; hops as a spread, in milliseconds."""
    known = {"problem", "hops_ms", *case.expected}
    details = {name: value for name, value in answer.items() if name not in known}
    if answer.get("hops_ms"):
        details["hop_ms"] = spread(answer["hops_ms"])
    return {**details, "lag_s": lag}
