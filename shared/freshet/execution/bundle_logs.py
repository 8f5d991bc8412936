"""What a bundle's items print, on its way to the tables.

Purpose: from the pipe of a child to the log of each attempt. Guarantees: a log that can't be written neither fails nor
delays a result. Never: a wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from freshet.domain.errors import FreshetError
from freshet.execution.attempt_log import AttemptLog, Demultiplexer
from freshet.execution.nursery import Nursery
from freshet.execution.payload import Preparation, Prepared
from freshet.runtime import log
from freshet.storage.worker_store import LogPart, WorkerStore

#: Seconds between two writes while the bundle goes on.
WRITE_EVERY = 1.0


class BundleLogs:
    """The logs of one claimed bundle."""

    def __init__(
        self,
        preparation: Preparation,
        items: Sequence[Prepared],
        *,
        nursery: Nursery,
        store: WorkerStore,
        limit: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`limit`: bytes of one attempt's log."""
        self._preparation = preparation
        self._items = items
        self._nursery = nursery
        self._store = store
        self._limit = limit
        self._monotonic = monotonic
        self._logs: dict[int, AttemptLog] = {}
        self._printed: Demultiplexer | None = None
        self._written_at = monotonic()

    @property
    def due(self) -> float | None:
        """When there is something to write; None if nothing was printed."""
        return self._written_at + WRITE_EVERY if self._logs else None

    def begin(self, position: int) -> None:
        """What the child prints from now on begins with the item at this position."""
        self._printed = Demultiplexer(self._nursery.child().mark, self._log_of, position=position)

    def listen(self) -> None:
        """Take in what was printed by now."""
        printed = self._nursery.child().printed()
        if printed and self._printed is not None:
            self._printed.feed(printed)

    def end(self) -> None:
        """The child prints no more, or another item's share begins."""
        self.listen()
        if self._printed is not None:
            self._printed.end()

    def write(self) -> None:
        """Write what is not written yet."""
        self._written_at = self._monotonic()
        parts: list[LogPart] = [part for each in self._logs.values() if (part := each.take()) is not None]
        if not parts:
            return
        run, task = self._preparation.run_id, self._preparation.task.path
        try:
            self._store.write_logs(run, task, self._preparation.claimed.claim, parts)
        except FreshetError as error:
            # A log is no reason to lose or to delay a result.
            log.logger(run_id=str(run), task=task).warning("log_lost", message=error.message)

    def _log_of(self, position: int) -> AttemptLog | None:
        if position >= len(self._items):
            return None
        if position not in self._logs:
            item = self._items[position]
            self._logs[position] = AttemptLog(item.index, item.attempt, limit=self._limit)
        return self._logs[position]
