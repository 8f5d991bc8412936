"""`context.logger`: lines into the attempt's log.

Purpose: `context.logger.info("read %s rows", n)` and `context.logger.info("read", rows=n)` alike, as one line
`INFO read rows=…`. Guarantee: a log line never fails the item. Never: structlog or logging; importing one costs more
than a new child may take, and the other does not know fields.
"""

from __future__ import annotations

import sys
import traceback
from typing import Any


class AttemptLogger:
    """Writes to stderr, which is the attempt's log."""

    def __init__(self, fields: dict[str, Any] | None = None) -> None:
        self._fields = fields or {}

    def bind(self, **fields: Any) -> AttemptLogger:
        """The same with further fields in each line."""
        return AttemptLogger({**self._fields, **fields})

    def debug(self, event: Any, *args: Any, **fields: Any) -> None:
        """A line of level DEBUG."""
        self._write("DEBUG", event, args, fields)

    def info(self, event: Any, *args: Any, **fields: Any) -> None:
        """A line of level INFO."""
        self._write("INFO", event, args, fields)

    def warning(self, event: Any, *args: Any, **fields: Any) -> None:
        """A line of level WARNING."""
        self._write("WARNING", event, args, fields)

    def error(self, event: Any, *args: Any, **fields: Any) -> None:
        """A line of level ERROR."""
        self._write("ERROR", event, args, fields)

    def critical(self, event: Any, *args: Any, **fields: Any) -> None:
        """A line of level CRITICAL."""
        self._write("CRITICAL", event, args, fields)

    def exception(self, event: Any, *args: Any, **fields: Any) -> None:
        """A line of level ERROR and the traceback of the exception at hand."""
        self._write("ERROR", event, args, {**fields, "exc_info": True})

    def _write(self, level: str, event: Any, args: tuple[Any, ...], fields: dict[str, Any]) -> None:
        trace = traceback.format_exc() if fields.pop("exc_info", False) else ""
        pairs = "".join(f" {name}={_shown(value)}" for name, value in {**self._fields, **fields}.items())
        sys.stderr.write(f"{level} {_formatted(event, args)}{pairs}\n{trace}")


def _formatted(event: Any, args: tuple[Any, ...]) -> str:
    if not args:
        return str(event)
    try:
        return str(event % args)
    except (TypeError, ValueError):
        return " ".join(map(str, [event, *args]))


def _shown(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001  (a broken repr of the user's is no reason to fail the item)
        return f"<{type(error).__name__} in repr>"
