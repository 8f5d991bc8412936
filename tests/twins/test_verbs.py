"""A twin stands in for every verb of the part that it stands for."""

import importlib
import pkgutil
from collections.abc import Iterator

import pytest

from freshet.testing import twins


def _twins() -> Iterator[type]:
    for module in pkgutil.iter_modules(twins.__path__, f"{twins.__name__}."):
        for name, each in vars(importlib.import_module(module.name)).items():
            if name.endswith("Twin") and isinstance(each, type) and each.__module__ == module.name:
                yield each


def _real(twin: type) -> list[type]:
    """The parts of Freshet that a twin is a kind of; RQ's classes and the like are nobody's verbs."""
    mine = [each for each in twin.__mro__ if each.__module__.startswith("freshet.")]
    return [each for each in mine if not each.__module__.startswith("freshet.testing.")]


def _verbs(part: type) -> set[str]:
    return {
        name
        for name, value in vars(part).items()
        if not name.startswith("_") and (callable(value) or isinstance(value, property | staticmethod | classmethod))
    }


@pytest.mark.parametrize("twin", [pytest.param(each, id=each.__name__) for each in _twins()])
def test_no_public_verb_of_a_twin_is_inherited(twin: type) -> None:
    own = {name for each in twin.__mro__ if each.__module__.startswith("freshet.testing.twins.") for name in vars(each)}
    inherited = {f"{part.__name__}.{name}" for part in _real(twin) for name in _verbs(part) - own}
    assert not inherited


def test_there_are_twins_of_everything_that_services_talk_to() -> None:
    stood_for = {part.__name__ for twin in _twins() for part in _real(twin)}
    assert stood_for >= {
        "Bus", "FactReader", "QueueWorker", "Recording", "Schedules", "DueSchedules", "Leadership",
        "EngineStore", "WorkerStore", "Requests", "PartitionLocks",
    }  # fmt: skip
