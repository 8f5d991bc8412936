"""One emulator for the tests of a module, and a driver to it: for conftest files that have no other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.emulator.server import EmulatorProcess

from freshet.snowflake import JobServices


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
