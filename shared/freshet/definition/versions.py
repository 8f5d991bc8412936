"""The versions of processes, fixed at apply.

Purpose: `process: name` means the version that is served when the workflow is applied; runs then keep to
it. Guarantee: afterwards every process has a version, or apply is refused with all the names that nobody
serves. Never: a guess.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from freshet.definition.errors import pointer, refuse
from freshet.domain.errors import DefinitionError
from freshet.domain.model import Task, Workflow

Resolve = Callable[[str], str | None]


def resolve_versions(workflow: Workflow, resolve: Resolve) -> Workflow:
    """The workflow with a version for every process; `resolve` gives a name's version, or None.

    Raises DefinitionError (`unknown_process`), or several.
    """
    errors: list[DefinitionError] = []
    tasks = _resolved(workflow.tasks, ("tasks",), resolve, errors)
    finals = _resolved(workflow.finals, ("finally",), resolve, errors)
    refuse(errors)
    return replace(workflow, tasks=tasks, finals=finals)


def _resolved(
    tasks: tuple[Task, ...], at: tuple[str, ...], resolve: Resolve, errors: list[DefinitionError]
) -> tuple[Task, ...]:
    return tuple(_resolved_task(task, (*at, task.name), resolve, errors) for task in tasks)


def _resolved_task(task: Task, at: tuple[str, ...], resolve: Resolve, errors: list[DefinitionError]) -> Task:
    if task.tasks:
        return replace(task, tasks=_resolved(task.tasks, (*at, "tasks"), resolve, errors))
    if task.process is None or task.process.version is not None:
        return task
    version = resolve(task.process.name)
    if version is None:
        name = task.process.name
        hint = f"start a worker that serves it, or write {name}@VERSION"
        message = f"{'.'.join(at)}.process: no worker serves a process called {name!r}; {hint}"
        errors.append(DefinitionError(message, code="unknown_process", pointer=pointer(*at, "process")))
        return task
    return replace(task, process=replace(task.process, version=version))
