"""What other threads and signal handlers tell the supervisor's main thread.

Purpose: to interrupt its waiting. Guarantee: everything here may be called from a signal handler or another thread.
Never: a decision.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from contextlib import suppress


class Signals:
    """A pipe that wakes, a set of bundles to stop, and the moment by which a draining worker ends."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self.readable, self._writable = os.pipe()
        os.set_blocking(self.readable, False)
        os.set_blocking(self._writable, False)
        self._stops: set[int] = set()
        self.drain_deadline: float | None = None

    @property
    def draining(self) -> bool:
        """Whether the worker takes nothing more."""
        return self.drain_deadline is not None

    @property
    def overdue(self) -> bool:
        """Whether a draining worker's time is up."""
        return self.drain_deadline is not None and self._monotonic() >= self.drain_deadline

    def drain(self, grace: float) -> None:
        """Take nothing more, and end within `grace` seconds."""
        if self.drain_deadline is None:
            self.drain_deadline = self._monotonic() + grace
        self.wake()

    def stop_bundle(self, bundle: int) -> None:
        """This bundle is said to be no longer ours."""
        self._stops.add(bundle)
        self.wake()

    def take_stop(self, bundle: int) -> bool:
        """Whether somebody has said so."""
        said = bundle in self._stops
        self._stops.discard(bundle)
        return said

    def wake(self) -> None:
        """Interrupt a wait."""
        with suppress(BlockingIOError):  # full: it is awake already
            os.write(self._writable, b"w")

    def clear(self) -> None:
        """Forget the wake-ups that have been heeded."""
        with suppress(BlockingIOError):
            while os.read(self.readable, 1024):
                pass

    def wait(self, seconds: float) -> None:
        """Wait until woken, at most so long."""
        select.select([self.readable], [], [], seconds)
        self.clear()

    def close(self) -> None:
        """Let go of the pipe."""
        os.close(self.readable)
        os.close(self._writable)
