"""A worker's signs of life.

Purpose: a thread beside the work that beats in Redis, holds the witness session in Postgres, and reports time.
Guarantees: it runs no user code, so nothing but the machine can hold it up; after a flush, a lost session or a long
sleep it makes itself known again; nothing is written to Postgres while the worker is idle. Never: a claim.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass

from freshet.bus import Bus, Heartbeat, QueueWorker
from freshet.domain.errors import FreshetError, UnreachableError
from freshet.execution.signals import Signals
from freshet.execution.times import Stopwatch
from freshet.runtime import log
from freshet.runtime.beside import Running, Spawn, in_thread
from freshet.runtime.clock import Clock
from freshet.storage.worker_store import Witness, WorkerRow, WorkerStore

#: Seconds between two reports of time, at least; none while nothing was done.
REPORT_EVERY = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Rhythm:
    """How often, in seconds."""

    heartbeat: float = 1.0
    dead_after: float = 3.0


def new_lock_key() -> int:
    """The key of a witness's advisory lock."""
    return secrets.randbits(63) - (1 << 62)


class Pulse:
    """One worker's."""

    def __init__(
        self,
        row: WorkerRow,
        *,
        store: WorkerStore,
        bus: Bus,
        queue_worker: QueueWorker,
        signals: Signals,
        stopwatch: Stopwatch,
        holding: Callable[[], int | None],
        clock: Clock,
        rhythm: Rhythm,
        spawn: Spawn = in_thread,
    ) -> None:
        """`holding` answers the bundle in hand; `spawn` runs the turns beside the work."""
        self._row = row
        self._store = store
        self._bus = bus
        self._queue_worker = queue_worker
        self._signals = signals
        self._stopwatch = stopwatch
        self._holding = holding
        self._clock = clock
        self._rhythm = rhythm
        self._witness: Witness | None = None
        self._started_at = ""
        self._end = threading.Event()
        self._spawn = spawn
        self._beside: Running | None = None
        self._reported_at = clock.monotonic()
        self._reported_busy = 0.0
        self._beat_at = clock.monotonic()
        self._missing: str | None = None

    def begin(self) -> None:
        """Take the lock, register, give the first sign of life, and go on in a thread. Raises UnreachableError."""
        self._hold_witness()
        self._register()
        self._beat()
        self._beside = self._spawn("pulse", self._run)

    def end(self) -> None:
        """Say goodbye: nobody need wait until this worker counts as dead."""
        self._end.set()
        if self._beside is not None:
            self._beside.join(self._rhythm.dead_after)
        self._attempt(lambda: self._report("offline", "offline"))
        self._attempt(lambda: self._bus.silence(self._row.id))
        self._attempt(self._queue_worker.leave)
        if self._witness is not None:
            self._witness.close()

    def _attempt(self, goodbye: Callable[[], None]) -> None:
        try:
            goodbye()
        except FreshetError as error:
            log.logger().info("goodbye_lost", message=error.message)

    def drain(self) -> None:
        """Let others know that this worker takes nothing more. Raises UnreachableError."""
        self._report("draining", "draining")

    def beat_once(self) -> None:
        """One turn of the thread."""
        try:
            self._hold_witness()
            if self._clock.monotonic() - self._beat_at > self._rhythm.dead_after:
                self._register()  # it slept, and may have been declared dead
            self._beat()
            self._report_time()
        except UnreachableError as error:
            if self._missing != error.message:
                log.logger().warning("server_unreachable", message=error.message)
            self._missing = error.message
        else:
            self._missing = None

    def _run(self) -> None:
        while not self._clock.wait(self._end, self._rhythm.heartbeat):
            try:
                self.beat_once()
            except Exception as error:  # noqa: BLE001  (a pulse that ended would be taken for a dead worker)
                # Without signs of life the worker's work is given to others: go on whatever it is.
                log.logger().exception("pulse_failed", message=str(error))

    def _register(self) -> None:
        self._started_at, fact = self._store.register(self._row, self._stopwatch.read())
        self._bus.announce([fact])

    def _beat(self) -> None:
        times = self._stopwatch.read()
        heartbeat = Heartbeat(
            worker=self._row.id,
            state=self._state(),
            busy_s=times.busy_s,
            idle_s=times.idle_s,
            wall_s=times.wall_s,
            pid=self._row.pid,
            hostname=self._row.hostname,
            queues=self._row.queues,
            started_at=self._started_at,
            bundle=self._holding(),
        )
        for bundle in self._bus.beat(heartbeat, expires_s=self._rhythm.dead_after):
            self._signals.stop_bundle(bundle)
        self._beat_at = self._clock.monotonic()
        self._queue_worker.beat(busy=self._stopwatch.is_busy)

    def _hold_witness(self) -> None:
        if self._witness is not None and not self._witness.ended():
            return
        if self._witness is not None:
            self._witness.close()
        self._witness = None
        witness = self._store.witness(self._row.lock_key)
        try:
            # False: the server has not noticed yet that the old session is gone, and so the lock is held in our name.
            taken = witness.take()
        except BaseException:
            # A session that lives and holds nothing would be taken for a witness from now on.
            witness.close()
            raise
        if taken:
            self._witness = witness
        else:
            witness.close()

    def _report_time(self) -> None:
        now, busy = self._clock.monotonic(), self._stopwatch.read().busy_s
        if busy > self._reported_busy and now - self._reported_at >= REPORT_EVERY:
            self._report(self._state(), "busy")

    def _report(self, state: str, event: str) -> None:
        times = self._stopwatch.read()
        fact = self._store.report_times(self._row.id, state, times, event=event)
        self._reported_at, self._reported_busy = self._clock.monotonic(), times.busy_s
        if fact is not None:
            self._bus.announce([fact])

    def _state(self) -> str:
        if self._signals.draining:
            return "draining"
        return "busy" if self._stopwatch.is_busy else "available"
