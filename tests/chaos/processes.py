"""User code under chaos. Each effect is a row that names its item and its attempt, so that it can be counted."""

from __future__ import annotations

import time
from typing import Any

from freshet import process

EFFECTS = """
create table if not exists chaos_effect (
    id bigint generated always as identity primary key,
    run_id uuid not null,
    task text not null,
    item text not null,
    attempt int not null,
    seen bigint,
    at timestamptz not null default clock_timestamp()
)
"""
_INSERT = "insert into chaos_effect (run_id, task, item, attempt, seen) values (%s, %s, %s, %s, %s)"


def _leave(context: Any, seen: int | None) -> None:
    """The item's effect."""
    context.connection.execute(_INSERT, (str(context.run_id), context.task, str(context.item), context.attempt, seen))


@process("chaos_width", version="1.0.0")
def width(payload: Any, context: Any) -> int:
    """How wide the map after it is: the run's parameter."""
    _leave(context, None)
    return int(context.params["n"])


@process("chaos_row", version="1.0.0")
def row(payload: int, context: Any) -> int:
    """An item of a map."""
    _leave(context, payload)
    return payload


@process("chaos_slow_row", version="1.0.0")
def slow_row(payload: int, context: Any) -> int:
    """An item that takes a while, before its effect and while Postgres works."""
    time.sleep(0.02)
    _leave(context, payload)
    context.connection.execute("select pg_sleep(0.05)")
    return payload


@process("chaos_count", version="1.0.0")
def count(payload: Any, context: Any) -> int:
    """A fan-in: how many results there are."""
    found = sum(1 for each in payload if each is not None)
    _leave(context, found)
    return found


@process("chaos_step", version="1.0.0")
def step(payload: Any, context: Any) -> int:
    """A step of a chain: one more than what its parent answered."""
    seen = payload if isinstance(payload, int) else 0
    _leave(context, seen)
    return seen + 1


@process("chaos_last", version="1.0.0")
def last(payload: Any, context: Any) -> None:
    """A `finally` task."""
    _leave(context, None)


@process("chaos_flaky", version="1.0.0")
def flaky(payload: int, context: Any) -> int:
    """Fails in its first tries, after a write that must vanish."""
    _leave(context, payload)
    if context.attempt <= payload % 3:
        raise RuntimeError(f"attempt {context.attempt} of item {payload} fails, as it should")
    return payload


@process("chaos_broken", version="1.0.0")
def broken(payload: int, context: Any) -> int:
    """One item of five fails for good."""
    _leave(context, payload)
    if payload % 5 == 0:
        raise RuntimeError(f"item {payload} fails, as it should")
    return payload


@process("chaos_hold", version="1.0.0")
def hold(payload: int, context: Any) -> None:
    """The first items take no time, so that bundles grow; the others hold their worker's claim."""
    if payload >= int(context.params["quick"]):
        time.sleep(float(context.params["seconds"]))
