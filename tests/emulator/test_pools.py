"""Compute pools: nodes that take their time, room on them, rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.emulator.server import EmulatorProcess, ended, fresh, shell, status, until

from freshet.snowflake import JobServices, JobStatus, SnowflakeRefusedError
from freshet_emulator.errors import SqlError
from freshet_emulator.spcs.capacity import memory
from freshet_emulator.spcs.pools import Pool
from freshet_emulator.spcs.specification import parse_specification


@pytest.fixture(scope="module")
def slow() -> Iterator[JobServices]:
    """An emulator whose nodes take a while to start."""
    own = EmulatorProcess("--node-start", "0.5")
    services = own.services()
    yield services
    services.close()
    own.stop()


def state(services: JobServices, pool: str) -> dict[str, Any]:
    (row,) = services.execute(f"DESC COMPUTE POOL {pool}")
    return row


def test_a_pool_starts_before_it_is_idle_and_its_jobs_say_what_they_wait_for(slow: JobServices) -> None:
    pool, name = fresh("POOL"), fresh()
    slow.execute(f"CREATE COMPUTE POOL {pool} MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = CPU_X64_XS")
    slow.submit(name, pool, shell("true"), "mine")
    found = state(slow, pool)
    assert (found["state"], found["active_nodes"], found["idle_nodes"], found["target_nodes"]) == ("STARTING", 0, 0, 1)
    until(lambda: slow.containers(name)[0].message == "Compute pool node(s) are being provisioned")
    assert ended(slow, name).status is JobStatus.DONE
    until(lambda: state(slow, pool)["state"] == "IDLE")
    assert state(slow, pool)["idle_nodes"] == 1


def test_a_pool_grows_for_those_that_wait_up_to_its_largest_size(slow: JobServices, tmp_path: Path) -> None:
    pool, gate = fresh("POOL"), tmp_path / "gate"
    names = [fresh() for _ in range(3)]
    slow.execute(f"CREATE COMPUTE POOL {pool} MIN_NODES = 1 MAX_NODES = 2 INSTANCE_FAMILY = CPU_X64_XS")
    until(lambda: state(slow, pool)["state"] == "IDLE")
    for name in names:
        slow.submit(name, pool, shell(f"while [ ! -e {gate} ]; do sleep 0.02; done"), "mine")
    until(lambda: state(slow, pool)["state"] == "RESIZING")
    until(lambda: [status(slow, name) for name in names].count(JobStatus.RUNNING) == 2)
    assert state(slow, pool)["active_nodes"] == 2
    until(lambda: slow.containers(names[2])[0].message == "Unschedulable due to insufficient resources")
    gate.touch()
    assert [ended(slow, name).status for name in names] == [JobStatus.DONE] * 3


def test_a_pool_rests_after_its_time_and_a_job_wakes_it(services: JobServices) -> None:
    pool, name = fresh("POOL"), fresh()
    services.execute(
        f"CREATE COMPUTE POOL {pool} MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = CPU_X64_XS AUTO_SUSPEND_SECS = 1"
    )
    until(lambda: state(services, pool)["state"] == "SUSPENDED")
    services.submit(name, pool, shell("true"), "mine")
    assert ended(services, name).status is JobStatus.DONE


def test_a_suspended_pool_lets_its_jobs_end(services: JobServices, pool: str, tmp_path: Path) -> None:
    name, gate = fresh(), tmp_path / "gate"
    services.submit(name, pool, shell(f"while [ ! -e {gate} ]; do sleep 0.02; done"), "mine")
    until(lambda: status(services, name) is JobStatus.RUNNING)
    services.execute(f"ALTER COMPUTE POOL {pool} SUSPEND")
    gate.touch()
    assert ended(services, name).status is JobStatus.DONE


def sized(**resources: Any) -> str:
    container = {"name": "main", "image": "/x", "command": ["true"], "resources": resources}
    return json.dumps({"spec": {"containers": [container]}})


@pytest.mark.parametrize(
    "resources",
    [
        {"requests": {"cpu": "2"}},
        {"requests": {"memory": "7Gi"}},
        {"limits": {"nvidia.com/gpu": 1}},
    ],
)
def test_a_request_that_no_node_can_meet_is_refused_at_once(
    services: JobServices, pool: str, resources: dict[str, Any]
) -> None:
    with pytest.raises(SnowflakeRefusedError, match="can never be met"):
        services.submit(fresh(), pool, sized(**resources), "mine")


def test_a_request_that_fits_is_taken(services: JobServices, pool: str) -> None:
    name = fresh()
    services.submit(name, pool, sized(requests={"cpu": "500m", "memory": "512Mi"}, limits={"memory": "6Gi"}), "mine")
    assert ended(services, name).status is JobStatus.DONE


MAIN = {"name": "main", "image": "/x"}


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ({"containers": [MAIN, MAIN]}, "same name"),
        ({"containers": [{**MAIN, "name": "Main"}]}, "name"),
        ({"containers": [{**MAIN, "comand": ["x"]}]}, "comand"),
        ({"containers": [MAIN], "volume": []}, "volume"),
        ({"containers": []}, "containers"),
    ],
)
def test_a_specification_that_spcs_would_refuse_is_refused_by_field(spec: dict[str, Any], word: str) -> None:
    with pytest.raises(SqlError, match=word):
        parse_specification(json.dumps({"spec": spec}))


@pytest.mark.parametrize("size", ["512", "1 K", "x", "1Ti", ""])
def test_a_size_of_memory_needs_its_unit(size: str) -> None:
    with pytest.raises(SqlError, match="unit"):
        memory(size)


@given(
    st.integers(1, 5),
    st.integers(0, 5),
    st.integers(1, 4),
    st.lists(st.tuples(st.floats(0, 10), st.integers(0, 30)), max_size=12),
)
def test_a_pool_never_has_more_nodes_than_it_may(
    smallest: int, more: int, per_node: int, steps: list[tuple[float, int]]
) -> None:
    pool, now = Pool(name="P", min_nodes=smallest, max_nodes=smallest + more), 0.0
    for passed, waiting in steps:
        now += passed
        pool.provision(now, waiting=waiting, jobs_per_node=per_node, delay=1.0)
        assert pool.ready + len(pool.starting) <= pool.max_nodes
        assert pool.ready + len(pool.starting) >= pool.min_nodes
