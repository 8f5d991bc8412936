"""Named statements: real SQL in `.sql` files, found by name.

Purpose: `statement("ReportFold")` is the text under `-- name: ReportFold` in one of `sql/*.sql`. Guarantees: a name
stands in exactly one file; files are read once. Never: SQL made by string formatting.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import LiteralString

_NAME = re.compile(r"^-- name: (?P<name>[A-Z][A-Za-z]+)\s*$", re.MULTILINE)


@cache
def statement(name: str) -> LiteralString:
    """The SQL text of a named statement, comments included. Raises KeyError for an unknown name."""
    # The text comes from the package's own files, never from a user: that is what LiteralString asks for.
    return _all_statements()[name]


@cache
def _all_statements() -> dict[str, LiteralString]:
    found: dict[str, LiteralString] = {}
    for file in sorted(files("freshet.storage").joinpath("sql").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".sql"):
            for name, text in _split(file.read_text(encoding="utf-8")):
                if name in found:
                    raise KeyError(f"statement {name} stands twice")
                found[name] = text
    return found


def _split(text: str) -> list[tuple[str, str]]:
    marks = list(_NAME.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return [(mark["name"], text[mark.end() : end].strip()) for mark, end in zip(marks, ends, strict=True)]
