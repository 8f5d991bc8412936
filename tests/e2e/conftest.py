from collections.abc import Iterator

import pytest
from tests.e2e.installation import Installation


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    made = Installation(tmp_path_factory.mktemp("up"), processes="tests.e2e.processes")
    yield made
    made.close()
