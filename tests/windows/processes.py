"""Processes that leave traces. In a worker's child this module arms the points, for the child imports nothing else of
ours: `WINDOW_POINT` names the point, `WINDOW_REACH` the how many-th time it is reached (the first), `WINDOW_VICTIM` who
is killed there (the child, or the worker with it), and the file `WINDOW_MARK` is made by the kill, so that it happens
once.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from freshet import process
from freshet.runtime import fault

_times = 0


def _kill(reached: str) -> None:
    global _times  # noqa: PLW0603  (of this process, which is what dies)
    _times += reached == os.environ["WINDOW_POINT"]
    if reached != os.environ["WINDOW_POINT"] or _times < int(os.environ.get("WINDOW_REACH", "1")):
        return
    try:
        Path(os.environ["WINDOW_MARK"]).touch(exist_ok=False)
    except FileExistsError:
        return
    if os.environ["WINDOW_VICTIM"] == "worker":
        os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


_armed = fault.armed(_kill)
if "WINDOW_POINT" in os.environ:
    _armed.__enter__()  # for the life of this process


def _trace(context: Any) -> None:
    """That a try was begun; outside of every transaction, so nothing takes it back."""
    with Path(os.environ["WINDOW_TRACE"]).open("a", encoding="utf-8") as trace:
        trace.write(f"{context.task} {context.item} {context.attempt}\n")


@process("window_plain", version="1.0.0")
def plain(payload: int, context: Any) -> int:
    """Has no effect but its result."""
    _trace(context)
    return payload


@process("window_effect", version="1.0.0")
def effect(payload: int, context: Any) -> int:
    """Writes one row."""
    _trace(context)
    context.connection.execute(
        "insert into window_effect (run_id, item, attempt) values (%s, %s, %s)",
        (context.run_id, context.item, context.attempt),
    )
    return payload


@process("window_share", version="1.0.0", commit="bundle")
def share(payload: int, context: Any) -> int:
    """Writes one row in a transaction that it shares."""
    return effect(payload, context)


@process("window_count", version="1.0.0")
def count(payload: Any, context: Any) -> int:
    """How many rows there are when everything before it has ended."""
    _trace(context)
    (found,) = context.connection.execute(
        "select count(*) from window_effect where run_id = %s", (context.run_id,)
    ).fetchone()
    return int(found)
