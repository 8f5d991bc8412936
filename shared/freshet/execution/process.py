"""Executor of kind `process`: a Python callable on the worker's Postgres session.

Promise: exactly once on the engine's Postgres. A generator's values become rows as they come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from inspect import isgenerator
from typing import Any

from freshet.execution.context import Context
from freshet.execution.contract import Item, Outcome, failed
from freshet.execution.registry import Process
from freshet.execution.values import ValueRefusedError, encode

#: A batch of yielded values is written when it has so many of them, or so many bytes.
BATCH, BATCH_BYTES = 1000, 1 << 18

PutValues = Callable[[int, int, bytes], None]  # item, first index, JSON array


class ProcessExecutor:
    """Calls one process."""

    def __init__(self, process: Process, *, put_values: PutValues, limit: int) -> None:
        """`limit`: bytes of JSON of one result or yielded value."""
        self._process = process
        self._put_values = put_values
        self._limit = limit

    def run(self, item: Item, context: Context) -> Outcome:
        """Call it and take what it returns or yields."""
        value = self._process.call(item.payload, context)
        if isgenerator(value):
            return self._rows(item, value, context)
        try:
            return Outcome(status="succeeded", result=encode(value, limit=self._limit))
        except ValueRefusedError as refusal:
            return failed(f"The result of task {context.task} can't be kept: {refusal.message}.", type="ValueError")

    def _rows(self, item: Item, values: Iterator[Any], context: Context) -> Outcome:
        written, size = 0, 0
        batch: list[bytes] = []
        for value in values:
            try:
                batch.append(encode(value, limit=self._limit))
            except ValueRefusedError as refusal:
                where = f"Value {written + len(batch)} that task {context.task} yields can't be kept"
                return failed(f"{where}: {refusal.message}.", type="ValueError")
            size += len(batch[-1])
            if len(batch) == BATCH or size > BATCH_BYTES:
                self._write(item, written, batch)
                written, size, batch = written + len(batch), 0, []
        if batch:
            self._write(item, written, batch)
        return Outcome(status="succeeded", rows=written + len(batch))

    def _write(self, item: Item, first: int, batch: list[bytes]) -> None:
        self._put_values(item.key, first, b"[" + b",".join(batch) + b"]")
