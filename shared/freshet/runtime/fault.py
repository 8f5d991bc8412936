"""Named, inert points at the windows in which a crash would hurt.

Purpose: a test arms them, to kill, to stop or to fail a process exactly between two steps. Guarantees: unarmed, a point
is one comparison; nothing in production code, no setting and no variable of the environment arms one. Never: behaviour
of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

#: Every point, and the window that it stands in. docs/guarantees.md names the test of each.
POINTS: Final = {
    "request.committed": "a run, cancel or rerun was asked for and committed, nobody is woken yet",
    "tick.committed": "the scheduler committed the runs of due ticks, nobody is woken yet",
    "fold.taken": "the dispatcher holds its runs and has folded their reports, nothing is decided or committed",
    "fold.decided": "the decision is written, the commit has not begun",
    "fold.committed": "the decision is committed, none of its bundles is published",
    "fold.published": "the bundles are published, the facts are not announced",
    "refill.marked": "bundles of the backlog are marked as published, no message is in Redis",
    "ring.flush_seen": "an emptied Redis is marked as ours, its unclaimed bundles are not in the backlog yet",
    "ring.released": "bundles that were due joined the backlog, they are not published",
    "ring.expired": "bundles past their deadline were ended, their workers were not told",
    "ring.buried": "a dead worker's bundles were ended, no dispatcher was woken",
    "worker.popped": "a message was taken off its queue, the bundle is not claimed",
    "worker.claimed": "a bundle is claimed, no item has begun",
    "worker.heard": "an outcome is known to the supervisor, it is not committed",
    "worker.reported": "outcomes are committed, the dispatcher was not woken",
    "eager.decided": "a worker has reported, decided and claimed what follows, the commit has not begun",
    "eager.committed": "a worker's own decision is committed, nothing of it is published, begun or announced",
    "item.ran": "the user's code returned, its writes and its report are not committed",
    "item.committed": "an item's writes and its report are committed, its supervisor does not know it",
    "shared.ran": "items that share a transaction have returned, nothing of them is committed",
    "shared.committed": "items that shared a transaction are committed, their supervisor does not know it",
    "job.named": "a job's name is stored, the job is not submitted",
    "job.submitted": "a job is submitted, its bundle is not a watch yet",
    "watch.logged": "lines of a job's log are written, what else its end brings is not",
    "watch.judged": "a job was seen to have ended, its watch is not ended",
    "watch.ended": "a watch was ended and reported, nobody was woken",
    "query.named": "a script's tag is stored, the script is not submitted",
    "query.submitted": "a script is submitted, its bundle is not a watch yet",
    "query.judged": "a script was seen to have ended, its watch is not ended",
    "query.ended": "a script's watch was ended and reported, nobody was woken",
    "record.read": "facts were read from the stream, nothing is recorded",
    "record.committed": "facts are recorded, their entries are not acknowledged",
    "mirror.read": "rows of finished runs were read, none of them is in Snowflake",
    "mirror.written": "rows are committed in Snowflake, their runs are not marked as mirrored",
    "mirror.marked": "runs are marked as mirrored, the mark of those that need not be looked at is not moved",
}

Hook = Callable[[str], None]

_hook: Hook | None = None


def reach(point: str) -> None:
    """The program is at this point. Does nothing unless a test armed the points."""
    if _hook is not None:
        _hook(point)


@contextmanager
def armed(hook: Hook) -> Iterator[None]:
    """For tests: while it lasts, every point that is reached calls `hook`, which may raise, kill or wait."""
    global _hook  # noqa: PLW0603  (one process, one hook: what it stands for is the process itself)
    before, _hook = _hook, hook
    try:
        yield
    finally:
        _hook = before
