"""The life cycles as drawings, generated from their tables.

Purpose: docs/states.md, so that the page cannot disagree with the code. Guarantee: the same tables give the same text.
Never: a file; `python -m freshet.domain.diagram > docs/states.md` writes it, and a test says when it is stale.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from freshet.domain.states import TRANSITIONS, Machine

HEADER = """# Life cycles

Generated from `freshet.domain.states` by `uv run python -m freshet.domain.diagram > docs/states.md`; do not edit.
An arrow's word is the event that moves along it. What no arrow shows is refused and changes nothing.
"""


def render() -> str:
    """Answer the page: one Mermaid state diagram for each machine."""
    return HEADER + "".join(_section(machine) for machine in TRANSITIONS.values())


def _section(machine: Machine) -> str:
    drawing = "\n".join(f"    {line}" for line in _lines(machine))
    return f"\n## {machine.noun}\n\n```mermaid\nstateDiagram-v2\n{drawing}\n```\n"


def _lines(machine: Machine) -> Iterator[str]:
    yield f"[*] --> {machine.start}"
    for state, moves in machine.table.items():
        yield from (f"{state} --> {after}: {event}" for event, after in moves.items())
    yield from (f"{state} --> [*]" for state, moves in machine.table.items() if not moves)


if __name__ == "__main__":
    sys.stdout.write(render())
