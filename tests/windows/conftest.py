from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.emulator.server import EmulatorProcess
from tests.windows.site import Site
from tests.windows.workers import Workers, jobs_of

from freshet.snowflake import JobServices


@pytest.fixture
def site(database: str, redis: str) -> Iterator[Site]:
    made = Site(database, redis)
    yield made
    made.close()


@pytest.fixture(scope="module")
def emulator() -> Iterator[EmulatorProcess]:
    running = EmulatorProcess()
    yield running
    assert running.stop() == 0


@pytest.fixture
def services(emulator: EmulatorProcess) -> Iterator[JobServices]:
    found = emulator.services()
    yield found
    found.close()


@pytest.fixture
def workers(database: str, redis: str, tmp_path: Path, emulator: EmulatorProcess) -> Iterator[Workers]:
    site = Site(database, redis, turned=False)
    site.works = False
    workers = jobs_of(site, tmp_path, emulator)
    yield workers
    workers.close()
    site.close()
