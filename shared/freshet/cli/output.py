"""What reading commands print: one JSON value, or a table for people.

Guarantee: with --json nothing but the value is on stdout.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

MAX_CELL = 60  # characters; --json has the whole value


def json(value: Any) -> None:
    """One JSON value and a line break."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


def line(text: str) -> None:
    """A sentence for people."""
    sys.stdout.write(f"{text}\n")


def table(title: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> None:
    """A table of rows; columns that no row has are left out. Without rows, a sentence."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        line(f"{title}: none.")
        return
    named = columns or list(rows[0])
    shown = [column for column in named if any(column in row for row in rows)]
    drawn = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in shown:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(_cell(row.get(column))) for column in shown))
    # Into a pipe or a file nothing is folded at 80 columns.
    Console(width=None if sys.stdout.isatty() else 400).print(drawn)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        value = ", ".join(value)
    text = orjson.dumps(value).decode() if isinstance(value, (list, dict)) else str(value)
    return text if len(text) <= MAX_CELL else f"{text[: MAX_CELL - 1]}…"
