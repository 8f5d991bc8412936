"""`python -m tests.windows.service POINT [recorder]`: a worker, or a recorder, as it is, which is killed where it first
comes to the point.

Production code can't be armed from outside. This entry point arms it, as tests do, and runs the service's own main.
"""

from __future__ import annotations

import os
import signal
import sys

from freshet.runtime import fault
from freshet_recorder.main import main as record
from freshet_worker.main import main as work


def run(point: str, service: str = "worker") -> int:
    """The service's exit code, should the point not be reached."""

    def kill(reached: str) -> None:
        if reached == point:
            os.kill(os.getpid(), signal.SIGKILL)

    with fault.armed(kill):
        return record() if service == "recorder" else work([])


if __name__ == "__main__":
    sys.exit(run(*sys.argv[1:]))
