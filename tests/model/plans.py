"""Workflows as the model sees them, and how they are generated.

Guarantee: nothing here is the engine's own: a plan is written down a second time, and becomes a document only at the
door. Small on purpose: what matters is the shape, not the width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

RULES = ("all_succeeded", "all_done", "any_failed", "any_succeeded")
#: Seconds; a try's limit and the first pause, both far beyond what a test takes.
LIMIT, PAUSE = 1000, 500
#: Widths that a definition names itself: one that probes at once, one that is bundled after its probes.
WIDTHS = ("0", "2", "8", "[2, 0, 3]", "params.n")
LISTED = [2, 0, 3]
#: Of nested maps, for widths multiply.
SMALL = ("0", "2", "[2, 0, 3]")
PARAM = 5


@dataclass(frozen=True, kw_only=True)
class Step:
    """A task."""

    name: str
    after: tuple[str, ...] = ()
    rule: str = "all_succeeded"
    lenient: bool = False  # on_failure: continue
    again: int = 0  # further tries
    growth: int = 1  # of the pause
    pause: int = 0
    limit: int | None = None
    job: bool = False  # a job service, else a process
    over: str | None = None  # for_each
    inner: tuple[Step, ...] = ()
    gives: str | None = None

    @property
    def plain(self) -> bool:
        return self.over is None

    def document(self) -> dict[str, Any]:
        made: dict[str, Any] = {"after": list(self.after), "run_if": self.rule}
        made["on_failure"] = "continue" if self.lenient else "block"
        if self.over is not None:
            made["for_each"] = self.over
        if self.inner:
            made["tasks"] = {step.name: step.document() for step in self.inner}
            return made | ({"result": self.gives} if self.gives else {})
        if self.job:
            made["job_service"] = {"image": "/d/s/r/i:1", "compute_pool": "POOL"}
        else:
            made["process"] = "p@1.0.0"
        if self.limit:
            made["timeout"] = f"PT{self.limit}S"
        return made | {"retries": {"limit": self.again, "delay": f"PT{self.pause}S", "factor": self.growth}}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A workflow."""

    name: str
    steps: tuple[Step, ...]
    last: tuple[Step, ...] = ()  # finally

    def document(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "params": {"n": {"type": "integer", "default": PARAM}},
            "tasks": {step.name: step.document() for step in self.steps},
            "finally": {step.name: step.document() for step in self.last},
        }


#: Names of the tasks of a scope, by how deep it lies. One inside is called like a finally task, to be mistaken for it.
NAMES = ("abcd", "xf", "z")
LAST = "fg"


@st.composite
def plans(draw: st.DrawFn, name: str) -> Plan:
    """A workflow of a few tasks, declared in any order; one of them is a map that is wide enough for bundles."""
    limit = draw(st.sampled_from((None, LIMIT)))
    wide = Step(name="wide", over="8", again=draw(st.integers(0, 1)), limit=limit, lenient=draw(st.booleans()))
    steps = (*draw(_scope(depth=0, outer=())), wide)
    last = tuple(draw(_step(each, (), depth=0, outer=())) for each in LAST[: draw(st.integers(0, 2))])
    return Plan(name=name, steps=steps, last=last)


@st.composite
def _scope(draw: st.DrawFn, *, depth: int, outer: tuple[str, ...]) -> tuple[Step, ...]:
    made: list[Step] = []
    for name in NAMES[depth][: draw(st.integers(1, len(NAMES[depth])))]:
        # Often after the last one: what spreads along a chain wants chains.
        chosen = draw(st.integers(0, (1 << len(made)) - 1)) | (draw(st.integers(0, 1)) << len(made) >> 1)
        after = tuple(step.name for place, step in enumerate(made) if chosen >> place & 1)
        made.append(draw(_step(name, after, depth=depth, outer=outer)))
    return tuple(draw(st.permutations(made)))


@st.composite
def _step(draw: st.DrawFn, name: str, after: tuple[str, ...], *, depth: int, outer: tuple[str, ...]) -> Step:
    shape = draw(st.integers(0, 8))
    nested = shape >= 7 and depth < len(NAMES) - 1
    widths = SMALL if nested else WIDTHS
    common: dict[str, Any] = {
        "name": name,
        "after": after,
        "rule": draw(st.sampled_from((*RULES, "all_succeeded", "all_succeeded"))) if after else "all_succeeded",
        "lenient": draw(st.integers(0, 3)) == 0,
        "over": draw(st.sampled_from(_sources(widths, after + outer, inside=depth > 0))) if shape >= 4 else None,
    }
    if nested:
        inner = draw(_scope(depth=depth + 1, outer=after + outer))
        plain = [step.name for step in inner if step.plain]
        return Step(**common, inner=inner, gives=draw(st.sampled_from([*plain, None])))
    return Step(
        **common,
        again=draw(st.integers(0, 2)),
        pause=draw(st.sampled_from((0, 0, PAUSE))),
        growth=draw(st.integers(1, 2)),
        limit=draw(st.sampled_from((None, LIMIT))),
        job=draw(st.integers(0, 5)) == 0,
    )


def _sources(widths: Sequence[str], reached: Sequence[str], *, inside: bool) -> list[str]:
    results = [f"tasks.{name}.result" for name in reached]
    return [*widths, *results, *results, *(["item"] * 2 if inside else [])]
