"""What a batch decides for one run, in the shape that engine.put writes.

Guarantees: plain data; an empty decision writes nothing. Never: an id that only Postgres can give.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Rows = list[dict[str, Any]]


@dataclass(kw_only=True, slots=True)
class Decision:
    """Rows for engine.put (see functions/engine_put.sql), and the claims to be stopped after the commit."""

    items: Rows = field(default_factory=list)
    elements: Rows = field(default_factory=list)
    nodes: Rows = field(default_factory=list)
    fresh: Rows = field(default_factory=list)
    again: Rows = field(default_factory=list)
    runs: Rows = field(default_factory=list)
    facts: Rows = field(default_factory=list)
    stops: list[tuple[str | None, int]] = field(default_factory=list)

    def extend(self, other: Decision) -> None:
        """Join another run's decision."""
        for name in ("items", "elements", "nodes", "fresh", "again", "runs", "facts", "stops"):
            getattr(self, name).extend(getattr(other, name))

    def bundles(self) -> Rows:
        """The bundles to be queued, new ones first."""
        return [*self.fresh, *(row for row in self.again if not row["delay_s"])]

    def rows(self) -> dict[str, Rows]:
        """For engine.put."""
        names = ("items", "elements", "nodes", "fresh", "again", "runs", "facts")
        return {name: getattr(self, name) for name in names}
