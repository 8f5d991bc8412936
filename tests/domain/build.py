"""Short forms for tasks, nodes and workflows."""

from __future__ import annotations

from typing import Any

from freshet.domain.model import Kind, Task, Workflow
from freshet.domain.settle import Node
from freshet.domain.states import TaskState

FINAL_STATES = (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.SKIPPED, TaskState.CANCELLED)


def task(name: str, *after: str, **fields: Any) -> Task:
    return Task(name=name, path=fields.pop("path", name), kind=fields.pop("kind", Kind.PROCESS), after=after, **fields)


def mapped(name: str, *after: str, for_each: str = "params.list", **fields: Any) -> Task:
    return task(name, *after, for_each=for_each, **fields)


def nested(name: str, *after: str, tasks: tuple[Task, ...] | None = None, **fields: Any) -> Task:
    inner = (task("inner"),) if tasks is None else tasks
    return mapped(name, *after, kind=Kind.MAP, tasks=inner, **fields)


def workflow(*tasks: Task, finals: tuple[Task, ...] = ()) -> Workflow:
    return Workflow(name="sample", tasks=tasks, finals=finals)


def node(of: Task, state: TaskState = TaskState.PENDING, **fields: Any) -> Node:
    return Node(task=of, state=state, **fields)


def ended(of: Task, state: TaskState) -> Node:
    """A plain task's node after its end, with the counters that go with it."""
    return node(of, state, total=1, **{state.value: 1})


def running(of: Task, total: int | None = 1, **counts: int) -> Node:
    return node(of, TaskState.RUNNING, total=total, **counts)


def scope(*nodes: Node) -> dict[str, Node]:
    return {each.task.name: each for each in nodes}
