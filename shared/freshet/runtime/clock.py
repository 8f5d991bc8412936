"""Time as a thing that can be handed over.

Purpose: passes and loops take a `Clock`, so that a test turns time instead of sleeping. Guarantee:
`monotonic` never goes back. Never: wall-clock time; every stored time is the database's.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """A monotonic clock in seconds, and waiting on it."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment of this process."""
        ...

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait until `event` is set, at most `seconds`; say whether it is set."""
        ...


class SystemClock:
    """The machine's own clock."""

    def monotonic(self) -> float:
        """Seconds since the machine started."""
        return time.monotonic()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Block on the event, at most `seconds`."""
        return event.wait(seconds)


class TurnedClock:
    """A clock that stands still until it is turned; a wait turns it by as much and returns at once."""

    def __init__(self, start: float = 0.0) -> None:
        """Begin at `start` seconds."""
        self.now = start
        self.waits: list[float] = []

    def monotonic(self) -> float:
        """The seconds it was turned to."""
        return self.now

    def turn(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self.now += seconds

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Let `seconds` pass unless the event is set; remember the wait."""
        if not event.is_set():
            self.waits.append(seconds)
            self.turn(seconds)
        return event.is_set()
