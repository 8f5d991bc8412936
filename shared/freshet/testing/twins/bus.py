"""The bus, the stream's reader and the worker's queues on a simulated Redis.

Purpose: services run on these as they run on `freshet.bus`. Guarantees: the same answers as the real ones; a verb is
one round trip, which may fail before it did anything or after it did all. Never: redis, rq, a thread or a wait.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from freshet.bus import Bus, Fact, FactReader, Heartbeat, Message, QueueWorker
from freshet.bus.bus import EPOCH, FACTS, FACTS_KEPT, HEARTBEAT, JOB_PREFIX, MEMBER, STOP, WAKE, bundle_of
from freshet.bus.connection import LONGEST_BLOCK
from freshet.bus.facts import ABANDONED_MS
from freshet.bus.worker import REGISTRATION_TTL, turned
from freshet.testing.twins.passage import Passage, open_passage
from freshet.testing.twins.redis import Entry, RedisTwin, command, lengths, queue_key, stream_id, stream_text

#: RQ keeps a worker's registration so many seconds longer than its time to live, and that of one that left.
GRACE = 60


class BusTwin(Bus):
    """One service's end of the pipes."""

    def __init__(self, redis: RedisTwin, passage: Passage = open_passage, *, kept: int = FACTS_KEPT) -> None:
        """`kept`: entries of the stream of facts."""
        self._redis = redis
        self._passage = passage
        self._kept = kept

    @command
    def ping(self) -> None:
        """Raises UnreachableError while the server is down."""

    def close(self) -> None:
        """Nothing is open."""

    @command
    def publish(self, messages: Sequence[Message]) -> dict[str, int]:
        """Put messages at the end of their queues, or at the front; how long each of these queues now is."""
        by_queue: dict[str, list[tuple[str, bool]]] = defaultdict(list)
        for message in messages:
            by_queue[message.queue].append((f"{JOB_PREFIX}{message.bundle_id}", message.ahead))
        for ids in by_queue.values():
            if len(dict(ids)) < len(ids):
                raise ValueError("Job ID appears more than once in enqueue_many()")  # as RQ does
        for queue, ids in by_queue.items():
            for name, ahead in ids:
                (self._redis.push_front if ahead else self._redis.push)(queue_key(queue), name)
        return lengths(self._redis, list(by_queue))

    @command
    def depths(self, queues: Iterable[str]) -> dict[str, int]:
        """How many messages wait in each queue."""
        return lengths(self._redis, list(queues))

    @command
    def queued(self, queue: str) -> set[int]:
        """The bundles whose messages wait in a queue."""
        ids = map(bundle_of, self._redis.items(queue_key(queue)))
        return {bundle for bundle in ids if bundle is not None}

    @command
    def wake(self, *names: str) -> None:
        """Wake whoever waits for one of these names."""
        for name in names:
            self._redis.push(WAKE + name, b"1", newest=1)

    def wake_dispatcher(self, partitions: Iterable[int]) -> None:
        """Tell the dispatchers of these partitions that their inbox holds something."""
        self.wake(*(f"dispatcher:{partition}" for partition in sorted(set(partitions))))

    def wake_watcher(self) -> None:
        """Tell the watcher that a job service was submitted."""
        self.wake("watcher")

    @command
    def await_wake(self, names: Sequence[str], *, seconds: float) -> str | None:
        """Block until one of the names is woken; the name, or None."""
        popped = _pop(self._redis, self._passage, "await_wake", [WAKE + name for name in names], seconds)
        return None if popped is None else popped[0].removeprefix(WAKE)

    @command
    def fresh(self) -> bool:
        """Whether Redis was empty of us; asking marks it as ours."""
        return self._redis.set(EPOCH, self._redis.new_mark(), only_new=True)

    @command
    def epoch(self) -> bytes | None:
        """The mark of whoever found Redis fresh."""
        mark: bytes | None = self._redis.get(EPOCH)
        return mark

    @command
    def announce(self, facts: Iterable[tuple[int, bytes]], *, watched: Sequence[str] = ()) -> int:
        """Append committed outbox rows (id, body) to the capped stream; how many of the queues hold a message."""
        for outbox_id, body in facts:
            self._redis.add(FACTS, outbox_id, body, newest=self._kept)
        return sum(1 for length in lengths(self._redis, list(watched)).values() if length)

    @command
    def tail(self, after: str = "$", *, seconds: float = LONGEST_BLOCK) -> list[tuple[str, bytes]]:
        """Entries (stream id, body) after a stream id, blocking up to `seconds`; `$` means from now on."""
        start = stream_id(self._newest() if after == "$" else after)

        def found() -> tuple[Entry, ...]:
            stream = self._redis.streams.get(FACTS)
            return stream.after(start, 500) if stream else ()

        _block(self._redis, self._passage, "tail", seconds, lambda: bool(found()))
        return [(stream_text(entry), body) for entry, _, body in found()]

    @command
    def last_entry(self) -> str:
        """The stream id of the newest entry, `0-0` when there is none."""
        return self._newest()

    def _newest(self) -> str:
        stream = self._redis.streams.get(FACTS)
        return stream_text(stream.entries[-1][0]) if stream and stream.entries else "0-0"

    @command
    def beat(self, heartbeat: Heartbeat, *, expires_s: float) -> list[int]:
        """Give a sign of life that lasts `expires_s`; the bundles that this worker shall stop."""
        stop = STOP + heartbeat.worker
        with self._redis.transaction():
            self._redis.set(HEARTBEAT + heartbeat.worker, heartbeat, seconds=expires_s)
            bundles = [int(bundle) for bundle in self._redis.items(stop)]
            self._redis.delete(stop)
        return bundles

    @command
    def silence(self, worker: str) -> None:
        """Take a worker's sign of life away at once."""
        self._redis.delete(HEARTBEAT + worker)

    @command
    def join(self, role: str, name: str, *, expires_s: float) -> list[str]:
        """Say that this copy of a service is there; all copies that said so within their time."""
        self._redis.set(f"{MEMBER}{role}:{name}", b"1", seconds=expires_s)
        return sorted(key.rpartition(":")[2] for key in self._redis.keys(f"{MEMBER}{role}:"))

    @command
    def leave(self, role: str, name: str) -> None:
        """This copy goes."""
        self._redis.delete(f"{MEMBER}{role}:{name}")

    @command
    def heartbeats(self) -> dict[str, Heartbeat]:
        """The workers that gave a sign of life within its time, by id."""
        found: list[Heartbeat] = [self._redis.get(key) for key in self._redis.keys(HEARTBEAT)]
        return {heartbeat.worker: heartbeat for heartbeat in found}

    @command
    def request_stop(self, worker: str, bundle_id: int) -> None:
        """Tell a worker that a bundle in its hands is no longer its own."""
        self._redis.push(STOP + worker, bundle_id, seconds=60)
        self._redis.tell(_channel(worker), {"command": "freshet-stop", "bundle": bundle_id})

    @command
    def request_kill(self, worker: str) -> None:
        """Ask a worker to end."""
        self._redis.tell(_channel(worker), {"command": "shutdown"})


