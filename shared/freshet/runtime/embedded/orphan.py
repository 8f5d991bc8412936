"""Servers that a killed predecessor left behind.

Purpose: whoever holds the lock of a data directory may end what still runs on it. Guarantee: a pid from a
file is trusted only if its command line names our directory, because pids are given out again. Never: a
process that merely has the pid.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

GRACE = 5.0  # seconds between the polite signal and SIGKILL


def read_pid(file: Path) -> int | None:
    """The pid in the first line of a file, None when there is none."""
    with suppress(OSError, ValueError, IndexError):
        return int(file.read_text().splitlines()[0])
    return None


def runs(pid: int, mark: str) -> bool:
    """Whether a live process (no zombie) has this pid and `mark` in its command line."""
    return mark in _command_line(pid)


def end_orphan(pid: int, mark: str, *, polite: int = signal.SIGTERM) -> None:
    """End the process if it is the one that is meant, politely first."""
    for number in (polite, signal.SIGKILL):
        if not runs(pid, mark):
            return
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        _await_end(pid, mark)


def _await_end(pid: int, mark: str) -> None:
    deadline = time.monotonic() + GRACE
    while runs(pid, mark) and time.monotonic() < deadline:
        time.sleep(0.02)  # not our child, so there is nothing to wait on


def _command_line(pid: int) -> str:
    proc = Path(f"/proc/{pid}/cmdline")
    if Path("/proc/self").exists():
        with suppress(OSError):
            return proc.read_bytes().replace(b"\0", b" ").decode(errors="replace")  # empty for a zombie
        return ""
    shown = subprocess.run(  # noqa: S603  (a number)
        ["/bin/ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return shown.stdout
