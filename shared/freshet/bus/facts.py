"""Reading the stream of facts in a consumer group.

Guarantees: each entry reaches one consumer of the group, again after a consumer's death until it is acknowledged; the
group is made again at `0` after a flush. Never: the truth; an entry names an outbox row, and the row's delete is what
makes recording happen once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis

from freshet.bus.bus import FACTS
from freshet.bus.connection import LONGEST_BLOCK, Client, connect, translated

#: Milliseconds after which another consumer takes over what one has read and not acknowledged.
ABANDONED_MS = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """A stream entry: the outbox row that it announces."""

    entry: str
    outbox_id: int
    body: bytes


class FactReader:
    """One consumer of one group."""

    def __init__(self, url: str, *, group: str, consumer: str) -> None:
        self._group = group
        self._consumer = consumer
        self._client: Client = connect(url, name=f"freshet {group}")

    def read(self, *, seconds: float = LONGEST_BLOCK, count: int = 200) -> list[Fact]:
        """New entries, blocking up to `seconds` (2 at the longest). Raises UnreachableError."""
        block = max(1, int(min(seconds, LONGEST_BLOCK) * 1000))
        with translated():
            try:
                answer: Any = self._client.xreadgroup(
                    self._group, self._consumer, {FACTS: ">"}, count=count, block=block
                )
            except redis.ResponseError as error:
                # NOGROUP at the first read, and "stream key no longer exists" for a read that a flush interrupted.
                if not any(word in str(error) for word in ("NOGROUP", "UNBLOCKED", "no longer exists")):
                    raise
                self._make_group()
                return []
        return [_fact(entry, fields) for entry, fields in (answer[0][1] if answer else [])]

    def take_over(self, *, count: int = 200) -> list[Fact]:
        """Entries that a dead consumer of the group has read and not acknowledged."""
        with translated():
            try:
                answer: Any = self._client.xautoclaim(
                    FACTS, self._group, self._consumer, min_idle_time=ABANDONED_MS, count=count
                )
            except redis.ResponseError:
                self._make_group()
                return []
        return [_fact(entry, fields) for entry, fields in answer[1] if fields]

    def acknowledge(self, facts: list[Fact]) -> None:
        """The entries need not come again."""
        if facts:
            with translated():
                self._client.xack(FACTS, self._group, *(fact.entry for fact in facts))

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _make_group(self) -> None:
        try:
            # From the beginning: after a flush, what came before the group did is new to us.
            self._client.xgroup_create(FACTS, self._group, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise


def _fact(entry: bytes, fields: dict[bytes, bytes]) -> Fact:
    return Fact(entry=entry.decode(), outbox_id=int(fields[b"id"]), body=fields[b"body"])
