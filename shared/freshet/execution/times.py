"""A worker's time: busy or idle, never both, never neither.

Guarantee: busy + idle = wall exactly, because each moment between two readings of the clock goes to one of the two
sums and wall is their sum. Totals since the start, never differences. Safe to share between threads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from freshet.runtime.clock import Clock
from freshet.storage.worker_store import Times


class Stopwatch:
    """Counts from its making on."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._since = clock.monotonic()
        self._is_busy = False
        self._busy = self._idle = 0.0

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Time spent in here is busy."""
        self._switch(busy=True)
        try:
            yield
        finally:
            self._switch(busy=False)

    @property
    def is_busy(self) -> bool:
        """Whether somebody is inside `busy()`."""
        return self._is_busy

    def read(self) -> Times:
        """Totals in seconds."""
        with self._lock:
            self._add()
            return Times(busy_s=self._busy, idle_s=self._idle, wall_s=self._busy + self._idle)

    def _switch(self, *, busy: bool) -> None:
        with self._lock:
            self._add()
            self._is_busy = busy

    def _add(self) -> None:
        now = self._clock.monotonic()
        if self._is_busy:
            self._busy += now - self._since
        else:
            self._idle += now - self._since
        self._since = now
