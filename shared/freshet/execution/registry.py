"""Processes: named, versioned pieces of user code.

Purpose: `@process("classification", version="1.0.0")` on a callable of `(payload, context)`, and loading the modules
in which such callables stand. Guarantees: a module that can't be imported or a name given twice is told in a sentence.
Never: an import at import time, or a call.
"""

from __future__ import annotations

import importlib
import inspect
import re
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, TypeVar

from freshet.domain.errors import DefinitionError

ENTRY_POINTS = "freshet.processes"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")

Call = TypeVar("Call", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True, slots=True)
class Process:
    """A registered callable."""

    name: str
    version: str
    isolation: str  # warm, or process: a fresh child for each item
    commit: str = "item"  # item, or bundle: items of a bundle share transactions
    call: Callable[[Any, Any], Any]

    @property
    def ref(self) -> str:
        """`name@version`, which is also its queue."""
        return f"{self.name}@{self.version}"


class Registry:
    """Processes by `name@version`."""

    def __init__(self) -> None:
        self._processes: dict[str, Process] = {}

    def add(self, process: Process) -> None:
        """Register. Raises DefinitionError when another callable has this name and version."""
        known = self._processes.get(process.ref)
        if known is not None and _place(known.call) != _place(process.call):
            raise DefinitionError(
                f"The process {process.ref} stands twice: in {_place(known.call)} and in {_place(process.call)}."
                " Give one of them another name or version.",
                code="duplicate_process",
            )
        self._processes[process.ref] = process

    def get(self, ref: str) -> Process | None:
        """The process of a `name@version`, if there is one."""
        return self._processes.get(ref)

    def all(self) -> Mapping[str, Process]:
        """Every process by `name@version`."""
        return dict(self._processes)


#: Where the decorator registers.
REGISTRY = Registry()


def process(
    name: str,
    *,
    version: str = "1.0.0",
    isolation: str = "warm",
    commit: str = "item",
    registry: Registry | None = None,
) -> Callable[[Call], Call]:
    """Register a callable of `(payload, context)` as a process.

    `isolation="process"` gives each item a fresh child process. `commit="item"` commits each item's writes with its
    own report; `commit="bundle"` commits up to 50 short items of a bundle, a quarter of a second's, with their reports
    in one transaction: about four times as fast, still exactly once on the engine's Postgres. But when one item has
    written and fails, or takes the child with it, those that shared its transaction are called again (after a failure,
    there is a savepoint before each item of the next hundred bundles, and it fails alone); and they share settings and
    locks.

    Raises DefinitionError for a wrong name, version, isolation or commit, for a coroutine function, and for a name and
    version that another callable has.
    """
    _check(name, version, isolation, commit)

    def register(call: Call) -> Call:
        if inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call):
            raise DefinitionError(
                f"The process {name}@{version} is an async function; a process is called synchronously."
                " Write `def`, and call asyncio.run() inside if you need it.",
                code="async_process",
            )
        (registry or REGISTRY).add(Process(name=name, version=version, isolation=isolation, commit=commit, call=call))
        return call

    return register


def load(modules: Iterable[str], registry: Registry | None = None) -> Registry:
    """Import the modules and those of the entry-point group `freshet.processes`; what is registered then.

    Raises DefinitionError that names the module which can't be imported, and why.
    """
    for module in dict.fromkeys([*modules, *_entry_point_modules()]):
        _import(module)
    return registry or REGISTRY


def _entry_point_modules() -> list[str]:
    return sorted(point.module for point in entry_points(group=ENTRY_POINTS))


def _import(module: str) -> None:
    try:
        importlib.import_module(module)
    except DefinitionError:
        raise
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise DefinitionError(
            f"The module {module} of processes can't be imported: {type(error).__name__}: {error}"
            f" ({where.filename}, line {where.lineno}). Check --processes and FRESHET_PROCESSES.",
            code="module_refused",
            file=where.filename,
            line=where.lineno,
        ) from error


def _check(name: str, version: str, isolation: str, commit: str) -> None:
    if not _NAME.fullmatch(name):
        raise DefinitionError(
            f"{name!r} can't be a process's name: letters, digits, _, . and -, beginning with a letter.",
            code="bad_process",
        )
    if not _VERSION.fullmatch(version):
        raise DefinitionError(f"{version!r} can't be the version of process {name}.", code="bad_process")
    if isolation not in {"warm", "process"}:
        raise DefinitionError(
            f"isolation={isolation!r} of process {name} is unknown: say 'warm' or 'process'.", code="bad_process"
        )
    if commit not in {"item", "bundle"}:
        raise DefinitionError(
            f"commit={commit!r} of process {name} is unknown: say 'item' or 'bundle'.", code="bad_process"
        )
    if commit == "bundle" and isolation == "process":
        raise DefinitionError(
            f"Process {name} can't have both commit='bundle' and isolation='process': a transaction can't be shared"
            " between child processes. Leave one of them out.",
            code="bad_process",
        )


def _place(call: Callable[..., Any]) -> str:
    return f"{call.__module__}.{getattr(call, '__qualname__', type(call).__qualname__)}"
