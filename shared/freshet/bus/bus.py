"""What services say to each other through Redis.

Guarantees: publishing twice is harmless (a bundle is claimed once, in Postgres); a wake-up is a hint to look into
Postgres, never the only trace of something. Every method is one round trip. Safe to share between threads.
Never: an answer that a decision relies on, except "is this worker's heartbeat there", which is one of two witnesses.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import orjson
from rq import Queue
from rq.command import send_command
from rq.job import Job

from freshet.bus.connection import LONGEST_BLOCK, Client, connect, translated

#: The only function that a message names. It is never imported nor called: a worker reads the bundle's id from the
#: message's own id, so a message that names anything else is refused without being unpickled, parsed or run.
ENTRY = "freshet.bundle"
JOB_PREFIX = "bundle-"
JOB_TTL = 86_400  # seconds; a message that nobody takes for a day is published again by the dispatcher's repair

EPOCH = "freshet:epoch"
FACTS = "freshet:facts"
FACTS_KEPT = 5_000  # entries; a gap is read back from Postgres
HEARTBEAT = "freshet:worker:"
MEMBER = "freshet:member:"
STOP = "freshet:stop:"
WAKE = "freshet:wake:"


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """A bundle row to be fetched by whoever serves the queue."""

    queue: str
    bundle_id: int
    ahead: bool = False  # of what waits in the queue


@dataclass(frozen=True, kw_only=True, slots=True)
class Heartbeat:
    """A worker's sign of life. Times are totals in seconds since its start; busy + idle = wall."""

    worker: str
    state: str
    busy_s: float
    idle_s: float
    wall_s: float
    pid: int
    hostname: str
    queues: tuple[str, ...]
    started_at: str
    bundle: int | None = None