class FactReaderTwin(FactReader):
    """One consumer of one group."""

    def __init__(self, redis: RedisTwin, passage: Passage = open_passage, *, group: str, consumer: str) -> None:
        self._redis = redis
        self._passage = passage
        self._group = group
        self._consumer = consumer

    @command
    def read(self, *, seconds: float = LONGEST_BLOCK, count: int = 200) -> list[Fact]:
        """New entries, blocking up to `seconds`; none at once after a flush, which has the group made again."""
        redis, group = self._redis, self._group
        _block(redis, self._passage, "read", seconds, lambda: redis.unread(FACTS, group))
        return self._facts(redis.read_group(FACTS, group, self._consumer, count))

    @command
    def take_over(self, *, count: int = 200) -> list[Fact]:
        """Entries that a dead consumer of the group has read and not acknowledged."""
        idle = ABANDONED_MS / 1000
        return self._facts(self._redis.claim(FACTS, self._group, self._consumer, idle_s=idle, count=count))

    def acknowledge(self, facts: list[Fact]) -> None:
        """The entries need not come again."""
        if facts:
            self._acknowledge(facts)

    def close(self) -> None:
        """Nothing is open."""

    @command
    def _acknowledge(self, facts: list[Fact]) -> None:
        self._redis.acknowledge(FACTS, self._group, [stream_id(fact.entry) for fact in facts])

    def _facts(self, entries: tuple[Entry, ...] | None) -> list[Fact]:
        if entries is None:
            self._redis.make_group(FACTS, self._group)
        return [Fact(entry=stream_text(entry), outbox_id=row, body=body) for entry, row, body in entries or ()]


