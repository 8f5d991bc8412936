from collections.abc import Iterator

import pytest
from tests.windows.site import Site


@pytest.fixture
def site(database: str, redis: str) -> Iterator[Site]:
    made = Site(database, redis)
    yield made
    made.close()
