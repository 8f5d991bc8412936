"""One container as a local process: start, output, stop.

Guarantees: the process leads a group of its own; when it ends, the rest of its group is killed, as in a container;
it dies with the emulator (on Linux). It must be started from a thread that lives as long as the emulator does,
because the kernel ties a process to the thread that started it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from freshet_emulator.spcs.output import OutputTail

CHUNK_BYTES = 64 * 1024
LAUNCHER = Path(__file__).with_name("launcher.py")
# A grandchild that left the group can hold the pipe open; its output is not waited for longer than this.
DRAIN_SECONDS = 1.0


class ContainerProcess:
    """A started container.

    `on_exit` is called once, from a thread of its own, with the exit code (128 + n for signal n).
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        output: OutputTail,
        on_exit: Callable[[int], None],
    ) -> None:
        self._output = output
        self._on_exit = on_exit
        self._kill_timer: threading.Timer | None = None
        self.ended = False
        self._process = subprocess.Popen(  # noqa: S603 - this is what a container is
            [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), *argv],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        threading.Thread(target=self._wait, name=f"container-{self._process.pid}", daemon=True).start()

    @property
    def pid(self) -> int:
        """The process id, which is also its group's."""
        return self._process.pid

    def stop(self, grace: float) -> None:
        """SIGTERM to the group now, SIGKILL after `grace` seconds. Calling it again changes nothing."""
        if self._kill_timer is not None:
            return
        self._kill_timer = threading.Timer(grace, self.kill)
        self._kill_timer.daemon = True
        self._kill_timer.start()
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to the group."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _wait(self) -> None:
        reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        reader.start()
        code = self._process.wait()
        self.ended = True
        self.kill()
        reader.join(DRAIN_SECONDS)
        if self._kill_timer is not None:
            self._kill_timer.cancel()
        self._on_exit(code if code >= 0 else 128 - code)

    def _read(self, pipe: IO[bytes]) -> None:
        with pipe:
            while chunk := os.read(pipe.fileno(), CHUNK_BYTES):
                self._output.append(chunk)
