"""The graph of a workflow: whether it is one, and who comes before whom.

Purpose: refuse at the door what could not run, with a code, a JSON Pointer into the workflow document and a sentence.
Guarantees: a workflow that passes has no cycle, no dangling name and no expression that reads a task which may not have
ended; time and stack do not grow with depth (a chain of 10,000 tasks is a plain loop). Never: YAML, CEL evaluation,
schema matters such as types and unknown fields (those are `freshet.definition`).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from freshet.domain.errors import GraphError
from freshet.domain.model import Kind, RunIf, Task, Workflow
from freshet.domain.references import Reference, references

#: A task's name: a CEL identifier, with dashes besides; dots separate names in a path.
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")

#: How many nested maps may stand in one another.
MAX_DEPTH = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scope:
    """Tasks that share names: the workflow's, its `finally` section's, or those of one nested map."""

    pointer: str
    tasks: tuple[Task, ...]
    parents: Mapping[str, tuple[str, ...]]
    depth: int = 0
    owner: Task | None = None  # the nested map
    outer: _Scope | None = None  # where the owner stands; of the `finally` section: the workflow's
    final: bool = False

    def at(self, task: Task, *rest: str | int) -> str:
        """The JSON Pointer of a task's field."""
        return "/".join([self.pointer, *(_escaped(part) for part in (task.name, *rest))])


Check = Callable[[_Scope, Task], Iterator[GraphError]]


def validate(workflow: Workflow) -> None:
    """Raise the first of `problems(workflow)`, a GraphError; do nothing when there is none."""
    for problem in problems(workflow):
        raise problem


def problems(workflow: Workflow) -> tuple[GraphError, ...]:
    """Answer all that is wrong with the graph. Cycles and references are judged only when every name is sound."""
    if not workflow.tasks:
        return (_error("empty_workflow", "/tasks", "A workflow needs at least one task."),)
    scopes = tuple(_scopes(workflow))
    names = tuple(problem for scope in scopes for problem in _name_problems(scope))
    return names or tuple(problem for scope in scopes for problem in _edge_problems(scope))


def order(tasks: Iterable[Task]) -> tuple[Task, ...]:
    """Sort the tasks of one scope, parents first. Raises GraphError (`cycle`) that names the cycle."""
    named = {task.name: task for task in tasks}
    scope = _scope("/tasks", tuple(named.values()))
    try:
        return tuple(named[name] for name in TopologicalSorter(scope.parents).static_order())
    except CycleError as error:
        raise _cycle(scope, error.args[1]) from error


def ancestors(tasks: Iterable[Task], names: Iterable[str]) -> frozenset[str]:
    """Answer all tasks of the scope that come before one of `names`."""
    return frozenset(_reached({task.name: task.after for task in tasks}, names))


def descendants(tasks: Iterable[Task], names: Iterable[str]) -> frozenset[str]:
    """Answer all tasks of the scope that come after one of `names`; of `names`, only those that come after another."""
    tasks = tuple(tasks)
    children: dict[str, list[str]] = {task.name: [] for task in tasks}
    for task in tasks:
        for parent in task.after:
            children[parent].append(task.name)
    return frozenset(_reached(children, names))


