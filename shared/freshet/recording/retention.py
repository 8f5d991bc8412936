"""Retention: the log's next days are there before they begin, its old days go, and so do old runs, and payloads of jobs
that are over.

Purpose: one pass, called at most once an hour. Guarantees: one recorder at a time does it; every step is short and
bounded, so a recorder that stops in the middle has done what it has done. Never: a run whose rerun is younger, or a
run that has not ended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from freshet.domain.errors import UnreachableError
from freshet.runtime import log
from freshet.storage.retention import Retention

#: Seconds between two passes.
EVERY = 3600.0
#: Days made ahead. One would do while a recorder runs; the rest is for when none does.
AHEAD = 3
#: Rows that one delete takes, and runs that one pass forgets.
CHUNK = 10_000
RUNS = 50
#: Payloads that one delete takes; each has up to 16 MiB.
PAYLOADS = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Pruned:
    """What one pass made and removed."""

    made: int = 0  # partitions
    dropped: int = 0  # partitions
    rows: int = 0  # of DEFAULT partitions and of the engine's tables
    runs: int = 0
    more: bool = False  # there is more to remove: the next pass is due at once


class RetentionPass:
    """Keeps the log and the engine's history as long as asked for."""

    def __init__(self, store: Retention, *, days: int) -> None:
        """`days` of log and of ended runs are kept, today's not counted."""
        self._store = store
        self._days = days
        self._log = log.logger(loop="retention")

    def once(self) -> Pruned:
        """Do what is due; nothing if another recorder is at it."""
        with self._store.alone() as alone:
            if not alone:
                return Pruned()
            made = sum(
                self._tried(f"{parent} of {day}", partial(self._store.make, parent, day))
                for parent, day in self._store.missing(ahead=AHEAD)
            )
            dropped = sum(
                self._tried(partition, partial(self._store.drop, partition))
                for partition in self._store.old(days=self._days)
            )
            rows = default_rows = self._store.prune_defaults(days=self._days, limit=CHUNK)
            runs = self._store.runs(days=self._days, limit=RUNS)
            rows += sum(self._forget(run) for run in runs) + self._forget_payloads()
        return Pruned(
            made=made, dropped=dropped, rows=rows, runs=len(runs), more=default_rows >= CHUNK or len(runs) == RUNS
        )

    def _forget(self, run: UUID) -> int:
        rows = 0
        while (gone := self._store.prune_run(run, limit=CHUNK)) > 0:
            rows += gone
        return rows

    def _forget_payloads(self) -> int:
        rows = 0
        while (gone := self._store.prune_payloads(limit=PAYLOADS)) > 0:
            rows += gone
        return rows

    def _tried(self, partition: str, step: Callable[[], bool]) -> bool:
        try:
            return step()
        except UnreachableError as error:
            # A long reader, most likely. If it is Postgres that is away, the next statement says so.
            self._log.warning("partition_kept", message=f"{partition} stays as it is for now: {error.message}")
            return False
