"""One random history on Postgres and on its twin at once: they answer the same, and hold the same after every step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from tests.twins.backing import RealBacking, TwinBacking
from tests.twins.reading import differences
from tests.twins.script import DOCUMENTS, Script
from tests.twins.side import Side

SCRIPTS = 20
STEPS = 40


@pytest.fixture
def real(database: str) -> Iterator[RealBacking]:
    backing = RealBacking(database)
    yield backing
    backing.close()


@pytest.mark.parametrize("seed", range(SCRIPTS))
def test_the_twin_keeps_step_with_postgres(real: RealBacking, seed: int) -> None:
    run_script(real, seed, STEPS)


def run_script(real: RealBacking, seed: int, steps: int) -> list[str]:
    twin_side, real_side = Side(TwinBacking(), DOCUMENTS, seed), Side(real, DOCUMENTS, seed)
    script, history = Script(seed, twin_side), []
    with closing(real_side):
        for _ in range(steps):
            name, step = script.draw()
            history.append(name)
            real.hold()
            expected, answered = step(real_side), step(twin_side)
            found = differences(answered, expected, "answer") or differences(twin_side.picture(), real_side.picture())
            found = found or differences(twin_side.queues(), real_side.queues(), "queues")
            assert not found, history
        assert not differences(twin_side.reads(), real_side.reads()), history
    return history
