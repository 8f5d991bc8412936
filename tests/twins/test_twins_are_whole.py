"""A twin that inherited a verb would run the real one without a database."""

from __future__ import annotations

import pytest

from freshet.testing.twins.engine_batch import EngineBatchTwin
from freshet.testing.twins.engine_store import EngineStoreTwin, PartitionLocksTwin
from freshet.testing.twins.process_session import ProcessSessionTwin
from freshet.testing.twins.requests import RequestsTwin
from freshet.testing.twins.worker_store import WitnessTwin, WorkerStoreTwin

TWINS = (
    EngineBatchTwin,
    EngineStoreTwin,
    PartitionLocksTwin,
    ProcessSessionTwin,
    RequestsTwin,
    WitnessTwin,
    WorkerStoreTwin,
)


@pytest.mark.parametrize("twin", TWINS)
def test_no_public_verb_of_a_twin_is_inherited(twin: type) -> None:
    (real,) = twin.__bases__
    verbs = {name for name, value in vars(real).items() if not name.startswith("_") and _is_verb(value)}
    assert verbs
    assert verbs - vars(twin).keys() == set()


def _is_verb(value: object) -> bool:
    return callable(value) or isinstance(value, property)
