from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from tests.emulator.fixtures import emulator, services
from tests.worker.rows import Rows

from freshet.bus import Bus, Message
from freshet.execution.supervisor import Supervisor
from freshet.runtime.settings import WorkerSettings
from freshet.storage.database import Database
from freshet.storage.worker_store import WorkerStore
from freshet_worker.main import build

__all__ = ["emulator", "services"]

MODULE = "tests.worker.sample_processes"
#: A worker that serves so many bundles.
Serve = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def rows(database: str) -> Iterator[Rows]:
    rows = Rows(database)
    rows.sql("create table public.effect (value text)")
    yield rows
    rows.close()


@pytest.fixture
def engine_database(database: str) -> Iterator[Database]:
    engine = Database(database, name="test")
    yield engine
    engine.close()


@pytest.fixture
def store(engine_database: Database) -> WorkerStore:
    return WorkerStore(engine_database)


@pytest.fixture
def bus(redis: str) -> Iterator[Bus]:
    bus = Bus(redis)
    yield bus
    bus.close()


@pytest.fixture
def worker(database: str, redis: str) -> Iterator[Supervisor]:
    settings = WorkerSettings(
        database_url=database, redis_url=redis, processes=(MODULE,), queues=("q",), eager_dispatch=False
    )
    worker = build(settings)
    yield worker
    worker.close()
    worker.store._database.close()
    worker.bus.close()


@pytest.fixture
def serve(worker: Supervisor, bus: Bus, rows: Rows) -> Serve:
    """Serve the bundles given; their outcomes, in order."""

    def serve(*bundles: int) -> list[dict[str, Any]]:
        bus.publish([Message(queue="q", bundle_id=bundle) for bundle in bundles])
        served = 0
        while served < len(bundles):
            served += worker.once().did
        return rows.reports(bundles[0]) if len(bundles) == 1 else rows.reports()

    return serve


@pytest.fixture
def work(rows: Rows) -> Callable[..., int]:
    """A bundle of one task whose items have these values; answers its id."""

    def work(process: str, values: Sequence[Any], *, timeout_s: float | None = None, **task: Any) -> int:
        document = {
            "name": f"w{rows.one('select count(*) from engine.workflow')}",
            "tasks": {"t": {"process": f"{process}@1.0.0", "for_each": str(len(values)), **task}},
        }
        run = rows.run(rows.workflow(document))
        return rows.bundle(rows.task(run, values=list(values)), range(len(values)), timeout_s=timeout_s)

    return work
