"""Every service of an installation as objects in one process, on real stores, with clocks that the test turns.

`live` lets seconds pass: the stored times grow older, the monotonic clocks go on, and in each second every service
makes its passes until none finds anything to do. A service that crashed is replaced by a new one (`restart_…`): nothing
of the old one's memory goes on, its sessions are closed as the kernel would close them.
"""

from __future__ import annotations

import itertools
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from freshet.bus import Bus, Fact, FactReader, Heartbeat, QueueWorker
from freshet.bus.bus import FACTS
from freshet.definition import compile_workflow, digest, normalise
from freshet.domain.errors import ClaimLostError
from freshet.domain.model import Trigger, Workflow
from freshet.engine.dispatcher import Dispatcher
from freshet.engine.fold import Folder
from freshet.engine.pace import Pace
from freshet.engine.refill import Refill
from freshet.engine.ring import Ring
from freshet.engine.witness import Judge
from freshet.recording import Measures, Recorder
from freshet.runtime.clock import Clock, SystemClock, TurnedClock
from freshet.scheduling import first_tick
from freshet.storage.database import Database, Row
from freshet.storage.definitions import Definition, Definitions
from freshet.storage.engine_store import OPTIONS, EngineStore, PartitionLocks
from freshet.storage.reads import Reads
from freshet.storage.record import Recording
from freshet.storage.requests import NewRun, Requests
from freshet.storage.worker_store import Claimed, WorkerStore
from freshet.telemetry import BOUNDS, Telemetry

QUEUE = "p@1.0.0"
#: Seconds after which a loss must be repaired and the run recorded, by the longest way: a message that got lost (5 s
#: until it is looked for), a dead worker (10 s of grace if a flush came between), entries of a dead recorder.
REPAIRED_WITHIN = 30
FINAL = {"succeeded", "failed", "skipped", "cancelled"}
#: What one try answers: its outcome without the item's key.
Behaviour = Callable[[str, int, int], Mapping[str, Any]]


class PatientlessBus(Bus):
    """Waits for nothing: time is turned."""

    def await_wake(self, names: Sequence[str], *, seconds: float) -> str | None:
        woken: Any = self.client.exists(*(f"freshet:wake:{name}" for name in names))
        return super().await_wake(names, seconds=seconds) if woken else None


class PatientlessReader(FactReader):
    """As above."""

    def read(self, *, seconds: float = 0.01, count: int = 200) -> list[Fact]:
        groups: Any = self._client.xinfo_groups(FACTS) if self._client.exists(FACTS) else []
        newest: Any = self._client.xrevrange(FACTS, count=1)
        if groups and newest and groups[0]["last-delivered-id"] == newest[0][0]:
            return []
        return super().read(seconds=seconds, count=count)


class DispatcherProcess:
    """One life of a dispatcher."""

    def __init__(self, site: Site, *, queue_depth: int) -> None:
        self.database = Database(site.database_url, name="dispatcher", options=OPTIONS)
        self.bus = PatientlessBus(site.redis_url)
        definitions = Definitions(self.database)

        def workflow(name: str, version: int) -> Workflow:
            return compile_workflow(definitions.get(name, version)["document"])

        store, clock = EngineStore(self.database), site.clock.monotonic
        pace = Pace(queue_depth=queue_depth, depths=self.bus.depths)
        refill = Refill(store, self.bus, pace)
        self.dispatcher = Dispatcher(
            name=f"dispatcher-{next(site.numbers)}",
            bus=self.bus,
            folder=Folder(store, self.bus, workflow, pace, draw=lambda: 0.5),
            refill=refill,
            ring=Ring(store=store, bus=self.bus, refill=refill, pace=pace, judge=Judge(clock=clock), clock=clock),
            locks=PartitionLocks(self.database),
            clock=clock,
        )

    def die(self) -> None:
        """What the kernel does for a killed process: its sockets are closed."""
        locks = self.dispatcher._locks._session
        if locks is not None:
            locks.close()
        self.database.close()
        self.bus.close()


class RecorderProcess:
    """One life of a recorder."""

    def __init__(self, site: Site) -> None:
        self.database = Database(site.database_url, name="recorder")
        self.consumer = f"recorder-{next(site.numbers)}"
        self.reader = PatientlessReader(site.redis_url, group="recorder", consumer=self.consumer)
        self.telemetry = Telemetry("recorder", environ={})
        self.recorder = Recorder(
            reader=self.reader,
            store=Recording(self.database, bounds=BOUNDS),
            measures=Measures(self.telemetry),
            clock=site.clock,
        )

    def die(self) -> None:
        """As above."""
        self.reader.close()
        self.database.close()
        self.telemetry.close()


