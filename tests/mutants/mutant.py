"""What a planted bug is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True, slots=True)
class Mutant:
    """One bug: `old` stands exactly once in `file` and becomes `new`; then one of `tests` has to fail."""

    name: str
    file: str  # from the root of the repository
    old: str
    new: str
    tests: tuple[str, ...]  # what pytest is told to run

    def occurrences(self, root: Path = ROOT) -> int:
        """How often `old` stands in the file; anything but 1 means that the table has rotted."""
        return (root / self.file).read_text(encoding="utf-8").count(self.old)
