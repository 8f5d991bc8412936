"""The Redis of a simulation: one server's state, and the few commands that the bus speaks.

Purpose: the bus's twins stand on it as the bus stands on Redis. Guarantees: a command happens as a whole; a key is
gone once its time has passed by the injected clock; `restart` takes the newest commands back, as a server without an
append-only file does, and a transaction goes back as a whole. Never: a wait, a thread, a clock or a chance of its own.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

from freshet.domain.errors import UnreachableError
from freshet.testing.twins.passage import Passage, verb

#: Commands that a restart can take back.
REMEMBERED: Final = 10_000

StreamId = tuple[int, int]  # milliseconds, and a count within them
Entry = tuple[StreamId, int, bytes]  # with the outbox row's id and body
Delivery = tuple[str, float]  # to which consumer, and when by the server's clock
Listener = Callable[[Mapping[str, Any]], None]
_Undo = tuple[dict[str, Any], str, Any]


class _Absent:
    """No value."""


_ABSENT: Final = _Absent()
ZERO: Final[StreamId] = (0, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """A consumer group: how far it has read, and what it has not acknowledged, in the stream's order."""

    read: StreamId = ZERO
    pending: Mapping[StreamId, Delivery] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """A capped stream."""

    entries: tuple[Entry, ...] = ()
    groups: Mapping[str, Group] = field(default_factory=dict)

    def after(self, entry: StreamId, count: int) -> tuple[Entry, ...]:
        """The first entries past this one."""
        start = bisect_right(self.entries, entry, key=lambda each: each[0])
        return self.entries[start : start + count]


