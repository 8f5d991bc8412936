"""The worker's wiring: settings in, one loop out."""

from __future__ import annotations

import argparse
import os
import secrets
import socket
import sys
from collections.abc import Callable, Sequence
from functools import cache

from freshet.bus import Bus, QueueWorker
from freshet.definition import compile_workflow
from freshet.domain.errors import DefinitionError
from freshet.domain.model import SNOWFLAKE, Kind, Workflow
from freshet.engine.eager import EagerDispatch
from freshet.execution.connections import Connections, configured_account, read_connections
from freshet.execution.job_service import JobLauncher
from freshet.execution.nursery import Nursery
from freshet.execution.pulse import Pulse, Rhythm, new_lock_key
from freshet.execution.query import QueryLauncher
from freshet.execution.query_watch import QueryWatcher
from freshet.execution.signals import Signals
from freshet.execution.supervisor import Holding, Limits, Supervisor
from freshet.execution.times import Stopwatch
from freshet.execution.warm_child import ChildEndedError, ChildOptions
from freshet.execution.watcher import Watcher
from freshet.runtime import log
from freshet.runtime.clock import SystemClock
from freshet.runtime.service import run_service
from freshet.runtime.settings import WorkerSettings, load
from freshet.snowflake import JobServices, Queries, SnowflakeSettings
from freshet.storage.database import Database
from freshet.storage.engine_store import EngineStore
from freshet.storage.leadership import WATCHER, Leadership, query_watcher
from freshet.storage.reads import Reads
from freshet.storage.worker_store import WorkerRow, WorkerStore


class Versions:
    """Compiled definitions; a version never changes, so it is compiled once."""

    def __init__(self, store: WorkerStore) -> None:
        self._store = store
        self._known: dict[tuple[str, int], Workflow] = {}

    def __call__(self, name: str, version: int) -> Workflow:
        """One version's workflow."""
        if (name, version) not in self._known:
            self._known[name, version] = compile_workflow(self._store.document(name, version))
        return self._known[name, version]


def build(settings: WorkerSettings) -> Supervisor:
    """A worker from its settings. Starts its child and connects to Redis.

    Raises DefinitionError when a module of processes or a connection is refused, UnreachableError without Redis.
    """
    database_url = settings.database_url.get_secret_value()
    user_url = settings.process_database_url.get_secret_value() if settings.process_database_url else database_url
    connections = read_connections(settings.connections)
    options = ChildOptions(
        modules=settings.processes,
        database_url=user_url,
        limit=settings.max_result_bytes,
        connections=connections.postgres,
    )
    nursery = Nursery(options, items_per_child=settings.items_per_child)
    queues = tuple(dict.fromkeys([*nursery.processes, *_common_queues(settings, connections), *settings.queues]))
    worker = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    signals, clock = Signals(), SystemClock()
    store = WorkerStore(database := Database(database_url, name="worker", sessions=3))
    definitions = Versions(store)
    bus = Bus(redis_url := settings.redis_url.get_secret_value(), name="freshet-worker")
    queue_worker = QueueWorker(redis_url, name=worker, queues=queues, stop=signals.stop_bundle)
    eager = EagerDispatch(EngineStore(database), bus, definitions, worker=worker, queues=queues)
    stopwatch, holding = Stopwatch(clock), Holding()
    pulse = Pulse(
        WorkerRow(id=worker, lock_key=new_lock_key(), hostname=socket.gethostname(), pid=os.getpid(), queues=queues),
        store=store,
        bus=bus,
        queue_worker=queue_worker,
        signals=signals,
        stopwatch=stopwatch,
        holding=holding,
        clock=clock,
        rhythm=Rhythm(heartbeat=settings.heartbeat, dead_after=settings.dead_after),
    )
    supervisor = Supervisor(
        worker=worker,
        store=store,
        reads=Reads(database),
        bus=bus,
        queue_worker=queue_worker,
        nursery=nursery,
        signals=signals,
        stopwatch=stopwatch,
        pulse=pulse,
        definitions=definitions,
        limits=Limits(max_log_bytes=settings.max_log_bytes, drain_grace=settings.drain_grace),
        holding=holding,
        databases=frozenset(connections.postgres),
        eager=eager if settings.eager_dispatch else None,
    )
    _serve_snowflake(supervisor, settings, connections, database)
    return supervisor