class QueueWorkerTwin(QueueWorker):
    """What a supervisor needs of a worker's registration and queues; the rest of RQ is not there."""

    def __init__(
        self,
        redis: RedisTwin,
        passage: Passage = open_passage,
        *,
        name: str,
        queues: Sequence[str],
        stop: Callable[[int], None],
        shutdown: Callable[[], None] = lambda: None,
    ) -> None:
        """`stop` and `shutdown` are called while another's verb runs, as by a thread that listens."""
        self._redis = redis
        self._passage = passage
        self.name = name
        self._names = list(queues)
        self._keys = [queue_key(queue) for queue in queues]
        self._stop = stop
        self._on_shutdown = shutdown
        self._registration = f"rq:worker:{name}"
        self._ours = False  # the name was registered by us
        self._listens = False

    def queue_names(self) -> list[str]:
        """The queues that it reads, in order."""
        return self._names

    @command
    def enter(self) -> None:
        """Register and listen for commands; again if that was interrupted. Raises ValueError if the name is taken."""
        if self.registered and not self._ours:
            raise ValueError(f"There exists an active worker named {self.name!r} already")
        self._show("starting")
        self._ours = True
        if not self._listens:
            self._redis.subscribe(_channel(self.name), self.handle_payload)
            self._listens = True

    @command
    def leave(self) -> None:
        """Sign off and stop listening."""
        self._redis.set(self._registration, "dead", seconds=GRACE)
        self.vanish()

    @command
    def beat(self, *, busy: bool) -> None:
        """Refresh the registration; register again after a flush took it away."""
        self._show("busy" if busy else "idle")

    @command
    def pop(self, *, seconds: float = LONGEST_BLOCK) -> int | None:
        """The bundle that the next message names, blocking up to `seconds`; None without one."""
        popped = _pop(self._redis, self._passage, "pop", self._keys, seconds)
        if popped is None:
            return None
        self._keys = turned(self._keys, popped[0])
        return bundle_of(popped[1])

    def handle_payload(self, message: Mapping[str, Any]) -> None:
        """A command arrives."""
        if message["command"] == "freshet-stop":
            self._stop(message["bundle"])
        elif message["command"] == "shutdown":
            self._on_shutdown()

    def vanish(self) -> None:
        """Its process has died: the server sees its connections end, and nothing else."""
        self._redis.unsubscribe(_channel(self.name), self.handle_payload)
        self._listens = False

    @property
    def registered(self) -> bool:
        """Whether RQ would show it."""
        return self._redis.get(self._registration) not in (None, "dead")

    def _show(self, state: str) -> None:
        self._redis.set(self._registration, state, seconds=REGISTRATION_TTL + GRACE)


def _channel(worker: str) -> str:
    return f"rq:pubsub:{worker}"


def _pop(redis: RedisTwin, passage: Passage, name: str, keys: Sequence[str], seconds: float) -> tuple[str, Any] | None:
    _block(redis, passage, name, seconds, lambda: redis.holds(keys))
    return redis.pop(keys)


def _block(redis: RedisTwin, passage: Passage, name: str, seconds: float, ready: Callable[[], bool]) -> None:
    passage.block(name, max(0.01, min(seconds, LONGEST_BLOCK)), lambda: redis.down or ready())
    redis.check()