class RedisTwin:
    """One server. `down` refuses every command, `flush` and `restart` do what they do to a real one."""

    def __init__(self, clock: Callable[[], float], *, remembered: int = REMEMBERED) -> None:
        """`clock`: monotonic seconds, shared with nobody but expiries; `remembered`: commands a restart can lose."""
        self.clock = clock
        self.down = False
        self.strings: dict[str, object] = {}
        self.lists: dict[str, tuple[object, ...]] = {}
        self.streams: dict[str, Stream] = {}
        self._expiries: dict[str, float] = {}
        self._subscribers: dict[str, list[Listener]] = {}
        self._journal: deque[list[_Undo]] = deque(maxlen=remembered)
        # Over a flush and a restart too: the real one's ids are times, and those have passed.
        self._last = ZERO
        self._marks = 0  # likewise

    def new_mark(self) -> bytes:
        """One that was never given before: what is random at the real one, and the same in each history of a seed."""
        self._marks += 1
        return b"mark %d" % self._marks

    def check(self) -> None:
        """Raises UnreachableError while the server is down."""
        if self.down:
            raise UnreachableError("Redis can't be reached: it is down.")

    def flush(self) -> None:
        """FLUSHALL: every key is gone; who listens for commands still does."""
        for table in (self.strings, self.lists, self.streams, self._expiries):
            table.clear()
        self._journal.clear()

    def restart(self, *, lose: int | None = None) -> None:
        """Come up again without the newest `lose` commands that wrote; None: without anything."""
        self.down = False
        if lose is None:
            self.flush()
            return
        for _ in range(min(lose, len(self._journal))):
            for table, key, before in reversed(self._journal.pop()):
                _set(table, key, before)

    @property
    def commands(self) -> int:
        """How many commands a restart can take back."""
        return len(self._journal)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """MULTI … EXEC: these commands are kept or lost together."""
        journal, self._journal = self._journal, deque()
        try:
            yield
        finally:
            together = [undo for command in self._journal for undo in command]
            self._journal = journal
            self._journal.append(together)

    # --- strings ----------------------------------------------------------------------------------------------------

    def set(self, key: str, value: object, *, seconds: float | None = None, only_new: bool = False) -> bool:
        """SET, with PX and NX; whether it was set."""
        if only_new and self.get(key) is not None:
            return False
        self._write((self.strings, key, value), (self._expiries, key, self._until(seconds)))
        return True

    def get(self, key: str) -> Any:
        """GET: the value, or None."""
        return self.strings.get(key) if self._alive(key) else None

    def keys(self, prefix: str) -> list[str]:
        """SCAN with MATCH: the strings' keys that begin so."""
        return [key for key in self.strings if key.startswith(prefix) and self._alive(key)]

    def delete(self, key: str) -> None:
        """DEL."""
        if key in self.strings or key in self.lists:
            self._write(*((table, key, _ABSENT) for table in (self.strings, self.lists, self._expiries)))

    def ttl(self, key: str) -> float | None:
        """PTTL in seconds; None when there is no such key or it stays."""
        return self._expiries[key] - self.clock() if self._alive(key) and key in self._expiries else None

    # --- lists ------------------------------------------------------------------------------------------------------

    def push(self, key: str, *values: object, newest: int | None = None, seconds: float | None = None) -> int:
        """RPUSH, then LTRIM to the `newest` and EXPIRE if asked for; the list's length."""
        items = (*self.items(key), *values)
        items = items if newest is None else items[-newest:]
        self._write((self.lists, key, items), (self._expiries, key, self._until(seconds)))
        return len(items)

    def push_front(self, key: str, value: object) -> None:
        """LPUSH."""
        self._write((self.lists, key, (value, *self.items(key))))

    def items(self, key: str) -> tuple[Any, ...]:
        """LRANGE 0 -1."""
        return self.lists[key] if key in self.lists and self._alive(key) else ()

    def pop(self, keys: Iterable[str]) -> tuple[str, Any] | None:
        """LPOP from the first of the lists that holds anything: which, and what."""
        for key in keys:
            if items := self.items(key):
                self._write((self.lists, key, items[1:] or _ABSENT))
                return key, items[0]
        return None

    def holds(self, keys: Iterable[str]) -> bool:
        """Whether any of the lists holds anything."""
        # Asked of every waiting client at every step, and hardly ever true.
        return any(key in self.lists and self._alive(key) for key in keys)

    # --- streams ----------------------------------------------------------------------------------------------------

    def add(self, key: str, outbox_id: int, body: bytes, *, newest: int) -> StreamId:
        """XADD with MAXLEN, taken exactly; the entry's id."""
        stream = self.streams.get(key, Stream())
        self._last = entry = max((int(self.clock() * 1000), 0), (self._last[0], self._last[1] + 1))
        self._write((self.streams, key, replace(stream, entries=(*stream.entries, (entry, outbox_id, body))[-newest:])))
        return entry

    def trim(self, key: str, newest: int) -> None:
        """XTRIM with MAXLEN, taken exactly."""
        stream = self.streams.get(key)
        if stream is not None:
            self._write(
                (self.streams, key, replace(stream, entries=stream.entries[max(0, len(stream.entries) - newest) :]))
            )

    def make_group(self, key: str, group: str) -> None:
        """XGROUP CREATE at 0 with MKSTREAM; nothing if it is there."""
        stream = self.streams.get(key, Stream())
        if group not in stream.groups:
            self._put_group(key, stream, group, Group())

    def group(self, key: str, group: str) -> Group | None:
        """The group; None after a flush."""
        return self.streams[key].groups.get(group) if key in self.streams else None

    def unread(self, key: str, group: str) -> bool:
        """Whether a blocked read of the group would return: there is an entry, or the group is gone."""
        found = self.group(key, group)
        return found is None or bool(self.streams[key].after(found.read, 1))

    def read_group(self, key: str, group: str, consumer: str, count: int) -> tuple[Entry, ...] | None:
        """XREADGROUP >: new entries, pending from now on; None without the group."""
        found = self.group(key, group)
        if found is None:
            return None
        stream = self.streams[key]
        entries = stream.after(found.read, count)
        if entries:
            pending = {**found.pending, **{entry[0]: (consumer, self.clock()) for entry in entries}}
            self._put_group(key, stream, group, Group(read=entries[-1][0], pending=pending))
        return entries

    def claim(self, key: str, group: str, consumer: str, *, idle_s: float, count: int) -> tuple[Entry, ...] | None:
        """XAUTOCLAIM from 0: what has been pending so long, the first `count`; None without the group.

        What the cap has cut off is no longer pending, however young.
        """
        found = self.group(key, group)
        if found is None:
            return None
        stream = self.streams[key]
        there = {entry[0]: entry for entry in stream.entries}
        now = self.clock()
        taken = [
            entry for entry, (_, since) in sorted(found.pending.items()) if entry not in there or now - since >= idle_s
        ][:count]
        claimed = [entry for entry in taken if entry in there]
        if taken:
            kept = {entry: delivery for entry, delivery in found.pending.items() if entry not in taken}
            pending = {**kept, **dict.fromkeys(claimed, (consumer, now))}
            self._put_group(key, stream, group, replace(found, pending=pending))
        return tuple(there[entry] for entry in claimed)

    def acknowledge(self, key: str, group: str, entries: Iterable[StreamId]) -> None:
        """XACK."""
        found = self.group(key, group)
        if found is not None:
            done = set(entries)
            pending = {entry: delivery for entry, delivery in found.pending.items() if entry not in done}
            self._put_group(key, self.streams[key], group, replace(found, pending=pending))

    def _put_group(self, key: str, stream: Stream, name: str, group: Group) -> None:
        self._write((self.streams, key, replace(stream, groups={**stream.groups, name: group})))

    # --- commands to workers ----------------------------------------------------------------------------------------

    def subscribe(self, channel: str, listener: Listener) -> None:
        """SUBSCRIBE: called with each message, as the listener's own thread would be."""
        self._subscribers.setdefault(channel, []).append(listener)

    def unsubscribe(self, channel: str, listener: Listener) -> None:
        """UNSUBSCRIBE, and what the server sees when a process dies."""
        listeners = self._subscribers.get(channel, [])
        if listener in listeners:
            listeners.remove(listener)

    def tell(self, channel: str, message: Mapping[str, Any]) -> int:
        """PUBLISH: how many heard it; who does not listen now never will."""
        listeners = list(self._subscribers.get(channel, ()))
        for listener in listeners:
            listener(message)
        return len(listeners)

    # --- keys and their time ----------------------------------------------------------------------------------------

    def _alive(self, key: str) -> bool:
        until = self._expiries.get(key)
        return until is None or self.clock() < until

    def _until(self, seconds: float | None) -> object:
        return _ABSENT if seconds is None else self.clock() + seconds

    def _write(self, *changes: tuple[dict[str, Any], str, object]) -> None:
        self._journal.append([(table, key, table.get(key, _ABSENT)) for table, key, _ in changes])
        for table, key, value in changes:
            _set(table, key, value)


