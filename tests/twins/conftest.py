from collections.abc import Iterator

import pytest
from tests.twins.backing import Backing, RealBacking, TwinBacking


@pytest.fixture(params=["twin", "real"])
def backing(request: pytest.FixtureRequest) -> Iterator[Backing]:
    """Each of the two in turn."""
    made = _twin() if request.param == "twin" else _real(request.getfixturevalue("database"))
    yield made
    made.close()


def _twin() -> Backing:
    return TwinBacking()


def _real(url: str) -> Backing:
    return RealBacking(url)
