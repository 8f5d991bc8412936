"""Executor of kind `sql` on Postgres: a script in one transaction.

Promise: exactly once on the engine's Postgres, where it is the item's own transaction; at least once on a named one,
whose commit comes before the report. The payload is bound as `:payload` (jsonb), the result is the last statement's
rows as a list of objects.
"""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

from freshet.execution.context import Context
from freshet.execution.contract import Item, Outcome, failed
from freshet.execution.values import ValueRefusedError, encode, encode_payload
from freshet.storage.session_script import run_script, run_script_at


class SqlExecutor:
    """Runs one script."""

    def __init__(self, text: str, *, limit: int, url: str | None = None) -> None:
        """`limit`: bytes of JSON of payload and result; `url`: of another Postgres than the engine's."""
        self._text = text
        self._limit = limit
        self._url = url

    def run(self, item: Item, context: Context) -> Outcome:
        """Run the script, on `context.connection` unless it is another Postgres'."""
        payload = encode_payload(item.payload, limit=self._limit)
        if self._url is None:
            rows = run_script(context.connection, self._text, payload)
        else:
            rows = run_script_at(self._url, self._text, payload)
        try:
            return Outcome(status="succeeded", result=encode(plain(rows), limit=self._limit))
        except ValueRefusedError as refusal:
            return failed(f"The rows of task {context.task} can't be kept: {refusal.message}.", type="ValueError")


def plain(value: Any) -> Any:
    """The types of a database as the JSON that Postgres would make of them (to_jsonb)."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
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
