"""Executor of kind `sql` on the engine's Postgres: a script in the item's own transaction.

Promise: exactly once. The payload is bound as `:payload` (jsonb), the result is the last statement's rows as a list
of objects.
"""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

from freshet.execution.context import Context
from freshet.execution.contract import Item, Outcome, failed
from freshet.execution.values import ValueRefusedError, encode, encode_payload
from freshet.storage.session_script import run_script


class SqlExecutor:
    """Runs one script."""

    def __init__(self, text: str, *, limit: int) -> None:
        """`limit`: bytes of JSON of payload and result."""
        self._text = text
        self._limit = limit

    def run(self, item: Item, context: Context) -> Outcome:
        """Run the script on `context.connection`."""
        rows = run_script(context.connection, self._text, encode_payload(item.payload, limit=self._limit))
        try:
            return Outcome(status="succeeded", result=encode(_plain(rows), limit=self._limit))
        except ValueRefusedError as refusal:
            return failed(f"The rows of task {context.task} can't be kept: {refusal.message}.", type="ValueError")


def _plain(value: Any) -> Any:
    """Postgres' own types as the JSON that Postgres would make of them (to_jsonb)."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return _scalar(value)


def _scalar(value: Any) -> Any:
    match value:
        case Decimal() if value.is_finite():
            return int(value) if value == value.to_integral_value() else float(value)
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat()
        case dt.timedelta() | uuid.UUID() | Decimal():
            return str(value)
        case bytes():
            return "\\x" + value.hex()
    return value
