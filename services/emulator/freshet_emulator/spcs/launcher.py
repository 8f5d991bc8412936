"""Run by path as the first breath of a container: ties it to the emulator's life, then becomes the container's command.

A program of its own instead of a hook between fork and exec, because the emulator has many threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """`launcher.py PARENT_PID COMMAND…`"""
    parent, argv = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the call above
            os._exit(1)
    os.execvp(argv[0], argv)  # noqa: S606 - this is what a container is


if __name__ == "__main__":
    main()
