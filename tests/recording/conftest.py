from collections.abc import Iterator

import pytest
from tests.emulator.fixtures import emulator
from tests.recording.facts import Outbox

from freshet.storage.database import Database
from freshet.storage.record import Recording
from freshet.telemetry import BOUNDS

__all__ = ["emulator"]


@pytest.fixture
def store(database: str) -> Iterator[Database]:
    opened = Database(database, name="test", sessions=4)
    yield opened
    opened.close()


@pytest.fixture
def outbox(store: Database) -> Outbox:
    return Outbox(store)


@pytest.fixture
def recording(store: Database) -> Recording:
    return Recording(store, bounds=BOUNDS, spans=True)
