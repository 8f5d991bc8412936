"""Processes of the end-to-end tests. Their effects are rows, so that "exactly once" can be counted."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from freshet import process


@process("e2e_table", version="1.0.0")
def make_table(payload: dict[str, Any], context: Any) -> int:
    context.connection.execute("create table if not exists e2e_effect (run_id text, item text, attempt int)")
    return int(payload["n"])


@process("e2e_effect", version="1.0.0")
def insert_effect(payload: int, context: Any) -> int:
    context.connection.execute(
        "insert into e2e_effect values (%s, %s, %s)", (str(context.run_id), str(context.item), context.attempt)
    )
    return payload


@process("e2e_count", version="1.0.0")
def count(payload: Any, context: Any) -> int:
    return len(payload)


@process("e2e_kill_once", version="1.0.0")
def kill_the_worker_once(payload: dict[str, Any], context: Any) -> str:
    """Kills its supervisor (its parent) the first time, after a write that must vanish with it."""
    context.connection.execute("create table if not exists e2e_kill (who text)")
    context.connection.execute("insert into e2e_kill values (%s)", (str(os.getpid()),))
    marker = Path(payload["marker"])
    if not marker.exists():
        marker.write_text("killed")
        os.kill(os.getppid(), signal.SIGKILL)
        signal.pause()
    return "survived"


@process("e2e_wait_for_file", version="1.0.0")
def wait_for_file(payload: dict[str, Any], context: Any) -> str:
    """Says that it has begun, and ends when it may."""
    Path(payload["begun"]).write_text(str(os.getppid()))
    gate = Path(payload["gate"])
    while not gate.exists():
        if context.cancelled():
            return "cancelled"
        os.sched_yield()
        signal.sigtimedwait([], 0.02)
    context.connection.execute("create table if not exists e2e_waited (run_id text)")
    context.connection.execute("insert into e2e_waited values (%s)", (str(context.run_id),))
    return "done"


@process("e2e_commit", version="1.0.0")
def commit_by_itself(payload: Any, context: Any) -> str:
    context.connection.execute("create table if not exists e2e_committed (x int)")
    context.connection.execute("COMMIT")
    return "never"


@process("e2e_nan", version="1.0.0")
def answer_nan(payload: Any, context: Any) -> float:
    return float("nan")


@process("e2e_nul", version="1.0.0")
def answer_nul(payload: Any, context: Any) -> str:
    return "a\0b"


@process("e2e_exit", version="1.0.0")
def leave(payload: Any, context: Any) -> None:
    os._exit(0)


@process("e2e_hang_in_c", version="1.0.0")
def hang_in_c(payload: Any, context: Any) -> None:
    import ctypes

    ctypes.CDLL(None).sleep(600)


@process("e2e_mixed", version="1.0.0")
def mixed(payload: int, context: Any) -> Any:
    """One item of ten misbehaves, each in another way; the others go on."""
    match payload:
        case 3:
            return float("nan")
        case 5:
            os._exit(0)
        case 7:
            raise ValueError("seven")
        case _:
            return payload
