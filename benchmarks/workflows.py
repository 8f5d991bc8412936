"""The workloads as workflows of Freshet.

Guarantee: a document depends on its arguments alone. Never: an option that a user could not give.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from freshet import workflow

Document = dict[str, Any]
WHOLE = {"type": "integer", "default": 1}
NOBODY = "bench-nobody"  # a queue that no worker serves


def fan(name: str, *, first: str, work: str, **params: Mapping[str, Any]) -> Document:
    """1 → N → 1."""
    with workflow(name, params={"n": WHOLE, **params}) as built:
        start = built.process("start", f"{first}@1.0.0")
        items = built.process("work", f"{work}@1.0.0", after=start, for_each=start.result)
        built.process("end", "bench_collect@1.0.0", after=items)
    return built.document()


def chain(length: int, process: str = "bench_mark", **params: Mapping[str, Any]) -> Document:
    """Tasks one after the other."""
    with workflow(f"{process.replace('_', '-')}-{length}", params=params) as built:
        last = built.process("task_0", f"{process}@1.0.0")
        for number in range(1, length):
            last = built.process(f"task_{number}", f"{process}@1.0.0", after=last)
    return built.document()


def nested() -> Document:
    """A map within a map."""
    with workflow("bench-nested", params={"n": WHOLE, "size": WHOLE}) as built:
        start = built.process("start", "bench_count@1.0.0")
        with built.map("groups", after=start, for_each=start.result, result="whole") as groups:
            size = groups.process("size", "bench_size@1.0.0")
            part = groups.process("part", "bench_echo@1.0.0", after=size, for_each=size.result)
            groups.process("whole", "bench_collect@1.0.0", after=part)
        built.process("end", "bench_add@1.0.0", after="groups")
    return built.document()


def diamond() -> Document:
    """One, two beside each other, one."""
    with workflow("bench-diamond") as built:
        top = built.process("top", "bench_mark@1.0.0")
        sides = [built.process(side, "bench_mark@1.0.0", after=top) for side in ("left", "right")]
        built.process("end", "bench_mark@1.0.0", after=sides)
    return built.document()


def blocked(width: int) -> Document:
    """A gate that nobody opens, and tasks that wait behind it."""
    with workflow(f"bench-blocked-{width}") as built:
        gate = built.process("gate", "bench_mark@1.0.0", queue=NOBODY)
        for number in range(width):
            built.process(f"wait_{number}", "bench_mark@1.0.0", after=gate)
    return built.document()


def fixed() -> list[Document]:
    """The workflows that need no argument."""
    return [
        fan("bench-fan", first="bench_count", work="bench_echo"),
        fan("bench-small", first="bench_count", work="bench_echo"),
        fan("bench-list", first="bench_list", work="bench_echo"),
        fan("bench-rows", first="bench_table", work="bench_row"),
        fan("bench-rows-each", first="bench_table", work="bench_row_each"),
        fan("bench-payload", first="bench_count", work="bench_blob", bytes=WHOLE),
        nested(),
        diamond(),
    ]
