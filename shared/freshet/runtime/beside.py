"""Running something beside the work.

Purpose: who needs a thread of its own takes a `Spawn`, so that a test decides what runs when. Guarantee: what runs
beside the work keeps no process alive. Never: a loop, or an error's handling; both belong to what is run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol


class Running(Protocol):
    """Something that runs beside the work."""

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, at most `timeout` seconds."""
        ...


#: Starts what it is given under a name.
Spawn = Callable[[str, Callable[[], None]], Running]


def in_thread(name: str, run: Callable[[], None]) -> Running:
    """In a thread that dies with the process."""
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread
