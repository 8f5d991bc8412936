"""A document becomes a workflow's newest version.

Guarantee: what is stored names the version of every process. Never: a half-applied workflow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from freshet.definition import compile_workflow, digest, dump, resolve_versions
from freshet.domain.errors import DefinitionError
from freshet.domain.model import Workflow
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
    names = {task.process.name for task in workflow.walk() if task.process and task.process.version is None}
    if not names:
        return workflow
    known = {name: newest(versions) for name, versions in definitions.process_versions(names).items()}
    return resolve_versions(workflow, known.get)


def newest(versions: Iterable[str]) -> str | None:
    """The newest of some versions, None of none: numbers count as numbers, and 1.0.0 comes after 1.0.0-rc1."""
    return max(versions, key=_order, default=None)


def _order(version: str) -> tuple[Any, ...]:
    release, dash, early = version.partition("-")
    return [_part(part) for part in release.split(".")], not dash, [_part(part) for part in early.split(".")]


def _part(part: str) -> tuple[bool, int, str]:
    return (True, int(part), "") if part.isascii() and part.isdigit() and len(part) < 19 else (False, 0, part)
