"""What a process learns about its call, and what it may use.

Purpose: the second argument of every process. Guarantee: nothing connects before `connection` is asked for. Never: a
way into the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from freshet.execution.logger import AttemptLogger
from freshet.storage.session import ProcessConnection


@dataclass(frozen=True, kw_only=True)
class Context:
    """One call of a process."""

    run_id: str
    workflow: str
    task: str  # the dotted path
    item: str  # the dotted index path; empty for a plain task of the run's own scope
    attempt: int  # from 1
    params: Mapping[str, Any]
    scheduled_for: datetime | None  # the tick's or backfill's time, UTC
    logger: AttemptLogger  # what it and print() write is the attempt's log
    _connection: Callable[[], ProcessConnection] = field(repr=False)
    _cancelled: Callable[[], bool] = field(repr=False)

    @property
    def connection(self) -> ProcessConnection:
        """A psycopg connection. What is written on it is committed together with the item's report, or not at all."""
        return self._connection()

    def cancelled(self) -> bool:
        """Whether the item was asked to stop; two seconds later its process is killed."""
        return self._cancelled()
