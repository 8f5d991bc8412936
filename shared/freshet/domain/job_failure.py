"""What kinds of failure a job service has.

Purpose: one word for each, as an item's error has it in `class`. Guarantee: whether the user is to blame follows from
the word, and with it whether `retries` are used up. Never: Snowflake's own words.
"""

from __future__ import annotations

from enum import StrEnum


class JobFailure(StrEnum):
    """Why a job service failed."""

    USER = "user"  # the container ended with an exit code, or could not be started as it was told to
    TIMEOUT = "timeout"  # it ran longer than `timeout`
    OOM = "oom"  # it took more memory than its limit
    IMAGE = "image"  # its image can't be pulled, or has no valid name
    CAPACITY = "capacity"  # the pool had no room, no node, or was asleep
    NODE_LOST = "node_lost"  # the node went away under it
    INTERNAL = "internal"  # Snowflake says that it is to blame
    CANCELLED = "cancelled"  # somebody else stopped it, or maintenance did
    LOST = "lost"  # nobody knows what became of it
    PLATFORM = "platform"  # it failed, and nobody says why

    @property
    def is_users(self) -> bool:
        """Whether trying again uses up the user's retries."""
        return self in USERS

    @property
    def has_run(self) -> bool:
        """Whether the container was ever there, so that its time cost something."""
        return self not in (JobFailure.IMAGE, JobFailure.CAPACITY)


USERS = frozenset({JobFailure.USER, JobFailure.TIMEOUT, JobFailure.OOM, JobFailure.IMAGE})
