"""The installation of one seed: servers, services, and who starts them again.

Purpose: the real passes, wired as the services' mains wire them, on twins. Guarantees: a service that dies is started
again under a new name while the world goes on; its Postgres sessions end soon after it. Never: a pass of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any
from uuid import UUID

from freshet.domain.model import Workflow
from freshet.engine.dispatcher import Dispatcher
from freshet.engine.fold import Folder
from freshet.engine.pace import Pace
from freshet.engine.refill import Refill
from freshet.engine.ring import Ring
from freshet.engine.witness import Judge, Patience
from freshet.execution.job_service import JobLauncher
from freshet.execution.nursery import Nursery
from freshet.execution.pulse import Pulse, Rhythm
from freshet.execution.supervisor import Holding, Limits, Supervisor
from freshet.execution.times import Stopwatch
from freshet.execution.warm_child import ChildOptions
from freshet.execution.watcher import Watcher
from freshet.recording import Recorder
from freshet.runtime.service import Loop, Once, PassResult
from freshet.scheduling import Ticker
from freshet.scheduling.clockwork import first_tick
from freshet.storage.leadership import SCHEDULER, WATCHER
from freshet.storage.worker_store import WorkerRow
from freshet.testing.simulation.behaviour import Behaviour, Temper, Try
from freshet.testing.simulation.cast import (
    Burial,
    Fleet,
    NotedBus,
    RunObjects,
    Service,
    SignsOfLife,
    Untold,
    WatchedStore,
    WorkflowOfRun,
    eager_dispatch,
    number_of,
)
from freshet.testing.simulation.child import BenchTwin, ChannelTwin, ChildTwin, SignalsTwin
from freshet.testing.simulation.jobs import Account, JobServicesTwin
from freshet.testing.simulation.payloads import Payloads
from freshet.testing.simulation.user_code import UserCode
from freshet.testing.simulation.workload import PROCESSES, QUEUES, Workload
from freshet.testing.simulation.world import Doorway, Process, Server, World, WorldClock
from freshet.testing.twins.bus import BusTwin, FactReaderTwin, QueueWorkerTwin
from freshet.testing.twins.engine_store import PartitionLocksTwin
from freshet.testing.twins.leadership import LeadershipTwin
from freshet.testing.twins.process_session import ProcessSessionTwin
from freshet.testing.twins.recording import RecordingTwin
from freshet.testing.twins.redis import RedisTwin
from freshet.testing.twins.requests import RequestsTwin
from freshet.testing.twins.schedules import ScheduleRow, SchedulesTwin, schedules_of
from freshet.testing.twins.tables import Tables
from freshet.testing.twins.worker_store import WorkerStoreTwin

#: When every world begins, by its database's clock.
BEGIN = datetime(2030, 1, 1, tzinfo=UTC)


@dataclass(kw_only=True)
class Installation:
    """Servers and services of one world."""

    world: World
    workload: Workload
    fleet: Fleet
    temper: Temper
    seed: int
    clock_offset: float = 0.0  # seconds that the database's clock is ahead
    services: list[Service] = field(default_factory=list)
    burials: list[Burial] = field(default_factory=list)
    beats: SignsOfLife = field(default_factory=SignsOfLife)
    too_early: list[str] = field(default_factory=list)  # items that began before their parents had ended
    wrong_payloads: list[str] = field(default_factory=list)
    workflow_of: dict[str, str] = field(default_factory=dict)
    stopwatches: dict[str, tuple[Stopwatch, float]] = field(default_factory=dict)
    settled: bool = False  # no service is started again

    def __post_init__(self) -> None:
        world = self.world
        self.postgres, self.redis_server, self.snowflake = Server("Postgres"), Server("Redis"), Server("Snowflake")
        self.tables = Tables(self.database_now)
        world.atomic = lambda: self.tables.in_transaction
        self.redis = RedisTwin(lambda: world.now)
        self.clock = WorldClock(world)
        self.behaviour = Behaviour(
            seed=self.seed, workload=self.workload, temper=self.temper, workflow_of=WorkflowOfRun(self.tables)
        )
        self.payloads = Payloads(self.tables, self.behaviour, self.workload)
        self.account = Account(clock=lambda: world.now, behaviour=self.behaviour, began=self.note_begin)
        self._apply()

    def database_now(self) -> datetime:
        """The time by Postgres."""
        return BEGIN + timedelta(seconds=self.world.now + self.clock_offset)

    def definition(self, name: str, version: int) -> Workflow:
        """A workflow; there is one version of each."""
        del version
        return self.workload.workflows[name]

    def new_uuid(self) -> UUID:
        """Random, but the seed's."""
        return UUID(int=self.world.random.getrandbits(128), version=4)

    def new_run_id(self) -> UUID:
        """In order of time, and with a random partition."""
        milliseconds = int(self.world.now * 1000) + 1_900_000_000_000
        return UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | self.world.random.getrandbits(60))

    def _apply(self) -> None:
        schedules = schedules_of(self.tables)
        for name, workflow in self.workload.workflows.items():
            defaults = {"n": {"default": 2}, "list": {"default": [10, 11]}}
            self.tables.documents[name, 1] = {"priority": workflow.priority, "params": defaults}
            if workflow.schedule is not None:
                first = first_tick(workflow.schedule, BEGIN, BEGIN)
                schedules[name] = ScheduleRow(name, workflow.schedule, BEGIN, first)

    # --- services ---------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start every service."""
        mains: Mapping[str, tuple[int, Callable[[Process], None]]] = {
            "dispatcher": (self.fleet.dispatchers, self._dispatcher),
            "worker": (self.fleet.workers, self._worker),
            "recorder": (self.fleet.recorders, self._recorder),
            "scheduler": (self.fleet.schedulers, self._scheduler),
        }
        for kind, (count, main) in mains.items():
            for number in range(count):
                service = Service(kind=kind, number=number, main=main)
                self.services.append(service)
                self.start(service)

    def start(self, service: Service) -> None:
        """A new life of a service."""
        service.lives += 1
        process = self.world.process(f"{service.kind}-{service.number}.{service.lives}", service.kind)
        service.process = process
        process.at_death.append(lambda: self._bury(service, process))

        def main() -> None:
            try:
                service.main(process)
            finally:
                self.world.kill(process)

        process.spawn("main", main)

    def service_of(self, process: Process) -> Service | None:
        """The service that lives in a process."""
        return next((each for each in self.services if each.process is process), None)

    def _bury(self, service: Service, process: Process) -> None:
        world = self.world
        for owner in (process, *process.children):
            self._end_session_later(owner.name)
        service.stop = lambda: None
        if not self.settled:
            world.at(world.now + self.fleet.seconds_to_restart * world.random.random() * 2, lambda: self.start(service))

    def _end_session_later(self, owner: str) -> None:
        """The server notices a moment later that a client has gone."""
        later = self.world.now + self.world.random.choice((0.0, 0.008, 0.2))
        self.world.at(later, lambda: self.tables.end_session(owner))

    def _doors(self, process: Process) -> tuple[Doorway, Doorway]:
        return Doorway(self.world, process, self.postgres), Doorway(self.world, process, self.redis_server)

    def _loop(self, process: Process, once: Once, on_stop: Callable[[], None] = lambda: None) -> None:
        """The services' own loop, until SIGTERM."""
        stop = threading.Event()
        self._on_stop(process, stop, on_stop)
        Loop(process.kind, once, stop=stop, clock=self.clock).run()

    def _on_stop(self, process: Process, stop: threading.Event, on_stop: Callable[[], None]) -> None:
        service = self.service_of(process)
        assert service is not None  # it has just been started

        def terminate() -> None:
            stop.set()
            on_stop()
            self.world.stirred = True

        service.stop = terminate

    def _dispatcher(self, process: Process) -> None:
        postgres, redis = self._doors(process)
        clock, draw = self.clock.monotonic, self.world.random.random
        bus = BusTwin(self.redis, passage=redis)
        store = WatchedStore(self.tables, postgres, owner=process.name, buried=self.note_burials)
        pace = Pace(queue_depth=self.fleet.queue_depth, depths=bus.depths)
        refill = Refill(store, bus, pace)
        judge = Judge(patience=Patience(lease=self.fleet.lease, grace=self.fleet.grace), clock=clock)
        folder = Folder(store, bus, self.definition, pace, limit=self.fleet.batch, draw=draw, clock=clock)
        dispatcher = Dispatcher(
            name=process.name,
            bus=bus,
            folder=folder,
            refill=refill,
            ring=Ring(store=store, bus=bus, refill=refill, pace=pace, judge=judge, clock=clock),
            locks=PartitionLocksTwin(self.tables, postgres, owner=process.name),
            clock=clock,
        )

        def once() -> PassResult:
            folded = dispatcher.step().folded
            return PassResult(did=folded.runs if folded else 0)

        self._loop(process, once)
        dispatcher.close()

    def _recorder(self, process: Process) -> None:
        postgres, redis = self._doors(process)
        recorder = Recorder(
            reader=FactReaderTwin(self.redis, group="recorder", consumer=process.name, passage=redis),
            store=RecordingTwin(self.tables, passage=postgres),
            measures=Untold(),
            clock=self.clock,
        )
        self._loop(process, lambda: PassResult(did=recorder.record_batch().entries))

    def _scheduler(self, process: Process) -> None:
        postgres, redis = self._doors(process)
        requests = RequestsTwin(self.tables, postgres)
        stop = threading.Event()
        leadership = LeadershipTwin(self.tables, SCHEDULER, owner=process.name, passage=postgres)
        # A service's class: this layer may not import it by name.
        scheduler = import_module("freshet_scheduler.service").Scheduler(
            ticker=Ticker(schedules=SchedulesTwin(self.tables, passage=postgres), requests=requests, max_catch_up=5),
            requests=requests,
            leadership=leadership,
            bus=BusTwin(self.redis, passage=redis),
            stop=stop,
            clock=self.clock,
            draw=self.world.random.random,
        )
        self._on_stop(process, stop, lambda: None)
        Loop("scheduler", scheduler.once, stop=stop, clock=self.clock).run()
        leadership.resign()

    # --- workers ----------------------------------------------------------------------------------------------------

    def _worker(self, process: Process) -> None:
        supervisor = self._supervisor(process)
        self._loop(process, supervisor.once, supervisor.stop)
        supervisor.close()

    def _supervisor(self, process: Process) -> Supervisor:
        world, name = self.world, process.name
        postgres, redis = self._doors(process)
        signals, bus = SignalsTwin(world), NotedBus(self.redis, redis, beaten=self.note_beat)
        store = WorkerStoreTwin(self.tables, postgres, owner=name)
        queue_worker = QueueWorkerTwin(self.redis, name=name, queues=QUEUES, stop=signals.stop_bundle, passage=redis)
        process.at_death.append(queue_worker.vanish)
        stopwatch, holding = Stopwatch(self.clock), Holding()
        self.stopwatches[name] = (stopwatch, world.now)
        pulse = Pulse(
            WorkerRow(id=name, lock_key=number_of(name), hostname="host", pid=1, queues=QUEUES),
            store=store,
            bus=bus,
            queue_worker=queue_worker,
            signals=signals,
            stopwatch=stopwatch,
            holding=holding,
            clock=self.clock,
            rhythm=Rhythm(),
            spawn=process.spawn,
        )
        supervisor = Supervisor(
            worker=name,
            store=store,
            reads=RunObjects(postgres),
            bus=bus,
            queue_worker=queue_worker,
            nursery=self._nursery(process),
            signals=signals,
            stopwatch=stopwatch,
            pulse=pulse,
            definitions=self.definition,
            limits=Limits(drain_grace=5.0),
            holding=holding,
            monotonic=self.clock.monotonic,
            pause=world.pause,
            new_claim=self.new_uuid,
            eager=eager_dispatch(self.tables, postgres, bus, self.definition, worker=name, draw=world.random.random),
        )
        if self.workload.jobs:
            self._serve_jobs(process, supervisor)
        return supervisor

    def _nursery(self, worker: Process) -> Nursery:
        served = {spec.ref: spec.isolation for spec in PROCESSES}
        made = 0

        def make(options: ChildOptions) -> ChildTwin:
            nonlocal made
            made += 1
            name = f"{worker.name}.child{made}"
            child = ChildTwin(options, world=self.world, worker=worker, name=name, serve=self._serve, processes=served)
            child.process.at_death.append(lambda: self._end_session_later(name))
            return child

        return Nursery(
            ChildOptions(modules=(), database_url="", limit=0), items_per_child=self.fleet.items_per_child, make=make
        )

    def _serve(self, process: Process, channel: ChannelTwin, controls: Callable[[], bytes]) -> None:
        """The child's main."""
        session = ProcessSessionTwin(self.tables, Doorway(self.world, process, self.postgres), owner=process.name)
        code = UserCode(self.world, process, self.behaviour, self.note_begin)
        bench = BenchTwin(
            world=self.world,
            channel=channel,
            session=session,
            registry=code.registry(),
            script=code,
            controls=controls,
        )
        channel.send({"op": "ready"})
        while (message := channel.receive()) is not None:
            bench.run_bundle(message)

    def _serve_jobs(self, process: Process, supervisor: Supervisor) -> None:
        store, bus = supervisor.store, supervisor.bus
        door = Doorway(self.world, process, self.snowflake)
        postgres, _ = self._doors(process)
        supervisor.launcher = JobLauncher(
            JobServicesTwin(self.account, door),
            store=store,
            bus=bus,
            installation=store.installation,
            insist=supervisor.insist,
        )
        supervisor.watch = Watcher(
            JobServicesTwin(self.account, door),
            store=store,
            bus=bus,
            candidate=LeadershipTwin(self.tables, WATCHER, owner=process.name, passage=postgres),
            definitions=self.definition,
            installation=store.installation,
            clock=self.clock,
            poll=2.0,
            keep=100.0,  # longer than a storm, so that whoever stood still in it comes in time
            result_limit=1 << 20,
            log_limit=1 << 20,
            spawn=process.spawn,
            now=self.database_now,
        )

    # --- notes ------------------------------------------------------------------------------------------------------

    def note_begin(self, the_try: Try, payload: Any) -> None:
        """A try begins: have its parents ended, and is it called with what they came to?"""
        problem = self.payloads.problem(the_try, payload)
        if problem is not None:
            self.wrong_payloads.append(problem)
        self.behaviour.begun.append(the_try)
        task = self.behaviour.task(the_try.run, the_try.task)
        scope = the_try.item.rpartition(".")[0] if task.mapped else the_try.item
        prefix = the_try.task.rpartition(".")[0]
        for name in task.after:
            parent = self.tables.task_named[the_try.run, f"{prefix}.{name}" if prefix else name, scope]
            if self.tables.task_runs[parent].finished_at is None:
                self.too_early.append(f"{the_try} began before {name} had ended")

    def note_beat(self, worker: str) -> None:
        """A sign of life has reached Redis."""
        self.beats.note(worker, self.world.now)

    def note_burials(self, workers: Sequence[str]) -> None:
        """What the world knows of workers that are declared dead."""
        heartbeats = {key.rpartition(":")[2] for key in self.redis.keys("freshet:worker:")}
        alive = {process.name: process for process in self.world.processes}
        for name in workers:
            row, process = self.tables.workers.get(name), alive.get(name)
            self.burials.append(
                Burial(
                    worker=name,
                    at=self.world.now,
                    alive=process is not None,
                    silent=self.beats.silent(name, self.world.now),
                    heard=name in heartbeats and not self.beats.has_just_come_back(name, self.world.now),
                    witnessed=row is not None and ("key", row.lock_key) in self.tables.locks,
                )
            )
