"""The real engine in the model's hands: two dispatchers on one installation, workers that only live as far as told.

Purpose: one call for each thing that can happen, and one look at all the tables. Guarantees: what is called is the
real pass or verb; time is the judge's turned clock, or a row's moment set into the past. Never: an expectation.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, ClassVar

import orjson
from tests.engine.harness import sign_of_life

from freshet.bus import Bus
from freshet.definition import compile_workflow, digest, normalise
from freshet.domain.model import Trigger, Workflow
from freshet.engine.fold import Folded, Folder
from freshet.engine.pace import Pace
from freshet.engine.refill import Refill
from freshet.engine.ring import Ring, Rung
from freshet.engine.witness import Judge
from freshet.storage.database import Database, Row, Session
from freshet.storage.definitions import Definition, Definitions
from freshet.storage.engine_rows import Taken, TaskRunRow
from freshet.storage.engine_store import OPTIONS, EngineBatch, EngineStore
from freshet.storage.requests import NewRun, Requests
from freshet.storage.worker_store import Claimed, WorkerStore
from freshet_api import starting
from freshet_api.bodies import RerunBody

PARTITIONS = tuple(range(16))
WORKERS = ("w1", "w2", "w3")
#: Messages that a queue holds: few, so that a backlog forms.
DEPTH = 4

EMPTY = """
with a as (delete from engine.run), b as (delete from engine.task_run), c as (delete from engine.work_item),
d as (delete from engine.bundle), e as (delete from engine.report), f as (delete from engine.request),
g as (delete from engine.value), h as (delete from engine.outbox), i as (delete from engine.parked)
delete from engine.worker
"""

#: Everything that a pass could change, in one round trip.
LOOK = """
select jsonb_build_object(
    'now', extract(epoch from clock_timestamp()),
    'runs', (select coalesce(jsonb_agg(to_jsonb(r) order by id), '[]') from engine.run r),
    'tasks', (select coalesce(jsonb_agg(to_jsonb(t) order by id), '[]') from engine.task_run t),
    'items', (select coalesce(jsonb_agg(to_jsonb(i) order by id), '[]') from engine.work_item i),
    'bundles', (select coalesce(jsonb_agg(to_jsonb(b)
        || jsonb_build_object('due', extract(epoch from due_at),
            'lease', extract(epoch from expires_at - claimed_at)) order by id), '[]') from engine.bundle b),
    'reports', (select coalesce(jsonb_agg(to_jsonb(r) order by id), '[]') from engine.report r),
    'requests', (select coalesce(jsonb_agg(to_jsonb(r) order by id), '[]') from engine.request r),
    'values', (select count(*) from engine.value),
    'facts', (select count(*) from engine.outbox),
    'parked', (select coalesce(jsonb_agg(to_jsonb(p)), '[]') from engine.parked p)) as seen
"""

#: A report of a try that never was, for every task: each scope is loaded and settled again, and nothing may change.
STALE = """
insert into engine.report (partition, run_id, task_run_id, bundle_id, body)
select r.partition, r.id, t.id, 0, jsonb_build_array(
    jsonb_build_object('i', t.id << 24, 'a', 0, 's', 'succeeded'),
    jsonb_build_object('i', t.id << 24, 'a', 0, 's', 'failed'))
from engine.run r join engine.task_run t on t.run_id = r.id
"""


class NotingBatch(EngineBatch):
    """Tells the time at which a batch was decided, in seconds since 1970."""

    times: ClassVar[list[float]] = []

    def take(self, partitions: Sequence[int], *, limit: int, runs: Sequence[str] | None = None) -> Taken | None:
        taken = super().take(partitions, limit=limit, runs=runs)
        if taken is not None:
            NotingBatch.times.append(datetime.fromisoformat(taken.now).timestamp())
        return taken


class NotingStore(EngineStore):
    """The dispatcher's store, with its batches noting the time."""

    @contextmanager
    def batch(self) -> Iterator[EngineBatch]:
        with self._database.transaction() as session:
            yield NotingBatch(session)


IS_NARROW = (
    "create or replace function engine.is_narrow(p_run uuid, p_scope bigint) returns boolean language sql stable"
    " as 'select WHOLE'"
)


class QuickPace(Pace):
    """Remembers an earlier run that was fast: maps are bundled from the first item on, without probes."""

    def mean(self, workflow: str, version: int, row: TaskRunRow) -> tuple[float | None, int]:
        return 0.001, max(1, row.measured)


class Dispatcher:
    """One of two."""

    def __init__(self, rig: Rig, database: Database, pace: Pace, *, limit: int) -> None:
        self.limit = limit
        self.store = NotingStore(database)
        self.refill = Refill(self.store, rig.bus, pace)
        self.folder = Folder(self.store, rig.bus, rig.workflow, pace, limit=limit, draw=lambda: 0.5)
        self.judge = Judge(clock=rig.clock)
        self.ringer = Ring(
            store=self.store, bus=rig.bus, refill=self.refill, pace=pace, judge=self.judge, clock=rig.clock
        )

    def fold(self) -> Folded:
        """One batch."""
        return self.folder.fold(PARTITIONS)

    def ring(self) -> Rung:
        """One pass."""
        return self.ringer.ring(frozenset(PARTITIONS))


