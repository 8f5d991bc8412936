"""What a seed's users want: workflows, schedules, runs, cancels and reruns.

Purpose: small workflows that between them have every rule of the graph. Guarantees: the same draws give the same
workload; what is generated is what the front door would have let pass. Never: more than a few dozen items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from freshet.domain.graph import validate
from freshet.domain.model import (
    CatchUp,
    JobServiceSpec,
    Kind,
    OnFailure,
    Overlap,
    ProcessSpec,
    PythonSpec,
    RetryPolicy,
    RunIf,
    Schedule,
    Task,
    Workflow,
)

#: The one process that every worker serves.
PROCESS = ProcessSpec(name="work", version="1.0.0")
ISOLATED = ProcessSpec(name="apart", version="1.0.0", isolation="process")
#: What items of a bundle commit together.
SHARED = ProcessSpec(name="share", version="1.0.0")
PROCESSES = (PROCESS, ISOLATED, SHARED)
QUEUES = (*(process.ref for process in PROCESSES), Kind.PYTHON.value, Kind.JOB_SERVICE.value)
JOB = JobServiceSpec(image="/db/schema/repo/image:1", compute_pool="POOL", start_timeout=60.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """A run that somebody asks for."""

    at: float  # seconds
    workflow: str
    params: dict[str, Any]
    doubled: bool  # the same request comes twice
    cancel_after: float | None  # seconds
    rerun: str | None  # all | failed
    cancel_rerun_after: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """All that is asked of an installation."""

    workflows: dict[str, Workflow]
    wishes: Sequence[Wish]
    lists: dict[tuple[str, str], int] = field(default_factory=dict)  # how long a list a task answers

    @property
    def jobs(self) -> bool:
        """Whether any task is a job service."""
        return any(task.kind is Kind.JOB_SERVICE for each in self.workflows.values() for task in each.walk())


def draw_workload(random: Random, *, wide: bool) -> Workload:
    """One seed's. `wide`: few tasks with many items each, which travel in bundles."""
    lists: dict[tuple[str, str], int] = {}
    count = 1 if wide else random.choice((1, 1, 1, 2, 2, 3))
    workflows = [_Drawing(random, f"w{number}", lists, wide=wide).workflow() for number in range(count)]
    wishes = [_wish(random, workflow, wide=wide) for workflow in workflows for _ in range(random.choice((1, 1, 2)))]
    return Workload(workflows={each.name: each for each in workflows}, wishes=wishes, lists=lists)


def _wish(random: Random, workflow: Workflow, *, wide: bool) -> Wish:
    return Wish(
        at=random.uniform(0.0, 5.0),
        workflow=workflow.name,
        params={
            "n": random.choice((9, 16, 24) if wide else (0, 1, 2, 4, 9)),
            "list": [10, 11, 12][: random.randrange(4)],
        },
        doubled=random.random() < 0.2,
        cancel_after=random.expovariate(0.3) if random.random() < 0.2 else None,
        rerun=random.choice(("all", "failed")) if random.random() < 0.25 else None,
        cancel_rerun_after=random.expovariate(0.3) if random.random() < 0.15 else None,
    )


class _Drawing:
    """One workflow being drawn."""

    def __init__(self, random: Random, name: str, lists: dict[tuple[str, str], int], *, wide: bool) -> None:
        self._random = random
        self._wide = wide
        self._name = name
        self._lists = lists

    def workflow(self) -> Workflow:
        """With a schedule now and then."""
        random = self._random
        finals = (self._task("end", "", [], depth=9),) if random.random() < 0.25 else ()
        workflow = Workflow(
            name=self._name,
            schedule=self._schedule() if random.random() < 0.2 else None,
            priority=random.choice((50, 100, 100)),
            tasks=self._scope("", random.choice((1, 2) if self._wide else (1, 2, 3, 3, 4, 5)), depth=0),
            finals=finals,
        )
        validate(workflow)
        return workflow

    def _schedule(self) -> Schedule:
        return Schedule(
            every=self._random.choice((4.0, 10.0)),
            catch_up=self._random.choice(tuple(CatchUp)),
            overlap=self._random.choice(tuple(Overlap)),
        )

    def _scope(self, path: str, count: int, *, depth: int) -> tuple[Task, ...]:
        tasks: list[Task] = []
        for number in range(count):
            tasks.append(self._task(f"t{number}", path, tasks, depth=depth))
        return tuple(tasks)

    def _task(self, name: str, scope: str, before: Sequence[Task], *, depth: int) -> Task:
        random = self._random
        path = f"{scope}.{name}" if scope else name
        after = tuple(task.name for task in before if random.random() < 0.6)
        for_each = self._for_each([task for task in before if task.name in after], depth)
        nested = for_each is not None and not self._wide and depth < 2 and random.random() < (0.3, 0.1)[depth]
        kind = Kind.MAP if nested else random.choices((Kind.PROCESS, Kind.PYTHON, Kind.JOB_SERVICE), (70, 12, 18))[0]
        inner = self._scope(path, random.choice((1, 2, 3)), depth=depth + 1) if nested else ()
        self._lists[self._name, path] = random.choice((0, 1, 2, 3, 5) if depth == 0 else (0, 1, 2))
        results = [task.name for task in inner if not task.mapped]
        rules = (RunIf.ALL_SUCCEEDED,) * 5 + tuple(RunIf) if after else (RunIf.ALL_SUCCEEDED, RunIf.ALL_DONE)
        return Task(
            name=name,
            path=path,
            kind=kind,
            after=after,
            for_each=for_each,
            run_if=random.choice(rules),
            on_failure=random.choice((OnFailure.BLOCK, OnFailure.BLOCK, OnFailure.CONTINUE)),
            retries=RetryPolicy() if nested else self._retries(),
            timeout=random.choice((6.0, 15.0)) if not nested and random.random() < 0.25 else None,
            process=random.choice((PROCESS, PROCESS, SHARED, ISOLATED)) if kind is Kind.PROCESS else None,
            python=PythonSpec(text="…") if kind is Kind.PYTHON else None,
            job_service=JOB if kind is Kind.JOB_SERVICE else None,
            tasks=inner,
            result=random.choice(results) if results and random.random() < 0.6 else None,
        )

    def _for_each(self, parents: Sequence[Task], depth: int) -> str | None:
        random = self._random
        if depth > 2 or random.random() < (0.2 if self._wide else 0.55):
            return None
        if self._wide and not depth:
            return "params.n"
        choices = ["params.n", "params.list", "size(params.list)"] if depth == 0 else ["2", "size(params.list)"]
        choices += [f"tasks.{parent.name}.result" for parent in parents] * 3
        return random.choice(choices)

    def _retries(self) -> RetryPolicy:
        random = self._random
        return RetryPolicy(
            limit=random.choice((0, 0, 1, 2)),
            delay=random.choice((0.0, 0.5, 2.0)),
            factor=random.choice((1.0, 2.0)),
            jitter=random.choice((0.0, 0.5)),
        )
