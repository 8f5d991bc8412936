"""Workflows built in Python.

Purpose: the same model as a file's, for definitions that are computed. Guarantee: `document()` is what
`normalise` makes of the file that says the same. Never: a rule of its own; everything is checked where
files are.

    with workflow("score-documents", schedule={"every": "PT59M"}) as w:
        assign = w.process("assign", "assigner@1.0.0")
        classify = w.process("classify", "classification@1.0.0", after=assign, for_each=assign.result)
        with w.map("documents", after=assign, for_each=assign.result, result="whole") as documents:
            documents.process("whole", "whole@1.0.0")
        w.final.process("stats", "graph_stats@1.0.0")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypedDict, Unpack

from freshet.definition.canonical import dump
from freshet.definition.compilation import compile_workflow
from freshet.domain.errors import DefinitionError
from freshet.domain.model import Workflow

Duration = str | float | timedelta


@dataclass(frozen=True, slots=True)
class TaskName:
    """A task that was added, to be named by those after it."""

    name: str

    @property
    def result(self) -> str:
        """The CEL expression that reads its result."""
        return f"tasks.{self.name}.result" if "-" not in self.name else f"tasks[{self.name!r}].result"


Parent = TaskName | str


class TaskOptions(TypedDict, total=False):
    """What every kind of task takes; the words of the workflow file."""

    after: Parent | Sequence[Parent]
    for_each: str | int | Sequence[Any]
    input: Any
    run_if: Literal["all_succeeded", "all_done", "any_failed", "any_succeeded"]
    on_failure: Literal["block", "continue"]
    retries: int | Mapping[str, Any]
    timeout: Duration
    queue: str


class JobOptions(TypedDict, total=False):
    """What a job service takes besides its compute pool; the words of the workflow file."""

    image: str
    args: Sequence[str]
    command: Sequence[str]
    env: Mapping[str, str]
    secrets: Sequence[Mapping[str, Any]]
    resources: Mapping[str, Any]
    volumes: Sequence[Mapping[str, Any]]
    volume_mounts: Sequence[Mapping[str, Any]]
    spec: Mapping[str, Any] | str
    spec_file: str
    spec_template: str
    spec_template_file: str
    using: Mapping[str, Any]
    replicas: int
    query_warehouse: str
    external_access_integrations: Sequence[str]
    comment: str
    result_table: str
    start_timeout: Duration


class JobServiceOptions(TaskOptions, JobOptions, total=False):
    """What a task that runs a job service takes."""


@dataclass(kw_only=True, slots=True)
class Scope:
    """Tasks that may come after one another: a workflow's, its final ones, or a nested map's."""

    tasks: dict[str, Any] = field(default_factory=dict)

    def process(self, name: str, process: str, /, **options: Unpack[TaskOptions]) -> TaskName:
        """Add a task that runs a process, `name` or `name@version`."""
        return self.add(name, {"process": process, **options})

    def job_service(
        self,
        name: str,
        /,
        *,
        compute_pool: str,
        **given: Unpack[JobServiceOptions],
    ) -> TaskName:
        """Add a task that runs a job service in a compute pool: an `image`, a `spec`, or a file or template of one."""
        options = {key: value for key, value in given.items() if key in TaskOptions.__annotations__}
        job = {key: value for key, value in given.items() if key not in options}
        return self.add(name, {"job_service": _given({"compute_pool": compute_pool, **job}), **options})

    def sql(
        self, name: str, text: str | None = None, /, *, file: str | None = None, **options: Unpack[TaskOptions]
    ) -> TaskName:
        """Add a task that runs a SQL script on Postgres."""
        return self.add(name, {"sql": _given({"text": text, "file": file}), **options})

    def python(
        self, name: str, text: str | None = None, /, *, file: str | None = None, **options: Unpack[TaskOptions]
    ) -> TaskName:
        """Add a task that runs a Python script in a child process."""
        return self.add(name, {"python": _given({"text": text, "file": file}), **options})

    def map(
        self,
        name: str,
        /,
        *,
        for_each: str | int | Sequence[Any],
        after: Parent | Sequence[Parent] = (),
        result: Parent | None = None,
        run_if: str = "all_succeeded",
        on_failure: str = "block",
    ) -> NestedMap:
        """Add a nested map; its tasks are added to what is returned."""
        inner: dict[str, Any] = {}
        task = {"tasks": inner, "after": after, "for_each": for_each, "result": result}
        added = self.add(name, {**task, "run_if": run_if, "on_failure": on_failure})
        # `add` copies what it is given; the scope has to stay the one that later tasks go into.
        self.tasks[name]["tasks"] = inner
        return NestedMap(tasks=inner, name=added)

    def add(self, name: str, task: Mapping[str, Any]) -> TaskName:
        """Add a task in the words of the workflow file. Raises DefinitionError when the name is taken."""
        if name in self.tasks:
            raise DefinitionError(f"two tasks of one scope are called {name!r}", code="duplicate_task")
        self.tasks[name] = _given({key: _plain(value) for key, value in task.items()})
        return TaskName(name)


@dataclass(kw_only=True, slots=True)
class NestedMap(Scope):
    """The scope of a nested map."""

    name: TaskName

    @property
    def result(self) -> str:
        """The CEL expression that reads the results of its elements."""
        return self.name.result

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close: the block only shows what belongs together."""


@dataclass(kw_only=True, slots=True)
class WorkflowBuilder(Scope):
    """A workflow in the making; leaving its `with` block checks it."""

    head: dict[str, Any]
    base: Path | None = None
    final: Scope = field(default_factory=Scope)

    def compile(self) -> Workflow:
        """The workflow. Raises DefinitionError or DefinitionErrors."""
        document = {**self.head, "tasks": self.tasks, "finally": self.final.tasks}
        return compile_workflow(document, base=self.base)

    def document(self) -> dict[str, Any]:
        """The canonical document, as it is applied and stored. Raises what `compile` raises."""
        return dump(self.compile())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            self.compile()


def workflow(
    name: str,
    *,
    schedule: Mapping[str, Any] | None = None,
    triggers: Sequence[Mapping[str, Any]] = (),
    params: Mapping[str, Mapping[str, Any]] | None = None,
    priority: int | None = None,
    base: Path | None = None,
) -> WorkflowBuilder:
    """A workflow to add tasks to; the arguments take what the same keys of a workflow file take.

    `base` is the directory that `file=` starts from.
    """
    head = {"name": name, "schedule": schedule, "triggers": triggers, "params": params, "priority": priority}
    return WorkflowBuilder(head=_given({key: _plain(value) for key, value in head.items()}), base=base)


def _given(members: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _plain(value) for key, value in members.items() if value is not None}


def _plain(value: Any) -> Any:
    """Names, durations and sequences as a file would have them."""
    if isinstance(value, TaskName):
        return value.name
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        return {key: _plain(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(element) for element in value]
    return value