def _serve_snowflake(
    supervisor: Supervisor, settings: WorkerSettings, connections: Connections, database: Database
) -> None:
    """Job services and scripts in the account of the settings, if there is one; scripts on the named ones."""

    @cache
    def installation() -> str:
        return settings.installation or supervisor.store.installation()

    accounts = dict(connections.snowflake)
    if settings.snowflake_account:
        accounts[SNOWFLAKE] = configured_account(settings)
        _serve_jobs(supervisor, settings, database, installation)
    for name, account in accounts.items():
        candidate = Leadership(database, query_watcher(name))
        _serve_queries(supervisor, settings, candidate, installation, connection=name, account=account)


def _serve_queries(
    supervisor: Supervisor,
    settings: WorkerSettings,
    candidate: Leadership,
    installation: Callable[[], str],
    *,
    connection: str,
    account: SnowflakeSettings,
) -> None:
    """Start and watch scripts on one connection."""
    store, bus = supervisor.store, supervisor.bus
    supervisor.query_launchers[connection] = QueryLauncher(
        Queries(account),
        connection=connection,
        store=store,
        bus=bus,
        installation=installation,
        insist=supervisor.insist,
        limit=settings.max_result_bytes,
    )
    watch = QueryWatcher(
        Queries(account),
        connection=connection,
        store=store,
        bus=bus,
        candidate=candidate,
        definitions=supervisor.definitions,
        installation=installation,
        clock=SystemClock(),
        poll=settings.job_poll,
        result_limit=settings.max_result_bytes,
        log_limit=settings.max_log_bytes,
    )
    supervisor.query_watches.append(watch)


def _serve_jobs(
    supervisor: Supervisor, settings: WorkerSettings, database: Database, installation: Callable[[], str]
) -> None:
    """Launch and watch job services."""
    store, bus = supervisor.store, supervisor.bus
    account = configured_account(settings)
    supervisor.launcher = JobLauncher(
        JobServices(account),
        store=store,
        bus=bus,
        installation=installation,
        insist=supervisor.insist,
        public_url=settings.public_url,
    )
    supervisor.watch = Watcher(
        # A session of its own: a poll must not wait for somebody's submit.
        JobServices(account),
        store=store,
        bus=bus,
        candidate=Leadership(database, WATCHER),
        definitions=supervisor.definitions,
        installation=installation,
        clock=SystemClock(),
        poll=settings.job_poll,
        keep=settings.job_keep,
        result_limit=settings.max_result_bytes,
        log_limit=settings.max_log_bytes,
    )


def _common_queues(settings: WorkerSettings, connections: Connections) -> list[str]:
    names = [*connections.postgres, *connections.snowflake]
    kinds = [Kind.PYTHON, Kind.SQL]
    if settings.snowflake_account:
        kinds.append(Kind.JOB_SERVICE)
        names.append(SNOWFLAKE)
    return [*(kind.value for kind in kinds), *(f"{Kind.SQL.value}@{name}" for name in names)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until a signal; the exit code."""
    given = _arguments(arguments)
    settings = load(WorkerSettings, processes=given.processes, queues=given.queues)
    log.configure("worker", settings.log_level)
    try:
        supervisor = build(settings)
    except (DefinitionError, ChildEndedError) as error:
        sys.stderr.write(f"{error.message}\n")
        return 2
    code = run_service(
        "worker",
        supervisor.once,
        health_host=settings.health_host,
        health_port=settings.health_port,
        on_stop=supervisor.stop,
        grace=settings.drain_grace,
    )
    supervisor.close()
    return code


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="freshet worker")
    parser.add_argument("--processes", metavar="MODULE[,MODULE]", help="modules with @process functions")
    parser.add_argument("--queues", metavar="QUEUE[,QUEUE]", help="queues to serve besides those of the processes")
    return parser.parse_args(arguments)
