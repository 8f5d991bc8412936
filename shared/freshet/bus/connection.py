"""Sessions with Redis, and the one place that turns its errors into ours.

Guarantees: every blocking read ends before the socket's own timeout (redis-py would otherwise retry it ten times and
report a timeout after a minute); errors leave as UnreachableError. Never: a connection before the first command.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from freshet.domain.errors import UnreachableError

Client = redis.Redis

#: Seconds; blocking reads must stay below it.
SOCKET_TIMEOUT = 5.0
#: The longest blocking read, in seconds.
LONGEST_BLOCK = 2.0


def connect(url: str, *, name: str) -> Client:
    """A client for a redis://, rediss:// or unix:// URL. Connects at its first command."""
    return redis.Redis.from_url(
        url,
        # RESP3 answers stream reads in another shape.
        protocol=2,
        socket_timeout=SOCKET_TIMEOUT,
        socket_connect_timeout=2.0,
        client_name=name.replace(" ", "-"),
        # One quick second try covers a connection that a restart has closed; longer waits belong to the caller.
        retry=Retry(ConstantBackoff(0.05), 1),
        health_check_interval=0,
    )


@contextmanager
def translated() -> Iterator[None]:
    """Redis errors become UnreachableError: there is none that trying again later could make worse."""
    try:
        yield
    except redis.RedisError as error:
        raise UnreachableError(f"Redis can't be reached: {error}") from error
