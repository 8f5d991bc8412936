from collections.abc import Iterator

import pytest
from tests.twins.backing import Backing, RealBacking, TwinBacking


@pytest.fixture(params=["twin", "real"])
def backing(request: pytest.FixtureRequest) -> Iterator[Backing]:
    """Each of the two in turn."""
    made: Backing = TwinBacking() if request.param == "twin" else RealBacking(request.getfixturevalue("database"))
    yield made
    made.close()
