"""The engine agrees with the model, whatever happens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis.stateful import run_state_machine_as_test
from tests.model.machine import Engine
from tests.model.profile import profile
from tests.model.rig import Rig


@pytest.fixture
def rig(database: str, redis: str) -> Iterator[Rig]:
    made = Rig(database, redis)
    yield made
    made.close()


# A machine that is busy with other things takes minutes for what takes half a minute on an idle one.
@pytest.mark.timeout(900)
def test_the_engine_and_its_model_agree_after_every_step(rig: Rig) -> None:
    class Driven(Engine):
        pass

    Driven.rig = rig
    try:
        run_state_machine_as_test(Driven, settings=profile())
    except BaseException:
        print(f"broken after {rig.steps} steps")  # how sharp the model is
        raise
