"""The one loop around every service's passes.

Purpose: signals, back-off, readiness and the crash rule live here once; a service hands over its passes,
public verbs that do one round and return what they did. Guarantees: SIGTERM or SIGINT lets the running pass
end, a second one exits now; a server that can't be reached is told once and waited for; an unknown error is
logged with its traceback, and the process crashes after `MAX_ERRORS` in a row, so that its supervisor starts
it afresh. Never: work of its own.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FrameType

from freshet.domain.errors import UnreachableError
from freshet.runtime import log
from freshet.runtime.clock import Clock, SystemClock
from freshet.runtime.health import HealthServer, Metrics, Ready, no_metrics
from freshet.runtime.parentage import watch_parent

FIRST_DELAY = 0.2  # seconds before the first retry
LAST_DELAY = 5.0  # seconds; no retry waits longer
MAX_ERRORS = 10  # unknown errors in a row before the process gives up


@dataclass(frozen=True, kw_only=True, slots=True)
class PassResult:
    """What one pass did."""

    did: int = 0  # units of work
    wait: float = 0.0  # seconds until the next pass is due; 0: at once, because the pass itself waits on its wake
    idle: Callable[[], object] | None = None  # waits for the wake when the pass is done, so that it counts as made


Once = Callable[[], PassResult]


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row: 0.2, 0.4, … 5."""
    return float(min(LAST_DELAY, FIRST_DELAY * 2 ** min(failures - 1, 10)))


class Loop:
    """Repeats one pass until `stop` is set."""

    def __init__(
        self, name: str, once: Once, *, stop: threading.Event | None = None, clock: Clock | None = None
    ) -> None:
        """`name` is the pass's word in logs; `stop` may be shared by several loops."""
        self.name = name
        self.once = once
        self.stop = stop or threading.Event()
        self.clock = clock or SystemClock()
        self.failures = 0  # in a row
        self.passes = 0
        self.missing: str | None = f"{name} has not made its first pass"
        self._unknown = 0  # unknown errors in a row
        self._log = log.logger(loop=name)

    def run(self) -> None:
        """Go round until stopped. Raises the pass's own error after `MAX_ERRORS` unknown ones in a row."""
        while not self.stop.is_set():
            wait = self.turn()
            if wait > 0:
                self.clock.wait(self.stop, wait)

    def turn(self) -> float:
        """One pass with its errors handled; returns the seconds to wait before the next."""
        try:
            result = self.once()
            if not self.failures:
                self.missing = None  # it serves; how long it now waits for its wake says nothing
            if result.idle is not None:
                result.idle()
        except UnreachableError as error:
            return self._unreachable(error)
        except Exception as error:
            if self._failed(error):
                raise
            return backoff(self.failures)
        self._succeeded()
        return result.wait

    def _unreachable(self, error: UnreachableError) -> float:
        if self.missing != error.message:
            self._log.warning("server_unreachable", message=error.message)
        self.missing = error.message
        self.failures += 1
        return backoff(self.failures)

    def _failed(self, error: Exception) -> bool:
        """Log; say whether this was one too many."""
        self.failures += 1
        self._unknown += 1
        self.missing = f"{self.name} failed: {type(error).__name__}"
        self._log.exception("pass_failed", message=str(error), failures=self.failures)
        return self._unknown >= MAX_ERRORS

    def _succeeded(self) -> None:
        if self.failures:
            self._log.info("pass_recovered", message=f"{self.name} works again.", failures=self.failures)
        self.failures = self._unknown = 0
        self.missing = None
        self.passes += 1


def run_service(
    name: str,
    passes: Mapping[str, Once] | Once,
    *,
    ready: Ready | None = None,
    metrics: Metrics = no_metrics,
    health_host: str = "127.0.0.1",
    health_port: int = 0,
    on_stop: Callable[[], None] | None = None,
    grace: float = 10.0,
    stop: threading.Event | None = None,
) -> int:
    """Run the passes until a signal; returns the exit code, 1 when a pass crashed.

    One pass runs in the main thread, several in a thread each. `ready` answers `/readyz` after every loop has
    made a pass; `on_stop` wakes passes that block (called once, from the signal handler: set a flag or write
    to a pipe there); `grace` seconds are given to the running passes. `health_port` 0 means no health server.
    """
    stop = stop or threading.Event()
    named = passes if isinstance(passes, Mapping) else {name: passes}
    loops = [Loop(each, once, stop=stop) for each, once in named.items()]
    watch_parent()
    with ExitStack() as stack:
        stack.enter_context(_signals(stop, on_stop))
        if health_port:
            health = HealthServer(host=health_host, port=health_port, ready=_all_ready(loops, ready), metrics=metrics)
            stack.enter_context(health)
        log.logger().info("service_started", message=f"{name} has started.", pid=os.getpid())
        crashed = _run_all(loops, stop, grace)
    log.logger().info("service_stopped", message=f"{name} has stopped.")
    return 1 if crashed else 0


def _run_all(loops: Sequence[Loop], stop: threading.Event, grace: float) -> bool:
    """Run every loop; returns whether one crashed."""
    crashed: list[str] = []

    def guarded(loop: Loop) -> None:
        try:
            loop.run()
        except Exception:  # noqa: BLE001  (the loop has logged it; the service ends because of it)
            crashed.append(loop.name)
            stop.set()

    if len(loops) == 1:
        guarded(loops[0])
        return bool(crashed)
    threads = [threading.Thread(target=guarded, args=(loop,), name=loop.name, daemon=True) for loop in loops]
    for thread in threads:
        thread.start()
    stop.wait()
    for thread in threads:
        thread.join(grace)
    return bool(crashed)


def _all_ready(loops: Sequence[Loop], ready: Ready | None) -> Ready:
    def missing() -> str | None:
        for loop in loops:
            if loop.missing is not None:
                return loop.missing
        return ready() if ready else None

    return missing


@contextmanager
def _signals(stop: threading.Event, on_stop: Callable[[], None] | None) -> Iterator[None]:
    """SIGTERM and SIGINT set `stop`; the second one exits now. Only the main thread may receive signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()
        if on_stop is not None:
            on_stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
