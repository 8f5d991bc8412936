"""A document becomes a workflow's newest version.

Guarantee: what is stored names the version of every process. Never: a half-applied workflow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from freshet.definition import DefinitionErrors, compile_workflow, digest, dump
from freshet.domain.errors import DefinitionError
from freshet.domain.model import Task, Workflow
from freshet.events.storable import check_storable
from freshet.scheduling import first_tick
from freshet.storage.definitions import Applied, Definition, Definitions


def apply(definitions: Definitions, name: str, document: Mapping[str, Any]) -> tuple[Applied, dict[str, Any]]:
    """Check, resolve and store; what was done, and the stored document. Raises DefinitionError with pointers."""
    workflow = compile_workflow({"name": name, **document})
    if workflow.name != name:
        text = f"The document is named {workflow.name!r}, but was sent to {name!r}."
        raise DefinitionError(text, code="wrong_name", pointer="/name")
    workflow = resolve(workflow, definitions)
    stored = dump(workflow)
    check_storable(stored)
    definition = Definition(
        name=name,
        document=stored,
        digest=digest(stored),
        schedule=workflow.schedule,
        triggers=workflow.triggers,
    )
    return definitions.put(definition, first_tick), stored


def resolve(workflow: Workflow, definitions: Definitions) -> Workflow:
    """The workflow with a version for every process: the newest that a worker has declared."""
    unresolved = [(task, at) for task, at in _located(workflow) if task.process and task.process.version is None]
    if not unresolved:
        return workflow
    names = {task.process.name for task, _ in unresolved if task.process}
    known = {name: newest(versions) for name, versions in definitions.process_versions(names).items()}
    _refuse_unknown(unresolved, known)
    return replace(workflow, tasks=_resolved(workflow.tasks, known), finals=_resolved(workflow.finals, known))


def newest(versions: Iterable[str]) -> str | None:
    """The newest of some versions, None of none: numbers count as numbers, and 1.0.0 comes after 1.0.0-rc1."""
    return max(versions, key=_order, default=None)


def _order(version: str) -> tuple[Any, ...]:
    release, dash, early = version.partition("-")
    return [_part(part) for part in release.split(".")], not dash, [_part(part) for part in early.split(".")]


def _part(part: str) -> tuple[bool, int, str]:
    return (True, int(part), "") if part.isascii() and part.isdigit() and len(part) < 19 else (False, 0, part)


def _located(workflow: Workflow) -> Iterator[tuple[Task, str]]:
    yield from _located_in(workflow.tasks, "/tasks")
    yield from _located_in(workflow.finals, "/finally")


def _located_in(tasks: Iterable[Task], pointer: str) -> Iterator[tuple[Task, str]]:
    for task in tasks:
        at = f"{pointer}/{task.name}"
        yield task, at
        yield from _located_in(task.tasks, f"{at}/tasks")


def _refuse_unknown(unresolved: Iterable[tuple[Task, str]], known: Mapping[str, str | None]) -> None:
    errors = [
        DefinitionError(
            f"No worker has declared a process {task.process.name!r}: start one that serves it, or name a version.",
            code="unknown_process",
            pointer=f"{at}/process",
        )
        for task, at in unresolved
        if task.process and known[task.process.name] is None
    ]
    if errors:
        raise errors[0] if len(errors) == 1 else DefinitionErrors(errors)


def _resolved(tasks: Iterable[Task], known: Mapping[str, str | None]) -> tuple[Task, ...]:
    return tuple(_resolved_task(task, known) for task in tasks)


def _resolved_task(task: Task, known: Mapping[str, str | None]) -> Task:
    process = task.process
    if process is not None and process.version is None:
        process = replace(process, version=known[process.name])
    return replace(task, process=process, tasks=_resolved(task.tasks, known))
