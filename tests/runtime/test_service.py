"""The loop: errors, back-off, stopping; logs and health pages."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import pytest
import structlog

from freshet.domain.errors import UnreachableError
from freshet.runtime import log
from freshet.runtime.clock import TurnedClock
from freshet.runtime.health import HealthServer
from freshet.runtime.service import MAX_ERRORS, Loop, PassResult, run_service


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[dict[str, object]]]]:
    # pytest's own, to be put back: `configure` sets another one.
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    stream = io.StringIO()
    log.configure("scheduler", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.reset_defaults()


def _loop(steps: list[object], *, clock: TurnedClock) -> Loop:
    """A loop whose pass raises or returns each step in turn, and then stops it."""
    remaining = iter(steps)
    stop = threading.Event()

    def once() -> PassResult:
        step = next(remaining, None)
        if isinstance(step, Exception):
            raise step
        if step is None:
            stop.set()
        return PassResult(wait=float(step) if isinstance(step, (int, float)) else 0.0)

    return Loop("tick", once, stop=stop, clock=clock)


def test_an_unreachable_server_is_told_once_and_waited_for(
    lines: Callable[[], list[dict[str, object]]],
) -> None:
    clock = TurnedClock()
    gone = UnreachableError("Postgres can't be reached.")
    _loop([gone] * 7 + [1.5], clock=clock).run()
    assert clock.waits == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 1.5]
    assert [line["event"] for line in lines()] == ["server_unreachable", "pass_recovered"]
    assert lines()[0]["message"] == "Postgres can't be reached."


def test_an_unknown_error_is_logged_with_its_traceback_and_tried_again(
    lines: Callable[[], list[dict[str, object]]],
) -> None:
    clock = TurnedClock()
    loop = _loop([ValueError("odd"), 0.0], clock=clock)
    loop.run()
    assert loop.missing is None
    assert lines()[0]["event"] == "pass_failed"
    assert "ValueError: odd" in str(lines()[0]["exception"])


def test_too_many_unknown_errors_in_a_row_crash_the_process(
    lines: Callable[[], list[dict[str, object]]],
) -> None:
    loop = _loop([ValueError("odd")] * MAX_ERRORS, clock=TurnedClock())
    with pytest.raises(ValueError, match="odd"):
        loop.run()
    assert loop.passes == 0


def test_an_outage_never_crashes_the_process(lines: Callable[[], list[dict[str, object]]]) -> None:
    loop = _loop([UnreachableError()] * (3 * MAX_ERRORS), clock=TurnedClock())
    loop.run()
    assert loop.passes == 1


def test_a_pass_that_waits_for_its_wake_counts_as_made(lines: Callable[[], list[dict[str, object]]]) -> None:
    seen: list[str | None] = []
    loop = Loop("tick", lambda: PassResult(idle=lambda: seen.append(loop.missing)))
    assert loop.missing is not None
    loop.turn()
    assert seen == [None]


def test_a_wait_that_fails_is_told_once_however_often(lines: Callable[[], list[dict[str, object]]]) -> None:
    def gone() -> None:
        raise UnreachableError("Redis can't be reached.")

    loop = Loop("tick", lambda: PassResult(idle=gone))
    assert [loop.turn() for _ in range(4)] == [0.2, 0.4, 0.8, 1.6]
    assert [line["event"] for line in lines()] == ["server_unreachable"]
    assert loop.missing == "Redis can't be reached."


def test_a_crashed_pass_ends_the_service_and_its_other_passes(
    lines: Callable[[], list[dict[str, object]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("freshet.runtime.service.MAX_ERRORS", 1)
    stop = threading.Event()

    def broken() -> PassResult:
        raise ValueError("odd")

    def patient() -> PassResult:
        stop.wait(30)
        return PassResult()

    assert run_service("dispatcher", {"fold": broken, "ring": patient}, stop=stop) == 1


def test_a_thread_that_nobody_guards_ends_in_one_line_of_the_log(lines: Callable[[], list[dict[str, object]]]) -> None:
    def fail() -> None:
        raise ConnectionError("nobody\nanswers")

    thread = threading.Thread(target=fail, name="overdue")
    thread.start()
    thread.join()
    (line,) = lines()
    assert (line["event"], line["level"], line["thread"]) == ("thread_failed", "error", "overdue")
    assert "ConnectionError: nobody\nanswers" in str(line["exception"])


SERVICE = """
import sys, time
from freshet.runtime import log
from freshet.runtime.service import PassResult, run_service
log.configure("worker")
def once():
    print("pass", flush=True)
    if sys.argv[1] == "slow":
        end = time.monotonic() + 60
        while time.monotonic() < end:
            time.sleep(0.05)
    return PassResult(wait=60)
sys.exit(run_service("worker", once, on_stop=lambda: print("stopping", flush=True)))
"""


def _start(mode: str) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", SERVICE, mode], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "pass\n"
    return child


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_service_cleanly(number: signal.Signals) -> None:
    child = _start("idle")
    child.send_signal(number)
    out, err = child.communicate(timeout=20)
    assert child.returncode == 0
    assert out == "stopping\n"
    assert [json.loads(line)["event"] for line in err.splitlines()] == ["service_started", "service_stopped"]


def test_a_second_signal_exits_now() -> None:
    child = _start("slow")
    assert child.stdout is not None
    child.send_signal(signal.SIGTERM)
    assert child.stdout.readline() == "stopping\n"
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=20)
    assert child.returncode == 128 + signal.SIGTERM


def test_a_line_of_a_library_comes_out_as_json(lines: Callable[[], list[dict[str, object]]]) -> None:
    import logging

    logging.getLogger("rq.worker").warning("lost %s", "a job")
    log.logger(run_id="r1").debug("too_quiet", message="Not shown.")
    (line,) = lines()
    assert (line["event"], line["message"], line["service"]) == ("rq.worker", "lost a job", "scheduler")


def _get(port: int, page: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_health_pages_say_what_is_missing() -> None:
    missing: list[str | None] = ["Redis can't be reached."]

    def metrics() -> tuple[bytes, str]:
        raise RuntimeError("no registry")

    with HealthServer(ready=lambda: missing[0], metrics=metrics) as server:
        assert _get(server.port, "/healthz") == (200, "ok\n")
        assert _get(server.port, "/readyz") == (503, "Redis can't be reached.\n")
        missing[0] = None
        assert _get(server.port, "/readyz?verbose") == (200, "ready\n")
        assert _get(server.port, "/metrics") == (503, "RuntimeError\n")
        assert _get(server.port, "/else")[0] == 404


PARENT = """
import os, sys, time
from freshet.runtime.parentage import death_pact
die_with_parent = death_pact()
child = os.fork()
if child == 0:
    die_with_parent()
    print(os.getpid(), flush=True)
    time.sleep(60)
    os._exit(0)
time.sleep(60)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the death signal is Linux's")
def test_a_child_dies_with_its_killed_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    watch = os.pidfd_open(child)
    parent.kill()
    parent.wait()
    import select

    ready, _, _ = select.select([watch], [], [], 10)
    os.close(watch)
    parent.stdout.close()
    assert ready, "the child outlived its parent"
