"""What stands in the book: runs, their tasks in their places, items, bundles and reports.

Guarantee: nothing here decides anything (`book.py` does). Never: an import of the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.model.plans import Plan, Step

FINAL = frozenset({"succeeded", "failed", "skipped", "cancelled", "expired"})
ENDS = ("succeeded", "failed", "skipped", "cancelled")


class Nothing:
    """Neither None nor any other value."""

    def __repr__(self) -> str:
        return "nothing"


NOTHING = Nothing()


@dataclass(kw_only=True, eq=False)
class Unit:
    """An item, or an element of a nested map."""

    state: str = "queued"
    attempt: int = 1
    failures: int = 0
    losses: int = 0
    handbacks: int = 0
    value: Any = None
    rows: list[Any] | None = None  # what it yielded


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a report says of one item."""

    index: int
    attempt: int
    says: str
    value: Any = None
    rows: tuple[Any, ...] | None = None
    charged: bool = True
    ended: bool = False  # of a lost job


@dataclass(kw_only=True, eq=False)
class Part:
    """One task in one place."""

    step: Step
    scope: Scope
    path: str
    last: bool  # of the `finally` section, however deep
    state: str = "pending"
    total: int | None = None
    opened: int = 0
    tally: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ENDS, 0))
    tries: int = 0
    units: dict[int, Unit] = field(default_factory=dict)
    scopes: dict[int, Scope] = field(default_factory=dict)
    feed: Callable[[int], Any] | None = None  # the value of an item of a map, once its width is known

    @property
    def done(self) -> int:
        return sum(self.tally.values())

    @property
    def key(self) -> tuple[str, str]:
        return self.path, self.scope.place

    def only(self) -> Unit | None:
        return self.units.get(0)

    def result(self) -> Any:
        unit = self.only()
        return unit.value if unit is not None and self.step.plain and unit.state == "succeeded" else None


@dataclass(kw_only=True, eq=False)
class Scope:
    """The run's own place, or one element of a nested map."""

    run: Run
    place: str = ""
    path: str = ""
    outer: Part | None = None
    unit: Unit | None = None
    element: Any = None
    parts: dict[str, Part] = field(default_factory=dict)
    closed: bool = False

    def find(self, name: str) -> Part:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.parts:
                return scope.parts[name]
            scope = scope.outer.scope if scope.outer else None
        raise KeyError(name)


@dataclass(kw_only=True, eq=False)
class Run:
    """One execution."""

    id: str
    plan: Plan
    held: bool = False
    state: str = "pending"
    stopped: bool = False
    again: frozenset[str] | None = None  # of a rerun: what runs again
    old: Run | None = None
    scopes: list[Scope] = field(default_factory=list)

    @property
    def parts(self) -> Iterator[Part]:
        for scope in self.scopes:
            yield from scope.parts.values()

    @property
    def over(self) -> bool:
        return self.state in FINAL


@dataclass(kw_only=True, eq=False)
class Bundle:
    """Attempts that travel together. `id` is read off the tables."""

    part: Part
    entries: tuple[tuple[int, int], ...]  # index and attempt
    id: int = 0
    done: int = 0
    token: str | None = None
    worker: str | None = None
    job: str | None = None
    watched: bool = False
    wait: float = 0.0  # seconds that it was told to wait when it was made
    batch: tuple[int, float] | None = None  # what it was given back with

    @property
    def left(self) -> tuple[tuple[int, int], ...]:
        return self.entries[self.done :]

    @property
    def free(self) -> bool:
        return self.token is None and not self.watched and self.wait == 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """A row of the inbox."""

    bundle: int
    part: Part
    outcomes: tuple[Outcome, ...]
