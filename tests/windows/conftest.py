from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.emulator.fixtures import emulator, services
from tests.emulator.server import EmulatorProcess
from tests.windows.site import Site
from tests.windows.workers import Workers, jobs_of

__all__ = ["emulator", "services"]


@pytest.fixture
def site(database: str, redis: str) -> Iterator[Site]:
    made = Site(database, redis)
    yield made
    made.close()


@pytest.fixture
def workers(database: str, redis: str, tmp_path: Path, emulator: EmulatorProcess) -> Iterator[Workers]:
    site = Site(database, redis, turned=False)
    site.works = False
    workers = jobs_of(site, tmp_path, emulator)
    yield workers
    workers.close()
    site.close()
