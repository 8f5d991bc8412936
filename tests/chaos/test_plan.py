"""The faults of a run are a function of its seed."""

from __future__ import annotations

import pytest
from tests.chaos.plan import CUT_OFF, Kind, plan


@pytest.mark.parametrize("seed", range(20))
def test_the_same_seed_gives_the_same_faults(seed: int) -> None:
    first, second = (plan(seed, length=180.0, lease=15.0, disk=True) for _ in range(2))
    assert first == second
    assert first != plan(seed + 1, length=180.0, lease=15.0, disk=True)


@pytest.mark.parametrize("seed", range(20))
def test_every_fault_is_over_when_the_run_is(seed: int) -> None:
    faults = plan(seed, length=90.0, lease=15.0, disk=True)
    assert all(each.at > 0.0 and each.at + each.seconds <= 90.0 for each in faults)
    assert list(faults) == sorted(faults, key=lambda each: each.at)


@pytest.mark.parametrize("seed", range(20))
def test_half_an_hour_brings_every_kind_of_fault_upon_every_service(seed: int) -> None:
    faults = plan(seed, length=1800.0, lease=60.0, disk=True)
    assert {each.kind for each in faults} == set(Kind)
    killed = {each.target.partition("-")[0] for each in faults if each.kind is Kind.KILL}
    assert killed == {"api", "scheduler", "dispatcher", "worker", "recorder", "emulator"}
    assert {each.target for each in faults if each.kind is Kind.CUT} == set(CUT_OFF)


def test_a_disk_that_cannot_be_filled_is_left_out() -> None:
    assert Kind.DISK_FULL not in {each.kind for each in plan(1, length=1800.0, lease=60.0, disk=False)}


@pytest.mark.parametrize("seed", range(20))
def test_stops_are_shorter_or_longer_than_the_lease_as_they_say(seed: int) -> None:
    for each in plan(seed, length=600.0, lease=20.0, disk=True):
        if each.kind in {Kind.STOP_WORKER_LONG, Kind.STOP_DISPATCHER_LONG}:
            assert each.seconds > 20.0
        if each.kind in {Kind.STOP_WORKER, Kind.STOP_SUPERVISOR, Kind.STOP_DISPATCHER}:
            assert each.seconds < 20.0