class Site:
    """One installation in a test's hands."""

    def __init__(self, database_url: str, redis_url: str, *, queue_depth: int = 100, turned: bool = True) -> None:
        """`turned`: time is what the test makes of it; else the machine's, for workers that are real processes."""
        self.database_url, self.redis_url, self._queue_depth = database_url, redis_url, queue_depth
        self.clock: Clock = TurnedClock(1000.0) if turned else SystemClock()
        self.numbers = itertools.count()
        self.database = Database(database_url, name="test", sessions=3)
        self.definitions, self.requests, self.reads = (
            Definitions(self.database),
            Requests(self.database),
            Reads(self.database),
        )
        self.workers, self.bus = WorkerStore(self.database), Bus(redis_url)
        self.tries: Counter[tuple[str, int, int]] = Counter()  # task, index, attempt: how often each was begun
        self.fenced = 0  # ends that came too late
        self.names = iter(f"worker-{number}" for number in itertools.count())
        self.worker = next(self.names)
        self.behave: Behaviour = lambda task, index, attempt: {"s": "succeeded", "r": [1, 2, 3]}
        self.queue_worker = QueueWorker(redis_url, name=self.worker, queues=(QUEUE,), stop=lambda bundle: None)
        self.works = True
        self.dispatcher = DispatcherProcess(self, queue_depth=queue_depth)
        self.recorder = RecorderProcess(self)
        self.bus.fresh()  # as if everybody had been here for a while
        self._settle()

    def close(self) -> None:
        self.dispatcher.die()
        self.recorder.die()
        self.database.close()
        self.bus.close()

    # --- asking -----------------------------------------------------------------------------------------------------

    def apply(self, document: Mapping[str, Any]) -> None:
        stored = normalise(document)
        self.definitions.put(Definition(name=stored["name"], document=stored, digest=digest(stored)), first_tick)

    def start(self, workflow: str) -> uuid.UUID:
        """Ask for a run, and tell the dispatcher."""
        version = self.definitions.get(workflow)["version"]
        asked = self.requests.create_run(NewRun(workflow=workflow, version=version, trigger=Trigger.CALL, params={}))
        self.bus.wake_dispatcher([asked.partition])
        return asked.run_id

    def sql(self, text: str, *values: Any) -> list[Row]:
        with self.database.session() as session:
            cursor = session.execute(text, values)
            return cursor.fetchall() if cursor.description else []

    def one(self, text: str, *values: Any) -> Any:
        (row,) = self.sql(text, *values)
        return next(iter(row.values()))

    # --- services ---------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """One step of the dispatcher's."""
        self.dispatcher.dispatcher.step()

    def restart_dispatcher(self) -> None:
        """The old one was killed; another begins."""
        self.dispatcher.die()
        self.dispatcher = DispatcherProcess(self, queue_depth=self._queue_depth)

    def record(self) -> int:
        """One pass of the recorder's."""
        return self.recorder.recorder.record_batch(seconds=0.001).entries

    def restart_recorder(self) -> None:
        """The old one was killed; another begins."""
        self.recorder.die()
        self.recorder = RecorderProcess(self)

    def beat(self) -> None:
        heartbeat = Heartbeat(
            worker=self.worker,
            state="busy",
            busy_s=0,
            idle_s=0,
            wall_s=0,
            pid=1,
            hostname="h",
            queues=(QUEUE,),
            started_at="",
        )
        self.bus.beat(heartbeat, expires_s=600)

    def pop(self) -> int | None:
        """The bundle that the next message names."""
        return self.queue_worker.pop() if self.bus.depths([QUEUE])[QUEUE] else None

    def claim(self, bundle: int) -> Claimed | None:
        return self.workers.claim(bundle, self.worker, uuid.uuid4())

    def finish(self, claimed: Claimed) -> None:
        """Work a claimed bundle through and report it; the dispatcher is told."""
        bundle = claimed.document["bundle"]
        outcomes = [
            {"i": key, "a": attempt, "d": 0.001, **self._try(claimed.document["task"]["path"], key, attempt)}
            for key, attempt in zip(bundle["items"], bundle["attempts"], strict=True)
        ]
        try:
            self.workers.finish(claimed.bundle, claimed.claim, outcomes)
        except ClaimLostError:
            self.fenced += 1
        self.bus.wake_dispatcher([bundle["partition"]])

    def _try(self, task: str, key: int, attempt: int) -> Mapping[str, Any]:
        index = key & 0xFFFFFF
        self.tries[task, index, attempt] += 1
        return self.behave(task, index, attempt)

    def work(self) -> int:
        """Take every message there is, and do what it names; how many."""
        count = 0
        while (bundle := self.pop()) is not None:
            count += 1
            claimed = self.claim(bundle)
            if claimed is not None:
                self.bus.announce([claimed.fact])
                self.finish(claimed)
        return count

    # --- time -------------------------------------------------------------------------------------------------------

    def pass_time(self, seconds: float) -> None:
        """Let time pass for everybody, while nobody does anything."""
        assert isinstance(self.clock, TurnedClock)
        self.clock.turn(seconds)
        self.age(seconds)

    def age(self, seconds: float) -> None:
        """What the stores hold is older now."""
        with self.database.session() as session:
            session.execute(_AGE, {"by": seconds})
        self._age_entries(seconds)

    def _age_entries(self, seconds: float) -> None:
        """Redis counts by its own clock how long a consumer has sat on an entry."""
        client: Any = self.bus.client
        if not client.exists(FACTS) or not client.xinfo_groups(FACTS):
            return
        for entry in client.xpending_range(FACTS, "recorder", "-", "+", 1000):
            idle = int(entry["time_since_delivered"] + seconds * 1000)
            client.xclaim(FACTS, "recorder", entry["consumer"], 0, [entry["message_id"]], idle=idle, justid=True)

    def live(self, seconds: int, *, stride: int = 1) -> None:
        """Let seconds pass, in which everybody does what there is to do."""
        for _ in range(0, seconds, stride):
            self.pass_time(float(stride))
            self._settle()

    def _settle(self) -> None:
        self.beat()
        for _ in range(200):
            step = self.dispatcher.dispatcher.step()
            moved = step.folded is not None and step.folded.runs > 0
            moved |= self.works and self.work() > 0
            moved |= self.record() > 0
            if not moved:
                return
        raise AssertionError("the services do not come to rest")

    def live_until_recorded(self, run: uuid.UUID, *, within: int = REPAIRED_WITHIN) -> Mapping[str, Any]:
        """Let time pass until the run has ended and its history is written; the run object."""
        for _ in range(within):
            self.live(1)
            found = self.reads.run_object(run)
            if found["state"] in FINAL and found["recorded"]:
                return found
        left = {table: self.sql(f"select * from engine.{table}") for table in ("bundle", "report", "request", "outbox")}
        raise AssertionError(f"run {run} is not over after {within} s: {orjson.dumps(left, default=str).decode()}")

    # --- laws -------------------------------------------------------------------------------------------------------

    def assert_whole(self, run: uuid.UUID, *, repeated: int = 0, state: str = "succeeded") -> None:
        """Nothing is lost, nothing is doubled, nothing is left behind. `repeated`: tries begun again after a death."""
        found = self.reads.run_object(run)
        assert found["state"] == state, found
        assert found["recorded"]
        for task in found["tasks"].values():
            items = task["items"]
            assert items["total"] == sum(count for name, count in items.items() if name != "total"), found
        assert sum(count - 1 for count in self.tries.values()) == repeated, self.tries
        self.live(REPAIRED_WITHIN, stride=3)  # what is late comes now
        self.assert_nothing_left()
        self.assert_recorded_once(run)
        assert self.reads.run_object(run) == found

    def assert_nothing_left(self) -> None:
        for table in ("bundle", "report", "request", "outbox", "parked"):
            assert self.sql(f"select * from engine.{table}") == [], table
        assert self.bus.depths([QUEUE]) == {QUEUE: 0}
        pending: Any = self.bus.client.xpending(FACTS, "recorder")
        assert pending["pending"] == 0

    def assert_recorded_once(self, run: uuid.UUID) -> None:
        """The log has one row for the run, one for each task in each scope, one for each attempt, and no fact twice."""
        assert self.one("select count(*) from log.run where run_id = %s", run) == 1
        doubled = "select {0} from log.{1} where run_id = %s group by {0} having count(*) > 1"
        assert self.sql(doubled.format("task, index_path", "task"), run) == []
        assert self.sql(doubled.format("task, item, attempt", "attempt"), run) == []
        assert self.sql(doubled.format("outbox_id, position", "event"), run) == []
        attempts = self.one("select count(*) from log.attempt where run_id = %s", run)
        counted = self.reads.run_object(run)["tasks"].values()
        assert attempts == sum(task["attempts"] for task in counted)


_TIMES = {
    "bundle": ("created_at", "published_at", "due_at", "claimed_at", "expires_at", "submitted_at"),
    "report": ("created_at",),
    "request": ("created_at",),
    "outbox": ("created_at",),
}
_AGE = "with {} select 1".format(
    ", ".join(
        f"aged_{table} as (update engine.{table} set "
        + ", ".join(f"{column} = {column} - %(by)s * interval '1 s'" for column in columns)
        + ")"
        for table, columns in _TIMES.items()
    )
)
