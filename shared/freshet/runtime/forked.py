"""A Python module as a forked child: `python -m module` without importing again what is imported already.

Purpose: `freshet up` imports the services' libraries once, and each service begins as a fork that shares
them; that saves a second of CPU and most of the memory per service. Guarantees: the child has its own
session, environment, path, log and default signals, none of our open files, and leaves without running our
exit handlers. Never: while another thread runs, whose locks the child would inherit held; never twice, a
restart is a fresh process.
"""

from __future__ import annotations

import atexit
import gc
import io
import os
import runpy
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

MAX_DESCRIPTOR = 4096  # beyond it nothing of ours is open


class ForkedProcess:
    """A forked child of this process, with the methods of Popen that are needed."""

    def __init__(self, pid: int) -> None:
        """Nobody else waits for this pid."""
        self.pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        """None while it runs, else its exit code (negative: the signal that ended it)."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, at most `timeout` seconds. Raises subprocess.TimeoutExpired."""
        if (code := self.poll()) is not None:
            return code
        watch = os.pidfd_open(self.pid)
        try:
            select.select([watch], [], [], timeout)
        finally:
            os.close(watch)
        if (code := self.poll()) is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return code

    def send_signal(self, sig: int) -> None:
        """Signal it, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


def can_fork() -> bool:
    """Whether a fork is safe now: on Linux (system libraries of macOS do not survive one), with no other thread.

    Threads are counted by the kernel, because a C extension may have started some that Python does not know; one that
    was joined is still counted for a moment, so it is looked at for up to a second.
    """
    deadline = time.monotonic() + 1.0
    while sys.platform.startswith("linux"):
        if len(list(Path("/proc/self/task").iterdir())) == 1:
            return True
        if time.monotonic() > deadline:
            break
        time.sleep(0.002)
    return False


def fork_module(
    module: str,
    *,
    environment: Mapping[str, str],
    path: Sequence[str],
    output: int,
    prepare: Callable[[], None],
) -> ForkedProcess:
    """Run `module` as `__main__` in a fork; its output goes to the file descriptor, `prepare` is called first."""
    sys.stdout.flush()
    sys.stderr.flush()
    gc.freeze()  # the collector shall not touch, and so copy, the pages that are shared
    pid = os.fork()
    if pid:
        return ForkedProcess(pid)
    try:
        prepare()
        _detach(output)
        _dress(module, environment, path)
        _run(module)
    finally:  # whatever happened: the child must never return into the parent's code
        os._exit(1)


def _detach(output: int) -> None:
    """A session, signals and files of its own."""
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.closerange(3, MAX_DESCRIPTOR)
    atexit._clear()  # noqa: SLF001  (the only way; multiprocessing does the same)


def _dress(module: str, environment: Mapping[str, str], path: Sequence[str]) -> None:
    """What the interpreter would have set up for `python -P -m module`."""
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module]
    # The first entry is the directory of the script that we were started by, or of the -m that we were.
    sys.path[:] = [*path, *(entry for entry in sys.path[1:] if entry not in path)]
    sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", 0), encoding="utf-8", write_through=True)
    sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", 0), encoding="utf-8", write_through=True)


def _run(module: str) -> NoReturn:
    code: object = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as left:
        code = left.code
    except BaseException:  # noqa: BLE001  (the interpreter would print it and leave, too)
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
    atexit._run_exitfuncs()  # noqa: SLF001  (os._exit would leave them out)
    os._exit(code if isinstance(code, int) else int(code is not None))
