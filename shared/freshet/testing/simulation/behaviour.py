"""What items do when they run: drawn from the seed, the same for the same attempt, whoever runs it and when.

Purpose: user code of the simulation. Guarantees: an attempt that is run again does the same again; what it does is
noted at the moment it is done, so that the laws can compare. Never: a look at the engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any
from zlib import crc32

from freshet.domain.model import Kind, Task
from freshet.testing.simulation.workload import SHARED, Workload

SUCCEED, FAIL, HANG, CRASH, END = "succeed", "fail", "hang", "crash", "end"
#: For longer than any timeout.
FOR_EVER = 10_000.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Temper:
    """How likely it is that a try does not go well."""

    fail: float = 0.1
    hang: float = 0.03
    crash: float = 0.03
    end: float = 0.01  # it ends its own transaction
    vanish: float = 0.02  # of a job service: the platform loses it
    seconds: Sequence[float] = (0.0, 0.001, 0.01, 0.05, 0.5, 2.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What one try does."""

    end: str
    before: float  # seconds until it writes
    after: float  # and from then to its end
    writes: int  # effects
    yields: bool  # its values are rows
    values: Any  # its result
    vanishes: bool  # a job service that the platform loses


@dataclass(frozen=True, slots=True)
class Try:
    """One try of one item, by the names that it has outside."""

    run: str
    task: str
    item: str  # dotted index path
    attempt: int


@dataclass(kw_only=True)
class Behaviour:
    """Draws plans, and notes what was done."""

    seed: int
    workload: Workload
    temper: Temper
    workflow_of: Mapping[str, str]  # by run
    tasks: dict[tuple[str, str], Task] = field(default_factory=dict)
    begun: list[Try] = field(default_factory=list)
    outside: list[Try] = field(default_factory=list)  # effects of python items, which nobody fences
    _known: dict[Try, Plan] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for workflow in self.workload.workflows.values():
            self.tasks |= {(workflow.name, task.path): task for task in workflow.walk()}

    def task(self, run: str, path: str) -> Task:
        """The definition of a run's task."""
        return self.tasks[self.workflow_of[run], path]

    def plan(self, the_try: Try) -> Plan:
        """What this try does."""
        known = self._known.get(the_try)
        if known is None:
            known = self._known[the_try] = self._drawn(the_try)
        return known

    def _drawn(self, the_try: Try) -> Plan:
        key = f"{self.seed}|{the_try.run}|{the_try.task}|{the_try.item}|{the_try.attempt}"
        random = Random(crc32(key.encode()))
        task, temper = self.task(the_try.run, the_try.task), self.temper
        end = self._end(task, random.random())
        values, yields = self.answer(the_try.run, the_try.task)
        return Plan(
            end=end,
            before=random.choice(temper.seconds),
            after=random.choice(temper.seconds),
            writes=random.choice((0, 0, 1, 1, 2)),
            yields=yields and task.kind is Kind.PROCESS,
            values=values,
            vanishes=task.kind is Kind.JOB_SERVICE and random.random() < temper.vanish,
        )

    def _end(self, task: Task, draw: float) -> str:
        temper, process = self.temper, task.kind is Kind.PROCESS
        chances = (
            (FAIL, temper.fail, True),
            (HANG, temper.hang, task.timeout is not None),
            (CRASH, temper.crash, process),
            # Of items that share a transaction, an end by hand would fail others beside the one that planned it.
            (END, temper.end, process and task.process != SHARED),
        )
        for end, chance, possible in chances:
            draw -= chance
            if draw < 0:
                return end if possible else SUCCEED
        return SUCCEED

    def answer(self, run: str, path: str) -> tuple[Any, bool]:
        """What a task's items answer, and whether they yield it value by value."""
        workflow = self.workflow_of[run]
        length = self.workload.lists[workflow, path]
        kind = crc32(f"{self.seed}|{workflow}|{path}".encode()) % 10
        if kind == 0:
            return length, False
        if kind == 1:
            return "no list", False
        return [100 + number for number in range(length)], kind < 5