class Rig:
    """The installation. Lives for many examples; `fresh` empties it."""

    def __init__(self, url: str, redis: str) -> None:
        self.url = url
        self.bus = Bus(redis)
        self.database = Database(url, name="model", sessions=4)
        self.requests = Requests(self.database)
        self.definitions = Definitions(self.database)
        self.workers = WorkerStore(self.database)
        self.witness: Session = self.database.dedicated()
        self.seconds = 0.0
        self.steps = 0  # that were compared
        self._compiled: dict[tuple[str, int], Workflow] = {}
        self._applied = 0
        self._sessions = tuple(Database(url, name=name, options=OPTIONS) for name in ("one", "two"))
        self.dispatchers: tuple[Dispatcher, ...] = ()

    def fresh(self, *, quick: bool, whole: bool) -> None:
        """An empty installation, its dispatchers just started, every worker alive.

        `quick`: its maps are bundled; `whole`: a batch sees all of a scope, else what it asks for.
        """
        # What dispatchers remember of speed is no part of the model: they share it.
        pace = (QuickPace if quick else Pace)(queue_depth=DEPTH, depths=self.bus.depths)
        one, two = self._sessions
        self.dispatchers = (Dispatcher(self, one, pace, limit=200), Dispatcher(self, two, pace, limit=2))
        self.sql(EMPTY)
        self.sql(IS_NARROW.replace("WHOLE", str(whole)))
        self.bus.client.flushdb()
        self.bus.fresh()
        self.seconds += 1000.0
        self.witness.execute("select pg_advisory_unlock_all()")
        for worker in WORKERS:
            self.sql(
                "insert into engine.worker (id, state, lock_key, hostname, pid, queues)"
                " values (%s, 'available', %s, 'h', 1, '{}')",
                worker,
                key_of(worker),
            )
            self.revive(worker)

    def close(self) -> None:
        for each in self._sessions:
            each.close()
        self.witness.close()
        self.database.close()
        self.bus.close()

    def clock(self) -> float:
        return self.seconds

    def workflow(self, name: str, version: int) -> Workflow:
        """A version's workflow."""
        if (name, version) not in self._compiled:
            self._compiled[name, version] = compile_workflow(self.definitions.get(name, version)["document"])
        return self._compiled[name, version]

    def sql(self, text: str, *values: Any) -> list[Row]:
        with self.database.session() as session:
            cursor = session.execute(text, values)
            return cursor.fetchall() if cursor.description else []

    def look(self) -> dict[str, Any]:
        """All tables."""
        return dict(self.sql(LOOK)[0]["seen"])

    # --- asking -----------------------------------------------------------------------------------------------------

    def name(self) -> str:
        """A workflow's name that was never used."""
        self._applied += 1
        return f"w{self._applied}"

    def apply(self, document: Mapping[str, Any]) -> None:
        stored = normalise(document)
        self.definitions.put(
            Definition(name=stored["name"], document=stored, digest=digest(stored)), lambda schedule, anchor, now: now
        )

    def start(self, workflow: str, params: Mapping[str, Any], *, held: bool = False) -> str:
        run = NewRun(workflow=workflow, version=1, trigger=Trigger.CALL, params=params, held=held)
        return str(self.requests.create_run(run).run_id)

    def rerun(self, old: str, workflow: str, params: Mapping[str, Any], mode: str, task: str | None) -> str:
        """As the front door does it. Raises ConflictError."""
        key = uuid.UUID(old)
        self.requests.run_for_rerun(key)
        states = self.requests.top_task_states(key)
        body = RerunBody.model_validate({"mode": mode, "task": task})
        again = starting.tasks_to_rerun(self.workflow(workflow, 1), states, body)
        run = NewRun(
            workflow=workflow,
            version=1,
            trigger=Trigger.RERUN,
            params=params,
            rerun_of=key,
            rerun_tasks=again,
            group_id=key,
        )
        return str(self.requests.create_run(run).run_id)

    # --- workers ----------------------------------------------------------------------------------------------------

    def claim(self, bundle: int, worker: str, token: uuid.UUID) -> Claimed | None:
        """Claim, with the message taken off its queue."""
        for key in self.bus.client.scan_iter(match="rq:queue:*"):
            self.bus.client.lrem(key, 0, f"bundle-{bundle}")
        return self.workers.claim(bundle, worker, token)

    def put_value(self, source: int, place: int, value: Any) -> None:
        """A row that an item yields."""
        self.sql(
            "insert into engine.value (source, idx, value) values (%s, %s, %s::jsonb) on conflict do nothing",
            source,
            place,
            orjson.dumps(value).decode(),
        )

    def messages(self) -> list[int]:
        """The bundles that all queues name, taken off them."""
        found: list[int] = []
        for key in sorted(self.bus.client.scan_iter(match="rq:queue:*")):
            found += sorted(self.bus.queued(key.decode().removeprefix("rq:queue:")))
            self.bus.client.delete(key)
        return found

    def revive(self, worker: str) -> None:
        self.witness.execute("select pg_advisory_lock(%s)", [key_of(worker)])

    def bury(self, worker: str) -> None:
        self.witness.execute("select pg_advisory_unlock(%s)", [key_of(worker)])
        self.silence(worker)

    def silence(self, worker: str) -> None:
        self.bus.silence(worker)

    def beat(self, workers: Sequence[str]) -> None:
        for worker in workers:
            self.bus.beat(sign_of_life(worker), expires_s=600)


def key_of(worker: str) -> int:
    """The key of a worker's witness."""
    return 7_000_000 + WORKERS.index(worker)