class Bus:
    """One service's end of the pipes."""

    def __init__(self, url: str, *, name: str = "freshet") -> None:
        """`name` shows in CLIENT LIST."""
        self.url = url
        self._name = name
        self.client: Client = connect(url, name=name)
        self._queues: dict[str, Queue] = {}

    def ping(self) -> None:
        """Raises UnreachableError when Redis does not answer."""
        with translated():
            self.client.ping()

    def close(self) -> None:
        """Close every connection."""
        self.client.close()

    # --- queues -----------------------------------------------------------------------------------------------------

    def publish(self, messages: Sequence[Message]) -> dict[str, int]:
        """Put messages at the end of their queues, or at the front; how long each of these queues now is."""
        by_queue: dict[str, list[Message]] = defaultdict(list)
        for message in messages:
            by_queue[message.queue].append(message)
        with translated(), self.client.pipeline(transaction=False) as pipe:
            for name, its in by_queue.items():
                self._queue(name).enqueue_many([_job(message) for message in its], pipeline=pipe)
            for name in by_queue:
                pipe.llen(Queue.redis_queue_namespace_prefix + name)
            lengths = pipe.execute()[-len(by_queue) :] if by_queue else []
        return dict(zip(by_queue, lengths, strict=True))

    def depths(self, queues: Iterable[str]) -> dict[str, int]:
        """How many messages wait in each queue."""
        names = list(queues)
        with translated(), self.client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.llen(Queue.redis_queue_namespace_prefix + name)
            return dict(zip(names, pipe.execute(), strict=True))

    def queued(self, queue: str) -> set[int]:
        """The bundles whose messages wait in a queue: a bounded list, since Redis holds few."""
        with translated():
            return {bundle for job in self._queue(queue).get_job_ids() if (bundle := bundle_of(job)) is not None}

    def _queue(self, name: str) -> Queue:
        if name not in self._queues:
            self._queues[name] = Queue(name, connection=self.client, serializer="json")
        return self._queues[name]

    # --- wake-ups ---------------------------------------------------------------------------------------------------

    def wake(self, *names: str) -> None:
        """Wake whoever waits for one of these names: `dispatcher:<partition>`, `scheduler`, `watcher`."""
        with translated(), self.client.pipeline(transaction=False) as pipe:
            for name in names:
                # One element is enough to wake, and more would only be woken by again.
                pipe.rpush(WAKE + name, b"1")
                pipe.ltrim(WAKE + name, -1, -1)
            pipe.execute()

    def wake_dispatcher(self, partitions: Iterable[int]) -> None:
        """Tell the dispatchers of these partitions that their inbox holds something."""
        self.wake(*(f"dispatcher:{partition}" for partition in set(partitions)))

    def wake_watcher(self) -> None:
        """Tell the watcher that a job service was submitted."""
        self.wake("watcher")

    def await_wake(self, names: Sequence[str], *, seconds: float) -> str | None:
        """Block until one of the names is woken, at most `seconds` (2 at the longest); the name, or None."""
        with translated():
            answer: Any = self.client.blpop(
                [WAKE + name for name in names], timeout=max(0.01, min(seconds, LONGEST_BLOCK))
            )
        return None if answer is None else answer[0].decode().removeprefix(WAKE)

    def fresh(self) -> bool:
        """Whether Redis was empty of us: at the very first start, and after a flush. Asking marks it as ours."""
        with translated():
            return bool(self.client.set(EPOCH, uuid4().bytes, nx=True))

    def epoch(self) -> bytes | None:
        """The mark of whoever found Redis fresh: another one than last time means a flush. None: nobody asked yet."""
        with translated():
            mark: Any = self.client.get(EPOCH)
        return None if mark is None else bytes(mark)

    # --- facts ------------------------------------------------------------------------------------------------------

    def announce(self, facts: Iterable[tuple[int, bytes]], *, watched: Sequence[str] = ()) -> int:
        """Append committed outbox rows (id, body) to the capped stream; how many of the queues hold a message."""
        with translated(), self.client.pipeline(transaction=False) as pipe:
            for outbox_id, body in facts:
                pipe.xadd(FACTS, {"id": outbox_id, "body": body}, maxlen=FACTS_KEPT, approximate=True)
            if watched:
                pipe.exists(*(Queue.redis_queue_namespace_prefix + name for name in watched))  # an empty list is none
            answers = pipe.execute()
        return int(answers[-1]) if watched else 0

    def tail(self, after: str = "$", *, seconds: float = LONGEST_BLOCK) -> list[tuple[str, bytes]]:
        """Entries (stream id, body) after a stream id, blocking up to `seconds`; `$` means from now on."""
        with translated():
            answer: Any = self.client.xread(
                {FACTS: after}, count=500, block=int(min(seconds, LONGEST_BLOCK) * 1000) or 1
            )
        entries = answer[0][1] if answer else []
        return [(stream_id.decode(), fields.get(b"body", b"[]")) for stream_id, fields in entries]

    def last_entry(self) -> str:
        """The stream id of the newest entry, `0-0` when there is none."""
        with translated():
            newest: Any = self.client.xrevrange(FACTS, count=1)
        return newest[0][0].decode() if newest else "0-0"

    # --- liveness ---------------------------------------------------------------------------------------------------

    def beat(self, heartbeat: Heartbeat, *, expires_s: float) -> list[int]:
        """Give a sign of life that lasts `expires_s`; the bundles that this worker shall stop."""
        body = orjson.dumps({name: getattr(heartbeat, name) for name in Heartbeat.__slots__})
        stop = STOP + heartbeat.worker
        with translated(), self.client.pipeline(transaction=True) as pipe:
            pipe.set(HEARTBEAT + heartbeat.worker, body, px=int(expires_s * 1000))
            pipe.lrange(stop, 0, -1)
            pipe.delete(stop)
            return [int(bundle) for bundle in pipe.execute()[1]]

    def silence(self, worker: str) -> None:
        """Take a worker's sign of life away at once, when it goes offline in order."""
        with translated():
            self.client.delete(HEARTBEAT + worker)

    def join(self, role: str, name: str, *, expires_s: float) -> list[str]:
        """Say that this copy of a service is there; all copies that said so within their time."""
        with translated(), self.client.pipeline(transaction=False) as pipe:
            pipe.set(f"{MEMBER}{role}:{name}", b"1", px=int(expires_s * 1000))
            pipe.execute()
            keys = self.client.scan_iter(match=f"{MEMBER}{role}:*", count=1000)
            return sorted(key.decode().rpartition(":")[2] for key in keys)

    def leave(self, role: str, name: str) -> None:
        """This copy goes."""
        with translated():
            self.client.delete(f"{MEMBER}{role}:{name}")

    def heartbeats(self) -> dict[str, Heartbeat]:
        """The workers that gave a sign of life within its time, by id."""
        with translated():
            keys = list(self.client.scan_iter(match=HEARTBEAT + "*", count=1000))
            bodies: Any = self.client.mget(keys) if keys else []
        found = [_heartbeat(orjson.loads(body)) for body in bodies if body is not None]
        return {heartbeat.worker: heartbeat for heartbeat in found}

    def request_stop(self, worker: str, bundle_id: int) -> None:
        """Tell a worker that a bundle in its hands is no longer its own. A hint: its claim is gone already."""
        with translated(), self.client.pipeline(transaction=False) as pipe:
            pipe.rpush(STOP + worker, bundle_id)
            pipe.expire(STOP + worker, 60)
            pipe.execute()
            send_command(self.client, worker, "freshet-stop", bundle=bundle_id)

    def request_kill(self, worker: str) -> None:
        """Ask a worker to end: RQ's own shutdown command, which our worker takes as SIGTERM."""
        with translated():
            send_command(self.client, worker, "shutdown")


def bundle_of(job_id: str) -> int | None:
    """The bundle that a message's id names; None for a message that isn't ours."""
    rest = job_id.removeprefix(JOB_PREFIX)
    return int(rest) if rest != job_id and rest.isascii() and rest.isdigit() else None


def _job(message: Message) -> Any:
    return Queue.prepare_data(
        ENTRY,
        job_id=f"{JOB_PREFIX}{message.bundle_id}",
        description=f"bundle {message.bundle_id}",
        timeout=-1,
        ttl=JOB_TTL,
        at_front=message.ahead,
    )


def job_key(bundle_id: int) -> str:
    """Where RQ keeps the message's own hash."""
    return f"{Job.redis_job_namespace_prefix}{JOB_PREFIX}{bundle_id}"


def _heartbeat(body: Mapping[str, Any]) -> Heartbeat:
    # A worker of a later version may say more than is known here: it must not silence all the others.
    known = {name: body[name] for name in Heartbeat.__slots__ if name in body}
    return Heartbeat(**{**known, "queues": tuple(body["queues"])})
