from collections.abc import Iterator

import pytest
from tests.worker.rows import Rows

from freshet.storage.database import Database
from freshet.storage.worker_store import WorkerStore


@pytest.fixture
def rows(database: str) -> Iterator[Rows]:
    rows = Rows(database)
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
