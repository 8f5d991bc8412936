from collections.abc import Iterator

import pytest
from tests.engine.harness import Engine


@pytest.fixture
def engine(database: str, redis: str) -> Iterator[Engine]:
    made = Engine(database, redis)
    yield made
    made.close()
