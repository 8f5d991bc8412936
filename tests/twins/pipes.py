"""One Redis to be treated alike: a real server, or the twin's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from freshet.bus import Bus, FactReader, QueueWorker
from freshet.bus.bus import FACTS
from freshet.bus.connection import connect
from freshet.testing.twins.bus import BusTwin, FactReaderTwin, QueueWorkerTwin
from freshet.testing.twins.redis import RedisTwin, queue_key

GROUP = "recorder"


class Pipes(Protocol):
    """What a test does to a server, besides the bus's own verbs."""

    def bus(self) -> Bus: ...
    def reader(self, consumer: str = "one") -> FactReader: ...
    def worker(self, name: str, queues: Sequence[str], stop: Callable[[int], None]) -> QueueWorker: ...
    def registered(self, worker: QueueWorker) -> bool: ...
    def flush(self) -> None: ...
    def elapse(self, seconds: float) -> None: ...
    def trim(self, newest: int) -> None: ...
    def pending(self) -> int: ...
    def push_foreign(self, queue: str, text: str) -> None: ...
    def leftovers(self) -> list[str]: ...  # RQ's hashes of messages
    def close(self) -> None: ...


class TwinPipes:
    def __init__(self) -> None:
        self.now = 1_000.0
        self.server = RedisTwin(lambda: self.now)

    def bus(self) -> Bus:
        return BusTwin(self.server)

    def reader(self, consumer: str = "one") -> FactReader:
        return FactReaderTwin(self.server, group=GROUP, consumer=consumer)

    def worker(self, name: str, queues: Sequence[str], stop: Callable[[int], None]) -> QueueWorker:
        return QueueWorkerTwin(self.server, name=name, queues=queues, stop=stop)

    def registered(self, worker: QueueWorker) -> bool:
        assert isinstance(worker, QueueWorkerTwin)
        return worker.registered

    def flush(self) -> None:
        self.server.flush()

    def elapse(self, seconds: float) -> None:
        self.now += seconds

    def trim(self, newest: int) -> None:
        self.server.trim(FACTS, newest)

    def pending(self) -> int:
        group = self.server.group(FACTS, GROUP)
        return len(group.pending) if group else 0

    def push_foreign(self, queue: str, text: str) -> None:
        self.server.push(queue_key(queue), text)

    def leftovers(self) -> list[str]:
        return []  # the twin's messages have no hash

    def close(self) -> None:
        pass


class RealPipes:
    def __init__(self, url: str) -> None:
        self.url = url
        self.client: Any = connect(url, name="test")
        self.opened: list[Any] = [self.client]

    def bus(self) -> Bus:
        self.opened.append(bus := Bus(self.url))
        return bus

    def reader(self, consumer: str = "one") -> FactReader:
        self.opened.append(reader := FactReader(self.url, group=GROUP, consumer=consumer))
        return reader

    def worker(self, name: str, queues: Sequence[str], stop: Callable[[int], None]) -> QueueWorker:
        worker = QueueWorker(self.url, name=name, queues=queues, stop=stop)
        self.opened += [worker.connection, worker._pops]
        return worker

    def registered(self, worker: QueueWorker) -> bool:
        return bool(self.client.exists(worker.key)) and not self.client.hexists(worker.key, "death")

    def flush(self) -> None:
        self.client.flushdb()

    def elapse(self, seconds: float) -> None:
        """Let all that waits for time believe that so much has passed."""
        passed = int(seconds * 1000)
        for key in self.client.scan_iter(count=1000):
            if (left := self.client.pttl(key)) >= 0:
                self.client.pexpire(key, left - passed)
        if self.client.exists(FACTS):
            for group in self.client.xinfo_groups(FACTS):
                self._age(group["name"], passed)

    def _age(self, group: bytes, passed: int) -> None:
        for entry in self.client.xpending_range(FACTS, group, "-", "+", 1000):
            idle = entry["time_since_delivered"] + passed
            self.client.xclaim(FACTS, group, entry["consumer"], 0, [entry["message_id"]], idle=idle, justid=True)

    def trim(self, newest: int) -> None:
        self.client.xtrim(FACTS, maxlen=newest, approximate=False)

    def pending(self) -> int:
        return int(self.client.xpending(FACTS, GROUP)["pending"])

    def push_foreign(self, queue: str, text: str) -> None:
        self.client.rpush(queue_key(queue), text)

    def leftovers(self) -> list[str]:
        return [key.decode() for key in self.client.scan_iter(match="rq:job:*")]

    def close(self) -> None:
        for each in self.opened:
            each.close()