def _reached(edges: Mapping[str, Iterable[str]], names: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    work = deque(names)
    while work:
        for name in edges[work.popleft()]:
            if name not in seen:
                seen.add(name)
                work.append(name)
                yield name


def _scopes(workflow: Workflow) -> Iterator[_Scope]:
    root = _scope("/tasks", workflow.tasks)
    work = deque([root, _scope("/finally", workflow.finals, outer=root, final=True)])
    while work:
        scope = work.popleft()
        yield scope
        # One level beyond the limit is looked at, so that it can be refused.
        work.extend(_inner(scope, task) for task in scope.tasks if task.tasks and scope.depth <= MAX_DEPTH)


def _scope(
    pointer: str,
    tasks: tuple[Task, ...],
    *,
    outer: _Scope | None = None,
    owner: Task | None = None,
    final: bool = False,
) -> _Scope:
    depth = outer.depth + 1 if outer is not None and owner is not None else 0
    parents = {task.name: task.after for task in tasks}
    return _Scope(pointer=pointer, tasks=tasks, parents=parents, depth=depth, owner=owner, outer=outer, final=final)


def _inner(scope: _Scope, task: Task) -> _Scope:
    return _scope(scope.at(task, "tasks"), task.tasks, outer=scope, owner=task)


def _name_problems(scope: _Scope) -> Iterator[GraphError]:
    if scope.owner is not None and scope.depth > MAX_DEPTH:
        yield _error(
            "nested_too_deep",
            scope.pointer,
            f"Nested map {scope.owner.path} is number {scope.depth} in one another; {MAX_DEPTH} are allowed.",
        )
    yield from _duplicate_tasks(scope)
    for task in scope.tasks:
        for check in CHECKS:
            yield from check(scope, task)


def _duplicate_tasks(scope: _Scope) -> Iterator[GraphError]:
    seen = {task.name for task in scope.outer.tasks} if scope.final and scope.outer else set()
    for task in scope.tasks:
        if task.name in seen:
            yield _error("duplicate_task", scope.at(task), f"Two tasks of one scope are called {task.name}.")
        seen.add(task.name)


def _check_name(scope: _Scope, task: Task) -> Iterator[GraphError]:
    if not NAME.fullmatch(task.name):
        yield _error(
            "bad_name",
            scope.at(task),
            f"{task.name!r} cannot name a task: use letters, digits, _ and -, and begin with a letter or _.",
        )


def _check_parents(scope: _Scope, task: Task) -> Iterator[GraphError]:
    if scope.final and task.after:
        text = f"{task.name} is a finally task: it runs when all else has ended, and takes no `after`."
        yield _error("final_with_parents", scope.at(task, "after"), text)
        return
    seen: set[str] = set()
    for index, parent in enumerate(task.after):
        at = scope.at(task, "after", index)
        if parent == task.name:
            yield _error("self_parent", at, f"Task {task.path} cannot run after itself.")
        elif parent not in scope.parents:
            yield _error("unknown_parent", at, f"Task {task.path} runs after {parent}, which is not in its scope.")
        elif parent in seen:
            yield _error("duplicate_parent", at, f"Task {task.path} names its parent {parent} twice.")
        seen.add(parent)


def _check_run_if(scope: _Scope, task: Task) -> Iterator[GraphError]:
    if not task.after and task.run_if in {RunIf.ANY_FAILED, RunIf.ANY_SUCCEEDED}:
        text = f"Task {task.path} has no parents, so `run_if: {task.run_if}` would never let it run."
        yield _error("run_if_without_parents", scope.at(task, "run_if"), text)


def _check_nesting(scope: _Scope, task: Task) -> Iterator[GraphError]:
    if task.kind is not Kind.MAP:
        if task.result is not None:
            text = f"Task {task.path} has no tasks of its own, so `result` names nothing."
            yield _error("result_without_tasks", scope.at(task, "result"), text)
        return
    if not task.tasks:
        yield _error("empty_scope", scope.at(task, "tasks"), f"Nested map {task.path} needs at least one task.")
    if not task.mapped:
        text = f"Nested map {task.path} needs `for_each`: a list, or how many times."
        yield _error("map_without_list", scope.at(task, "for_each"), text)
    yield from _check_result(scope, task)


def _check_result(scope: _Scope, task: Task) -> Iterator[GraphError]:
    if task.result is None:
        return
    at = scope.at(task, "result")
    inner = next((inner for inner in task.tasks if inner.name == task.result), None)
    if inner is None:
        yield _error("unknown_result", at, f"Nested map {task.path} has no task {task.result} to take its result from.")
    elif inner.mapped:
        text = f"{task.result} fans out, so it has many results; let {task.path} take its result from a task after it."
        yield _error("fanned_out_result", at, text)


def _check_limits(scope: _Scope, task: Task) -> Iterator[GraphError]:
    retries = task.retries
    bounds = (
        (("retries", "limit"), retries.limit >= 0, "0 or more"),
        (("retries", "delay"), 0 <= retries.delay < float("inf"), "0 seconds or longer"),
        (("retries", "factor"), 0 < retries.factor < float("inf"), "above 0"),
        (("retries", "cap"), retries.cap >= 0, "0 seconds or longer"),
        (("retries", "jitter"), 0 <= retries.jitter <= 1, "between 0 and 1"),
        (("timeout",), task.timeout is None or task.timeout > 0, "longer than 0 seconds"),
        (
            ("job_service", "start_timeout"),
            task.job_service is None or task.job_service.start_timeout > 0,
            "longer than 0 seconds",
        ),
    )
    for field, holds, wanted in bounds:
        if not holds:
            text = f"`{'.'.join(field)}` of task {task.path} has to be {wanted}."
            yield _error("out_of_bounds", scope.at(task, *field), text)


CHECKS: tuple[Check, ...] = (_check_name, _check_parents, _check_run_if, _check_nesting, _check_limits)


def _edge_problems(scope: _Scope) -> Iterator[GraphError]:
    try:
        TopologicalSorter(scope.parents).prepare()
    except CycleError as error:
        yield _cycle(scope, error.args[1])
        return
    for task in scope.tasks:
        for reference in references(task):
            yield from _check_reference(scope, task, reference)


def _cycle(scope: _Scope, names: list[str]) -> GraphError:
    """Tell of a cycle, in the order of running, beginning with the task that was declared first."""
    declared = {name: index for index, name in enumerate(scope.parents)}
    ring = names[1:]
    start = min(range(len(ring)), key=lambda index: declared[ring[index]])
    ring = ring[start:] + ring[:start]
    first = next(task for task in scope.tasks if task.name == ring[0])
    at = scope.at(first, "after", first.after.index(ring[-1]))
    return _error("cycle", at, f"These tasks wait for one another: {' → '.join([*ring, ring[0]])}.")


def _check_reference(scope: _Scope, task: Task, reference: Reference) -> Iterator[GraphError]:
    at, name = scope.at(task, *reference.field), reference.name
    for here, reader in _outward(scope, task):
        if name in here.parents:
            if reader is not None and name not in _reached(here.parents, (reader,)):
                yield _error("not_upstream", at, _too_early(task, reader, name))
            return
    text = f"Task {task.path} reads tasks.{name}, but no scope around it has a task of that name."
    yield _error("unknown_reference", at, text)


def _too_early(task: Task, reader: str, name: str) -> str:
    if reader == name:
        return f"Task {task.path} reads tasks.{name}, which cannot have a result before {task.path} has ended."
    return f"Task {task.path} reads tasks.{name}, which does not come before {reader}: name it in `after`."


def _outward(scope: _Scope, task: Task) -> Iterator[tuple[_Scope, str | None]]:
    """The scopes from the inside out, each with the task that reads; None where all tasks have ended by then."""
    here: _Scope | None = scope
    reader: str | None = task.name
    while here is not None:
        yield here, reader
        reader = here.owner.name if here.owner is not None and not here.final else None
        here = here.outer


def _error(code: str, pointer: str, message: str) -> GraphError:
    return GraphError(message, code=code, pointer=pointer)


def _escaped(part: str | int) -> str:
    # RFC 6901, section 3
    return str(part).replace("~", "~0").replace("/", "~1")
