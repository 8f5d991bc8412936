"""Levels: workers and their time, queues, active runs, asked for when somebody looks.

Purpose: connects the observed metrics with where they are read. Guarantees: busy and idle come from one look, so they
add up to the wall time; a sum over workers never falls when one leaves. Never: asked without somebody looking.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from freshet.bus import Heartbeat
from freshet.runtime.clock import Clock, SystemClock
from freshet.telemetry import Telemetry
from freshet.telemetry.metrics import QUEUE, RUN_STATE, WORKER_STATE, WORKFLOW

#: Seconds for which one look serves all metrics of a scrape.
FRESH = 0.5
WORKER_STATES = ("available", "busy", "draining", "offline")
RUN_STATES = {"pending": "pending", "running": "executing"}

Key = TypeVar("Key")
Levels = Iterable[tuple[float, Mapping[str, str]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Total:
    busy_s: float
    idle_s: float


class WorkerTimes:
    """Sums over all workers that were seen, from the totals that each one tells."""

    def __init__(self, beats: Callable[[], Mapping[str, Heartbeat]], *, clock: Clock | None = None) -> None:
        """`beats` answers the heartbeats by worker; it may raise UnreachableError."""
        self._beats = beats
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._looked_at: float | None = None
        self._last: dict[str, _Total] = {}
        self._states: Counter[str] = Counter()
        self._busy_s = 0.0
        self._idle_s = 0.0

    def busy(self) -> Levels:
        """Seconds that workers were busy."""
        with self._lock:
            self._look()
            return [(self._busy_s, {})]

    def idle(self) -> Levels:
        """Seconds that workers waited."""
        with self._lock:
            self._look()
            return [(self._idle_s, {})]

    def count(self) -> Levels:
        """Workers by state."""
        with self._lock:
            self._look()
            return [(self._states[state], {WORKER_STATE: state}) for state in WORKER_STATES]

    def _look(self) -> None:
        now = self._clock.monotonic()
        if self._looked_at is not None and now - self._looked_at < FRESH:
            return
        beats = self._beats()
        self._looked_at = now
        self._states = Counter(beat.state for beat in beats.values())
        for worker, beat in beats.items():
            self._grow(worker, _Total(busy_s=beat.busy_s, idle_s=beat.idle_s))
        # Who is silent now may only be slow: its totals are kept, or its whole life would count again.

    def _grow(self, worker: str, now: _Total) -> None:
        last = self._last.get(worker, _Total(busy_s=0.0, idle_s=0.0))
        # Less than before: the worker began anew under its name.
        began_anew = now.busy_s + now.idle_s < last.busy_s + last.idle_s
        self._busy_s += now.busy_s if began_anew else max(0.0, now.busy_s - last.busy_s)
        self._idle_s += now.idle_s if began_anew else max(0.0, now.idle_s - last.idle_s)
        self._last[worker] = now


def observe_levels(
    telemetry: Telemetry,
    *,
    beats: Callable[[], Mapping[str, Heartbeat]],
    queues: Callable[[], Mapping[str, int]],
    runs: Callable[[], Mapping[tuple[str, str], int]],
    clock: Clock | None = None,
) -> WorkerTimes:
    """Connect the observed metrics: heartbeats by worker, items by queue, runs by (workflow, state)."""
    times = WorkerTimes(beats, clock=clock)
    telemetry.observe("freshet.worker.busy.time", times.busy)
    telemetry.observe("freshet.worker.idle.time", times.idle)
    telemetry.observe("cicd.worker.count", times.count)
    seen_queues: dict[str, int] = {}
    seen_runs: dict[tuple[str, str], int] = {}

    def depth() -> Levels:
        now = _with_zeros(seen_queues, queues())
        return [(items, {QUEUE: queue}) for queue, items in now.items()]

    def active() -> Levels:
        now = _with_zeros(seen_runs, runs())
        return [(count, {WORKFLOW: workflow, RUN_STATE: RUN_STATES[state]}) for (workflow, state), count in now.items()]

    telemetry.observe("freshet.queue.depth", depth)
    telemetry.observe("cicd.pipeline.run.active", active)
    return times


def _with_zeros(seen: dict[Key, int], now: Mapping[Key, int]) -> dict[Key, int]:
    """What stands at nothing now and stood at something before is told as 0, or a chart would keep its last value."""
    seen.update(dict.fromkeys(seen, 0))
    seen.update(now)
    return dict(seen)
