"""One scheduler: leads or stands by, ticks when something is due, and sleeps until then.

Guarantees: an idle leader makes one statement in 10 seconds, a standby one in 5; a wake (apply, pause, resume) or the
next tick ends the sleep. Never: a tick of its own making (that is `freshet.scheduling`).
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from functools import partial

from freshet.bus import Bus
from freshet.runtime import fault
from freshet.runtime.clock import Clock, SystemClock
from freshet.runtime.service import PassResult
from freshet.scheduling import Ticked, Ticker
from freshet.storage.leadership import Leadership
from freshet.storage.requests import Requests

WAKE = "scheduler"
STANDBY = 5.0  # seconds between two tries to lead, jittered
LOOK = 10.0  # seconds; the longest sleep of a leader, should a wake be lost
REPAIR = 60.0  # seconds between two looks for held runs that nobody started


class Scheduler:
    """The pass of one copy of the service."""

    def __init__(
        self,
        *,
        ticker: Ticker,
        requests: Requests,
        leadership: Leadership,
        bus: Bus,
        stop: threading.Event,
        clock: Clock | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """`draw` in [0, 1) spreads the tries of standbys."""
        self._ticker = ticker
        self._requests = requests
        self._leadership = leadership
        self._bus = bus
        self._stop = stop
        self._clock = clock or SystemClock()
        self._draw = draw
        self._repaired = float("-inf")

    def once(self) -> PassResult:
        """One pass: what it did, and, for a standby, how long to wait."""
        if not self._leadership.campaign():
            return PassResult(wait=STANDBY * (0.75 + 0.5 * self._draw()))
        ticked = self._ticker.tick()
        fault.reach("tick.committed")
        self._tell(ticked)
        self._repair()
        if ticked.wait == 0.0:
            return PassResult(did=ticked.did)
        return PassResult(did=ticked.did, idle=partial(self._sleep, min(ticked.wait or LOOK, LOOK)))

    def _tell(self, ticked: Ticked) -> None:
        """Wake whoever goes on; the rows are there, so what is lost here is found by a repair."""
        if ticked.runs:
            self._bus.wake_dispatcher({run.partition for run in ticked.runs})
        if ticked.skipped:
            self._bus.announce([(each.outbox_id, each.body) for each in ticked.skipped])

    def _repair(self) -> None:
        if self._clock.monotonic() - self._repaired >= REPAIR:
            self._repaired = self._clock.monotonic()
            if released := self._requests.release_held():
                self._bus.wake_dispatcher({run.partition for run in released})

    def _sleep(self, seconds: float) -> None:
        """Until woken, stopped, or `seconds` have passed; the bus blocks for 2 seconds at the longest."""
        until = self._clock.monotonic() + seconds
        while not self._stop.is_set() and (left := until - self._clock.monotonic()) > 0:
            if self._bus.await_wake([WAKE], seconds=left) is not None:
                return
