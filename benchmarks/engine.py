"""What the harness asks of an engine, Freshet or a peer, and how one question is measured.

Guarantees: the clock is the harness's own, from before the request until the end is observed; answers are checked
before a figure counts. Never: a rate from an engine's own records.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
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

    def cancel(self, handle: str) -> None:
        """Give up what was asked for, if it can be."""
        ...

    def settle(self) -> float:
        """Wait until what follows an end has been written too; the seconds that took."""
        ...


def measure(engine: Engine, workload: str, case: Case, *, times: int = 1, settle: bool = True) -> Figure:
    """One measurement on a warm engine: the case so many times, one after the other.

    `settle`: CPU is counted until everything was recorded; not possible while other work goes on.
    """
    before = processes.sample(engine.roles())
    answers, walls = _ask(engine, case, times)
    lag = engine.settle() if settle else 0.0
    after = processes.sample(engine.roles())
    problems = [problem for answer in answers if (problem := problem_of(answer, case.expected))]
    return Figure(
        workload=workload,
        engine=engine.name,
        case=case.label,
        unit=case.unit,
        count=case.count * len(walls),
        wall_s=sum(walls),
        steal=processes.steal_between(before, after),
        cpu_s=processes.cpu_between(before, after),
        checks={name: answers[-1].get(name) for name in case.expected},
        details={**_details(answers, walls, case), "lag_s": lag},
        problem=problems[0] if problems else None,
    )


def repeat(engine: Engine, workload: str, case: Case, repeats: int, *, times: int = 1) -> Iterator[Figure]:
    """Several measurements; what was refused once is not asked again."""
    for _ in range(repeats):
        figure = measure(engine, workload, case, times=times)
        yield figure
        if figure.problem is not None:
            return


def _ask(engine: Engine, case: Case, times: int) -> tuple[list[Json], list[float]]:
    """The answers and the seconds that each took; no more after a problem."""
    answers: list[Json] = []
    walls: list[float] = []
    for _ in range(times):
        began = time.monotonic()
        answers.append(engine.finish(engine.start(case.kind, case.parameters)))
        walls.append(time.monotonic() - began)
        if answers[-1].get("problem"):
            break
    return answers, walls


def problem_of(answer: Mapping[str, Any], expected: Mapping[str, Any]) -> str | None:
    """Why an answer does not count: the engine's own sentence, or what is wrong with it."""
    if answer.get("problem"):
        return str(answer["problem"])
    wrong = [
        f"{name} is {answer.get(name)}, not {value}" for name, value in expected.items() if answer.get(name) != value
    ]
    return "; ".join(wrong) or None


def _details(answers: Sequence[Json], walls: Sequence[float], case: Case) -> Json:
    """What else the last answer said; all hops, and all requests if there are several, as a spread in milliseconds."""
    known = {"problem", "hops_ms", *case.expected}
    details = {name: value for name, value in answers[-1].items() if name not in known}
    hops = [hop for answer in answers for hop in answer.get("hops_ms") or ()]
    if hops:
        details["hop_ms"] = spread(hops)
    if len(walls) > 1:
        details["request_ms"] = spread([wall * 1000 for wall in walls])
    return details
