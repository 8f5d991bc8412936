from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.emulator.fixtures import services
from tests.emulator.server import EmulatorProcess

from freshet.snowflake import JobServices

__all__ = ["services"]


@pytest.fixture(scope="session")
def emulator() -> Iterator[EmulatorProcess]:
    """One emulator for all tests of a worker; every test uses names of its own."""
    running = EmulatorProcess()
    yield running
    assert running.stop() == 0


@pytest.fixture
def pool(services: JobServices) -> Iterator[str]:
    """A pool of one node, for this test alone."""
    from tests.emulator.server import fresh

    name = fresh("POOL")
    services.execute(f"CREATE COMPUTE POOL {name} MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = CPU_X64_XS")
    yield name
    services.execute(f"ALTER COMPUTE POOL IF EXISTS {name} STOP ALL")
