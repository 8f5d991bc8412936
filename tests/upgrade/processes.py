"""Processes that say who ran them. Earlier versions import this module, too: it uses `freshet.process` alone."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import freshet
from freshet import process

#: Seconds that an item waits for another worker to begin one.
PATIENCE = 60.0


def _write(context: Any) -> None:
    context.connection.execute(
        "insert into upgrade_effect (run_id, task, item, attempt) values (%s, %s, %s, %s)",
        (context.run_id, context.task, context.item, context.attempt),
    )


@process("upgrade_effect", version="1.0.0")
def effect(payload: Any, context: Any) -> Any:
    """Writes one row."""
    _write(context)
    return payload


@process("upgrade_plain", version="1.0.0")
def plain(payload: Any, context: Any) -> Any:
    """Writes nothing."""
    return payload


@process("upgrade_rows", version="1.0.0")
def rows(payload: Any, context: Any) -> Any:
    """Yields."""
    yield from range(3)


@process("upgrade_count", version="1.0.0")
def count(payload: Any, context: Any) -> int:
    """How many rows there are when everything before it has ended."""
    (found,) = context.connection.execute(
        "select count(*) from upgrade_effect where run_id = %s", (context.run_id,)
    ).fetchone()
    return int(found)


@process("upgrade_meet", version="1.0.0")
def meet(payload: Any, context: Any) -> str:
    """Writes one row, and ends when two workers have begun an item each; answers whose code this is."""
    place = Path(os.environ["UPGRADE_PLACE"])
    (place / str(os.getppid())).touch()
    end = time.monotonic() + PATIENCE
    while len(list(place.iterdir())) < 2 and time.monotonic() < end:
        time.sleep(0.02)
    _write(context)
    return str(freshet.__file__)