def _set(table: dict[str, Any], key: str, value: object) -> None:
    if value is _ABSENT:
        table.pop(key, None)
    else:
        table[key] = value


class Client(Protocol):
    """A twin that speaks to a server."""

    _redis: RedisTwin
    _passage: Passage


C = TypeVar("C", bound=Client)
P = ParamSpec("P")
R = TypeVar("R")


def command(body: Callable[Concatenate[C, P], R]) -> Callable[Concatenate[C, P], R]:
    """A verb that is one round trip to the server. Raises UnreachableError while that is down."""

    @wraps(body)
    def checked(client: C, /, *args: P.args, **kwargs: P.kwargs) -> R:
        client._redis.check()  # noqa: SLF001  (the twin's own server)
        return body(client, *args, **kwargs)

    checked.__name__ = body.__name__.lstrip("_")
    return verb(checked)


def stream_id(text: str) -> StreamId:
    """The entry that a text such as `1700-0` names."""
    milliseconds, _, count = text.partition("-")
    return int(milliseconds), int(count or 0)


def stream_text(entry: StreamId) -> str:
    """The text of an entry's id."""
    return f"{entry[0]}-{entry[1]}"


def queue_key(queue: str) -> str:
    """Where RQ keeps a queue."""
    return f"rq:queue:{queue}"


def lengths(redis: RedisTwin, queues: Sequence[str]) -> dict[str, int]:
    """How many messages wait in each queue."""
    return {queue: len(redis.items(queue_key(queue))) for queue in queues}
