"""Children that do not outlive their parent.

Purpose: what `freshet up` or a worker's supervisor starts dies with it, also after kill -9. Guarantee: on
Linux the kernel sends SIGKILL the moment the *thread* that forked ends, so fork from a thread that lives as
long as the process. Never: a process that this one did not start.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

PR_SET_PDEATHSIG = 1  # linux/prctl.h

#: The variable in which a supervisor tells its child whom to die with, where the kernel offers no death
#: signal.
PARENT_VARIABLE = "FRESHET_PARENT_PID"


def death_pact(death_signal: int = signal.SIGKILL) -> Callable[[], None]:
    """What a freshly forked child of this process calls, so that the kernel ends it together with us.

    The parent may have died between fork and the call: then the child ends at once. Does nothing where there
    is no prctl. Everything is looked up here, before the fork: another thread may hold the loader's lock at
    that moment.
    """
    if not sys.platform.startswith("linux"):
        return lambda: None
    parent, prctl = os.getpid(), ctypes.CDLL(None).prctl

    def die_with_parent() -> None:
        prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return die_with_parent


def watch_parent() -> None:
    """End this process with the one named in FRESHET_PARENT_PID, on systems with kqueue (macOS, BSD)."""
    named = os.environ.get(PARENT_VARIABLE, "")
    if named.isdigit() and hasattr(select, "kqueue"):
        threading.Thread(target=_exit_after, args=(int(named),), name="parent", daemon=True).start()


def _exit_after(pid: int) -> None:
    queue = getattr(select, "kqueue")()  # noqa: B009  (absent from the types of Linux)
    change = getattr(select, "kevent")(  # noqa: B009
        pid,
        filter=getattr(select, "KQ_FILTER_PROC"),  # noqa: B009
        flags=getattr(select, "KQ_EV_ADD"),  # noqa: B009
        fflags=getattr(select, "KQ_NOTE_EXIT"),  # noqa: B009
    )
    with suppress(ProcessLookupError):  # it is gone already, which is what we wait for
        queue.control([change], 1)
    os._exit(1)
