"""Whatever dies, the run ends and every effect is there exactly once."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.e2e.installation import Installation

from freshet.bus import Bus

pytestmark = [pytest.mark.xdist_group("chaos"), pytest.mark.timeout(600)]

EFFECTS = {
    "name": "effects",
    "params": {"n": {"type": "integer", "default": 500}},
    "tasks": {
        "table": {"process": "e2e_table@1.0.0"},
        "effect": {"process": "e2e_effect@1.0.0", "after": ["table"], "for_each": "tasks.table.result"},
        "count": {"process": "e2e_count@1.0.0", "after": ["effect"]},
    },
}


def some_effects(installation: Installation, run: str) -> Any:
    exists = installation.one("select to_regclass('public.e2e_effect') is not null")
    return exists and installation.one("select count(*) from e2e_effect where run_id = %s", run)


def assert_every_effect_once(installation: Installation, run: str, count: int) -> None:
    found = installation.ended(run)
    assert found["state"] == "succeeded", found
    assert found["tasks"]["effect"]["items"]["succeeded"] == count
    assert found["tasks"]["count"]["result"] == count
    rows = installation.sql("select count(*), count(distinct item) from e2e_effect where run_id = %s", run)
    assert rows == [(count, count)]


def test_redis_flushed_in_the_middle_loses_and_doubles_nothing(installation: Installation) -> None:
    installation.apply(EFFECTS)
    run = installation.start("effects", n=2000)
    installation.wait(lambda: some_effects(installation, run), "the first effects")
    with redis.Redis.from_url(installation.connection["redis_url"]) as client:
        client.flushall()
    assert_every_effect_once(installation, run, 2000)


@pytest.mark.parametrize("service", ["worker", "dispatcher", "recorder"])
def test_a_service_killed_in_the_middle_loses_and_doubles_nothing(installation: Installation, service: str) -> None:
    installation.apply(EFFECTS)
    before = installation.pids(service)
    run = installation.start("effects", n=500)
    installation.wait(lambda: some_effects(installation, run), "the first effects")
    os.kill(before[0], signal.SIGKILL)
    assert_every_effect_once(installation, run, 500)
    installation.wait(
        lambda: before[0] not in installation.pids(service) and len(installation.pids(service)) == len(before),
        f"a new {service}",
    )


def test_a_worker_killed_in_mid_item_runs_it_again_and_its_first_write_is_gone(
    installation: Installation, tmp_path: Path
) -> None:
    installation.apply(
        {
            "name": "kill-once",
            "params": {"marker": {"type": "string"}},
            "tasks": {"kill": {"process": "e2e_kill_once@1.0.0"}},
        }
    )
    run = installation.start("kill-once", marker=str(tmp_path / "marker"))
    found = installation.ended(run)
    assert found["tasks"]["kill"]["result"] == "survived"
    assert found["tasks"]["kill"]["attempts"] == 1
    assert installation.one("select count(*) from e2e_kill") == 1


def test_a_worker_that_stood_still_and_goes_on_runs_nothing_twice(installation: Installation, tmp_path: Path) -> None:
    installation.apply(
        {
            "name": "wait",
            "params": {"begun": {"type": "string"}, "gate": {"type": "string"}},
            "tasks": {"wait": {"process": "e2e_wait_for_file@1.0.0"}},
        }
    )
    installation.apply(EFFECTS)
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    run = installation.start("wait", begun=str(begun), gate=str(gate))
    installation.wait(lambda: begun.exists() and begun.read_text(), "the item's begin")
    supervisor = int(begun.read_text())
    os.kill(supervisor, signal.SIGSTOP)
    try:
        # Long enough for its heartbeat to be gone and for the judge to have looked: its session still speaks for it.
        installation.wait(lambda: supervisor not in beating(installation), "the heartbeat's end")
        gate.write_text("open")
        for _ in range(5):
            other = installation.start("effects", n=50)
            assert_every_effect_once(installation, other, 50)
    finally:
        os.kill(supervisor, signal.SIGCONT)
    found = installation.ended(run)
    assert found["tasks"]["wait"]["result"] == "done"
    assert installation.one("select count(*) from e2e_waited where run_id = %s", run) == 1


def beating(installation: Installation) -> set[int]:
    """Process ids of the workers whose heartbeat is in Redis."""
    bus = Bus(installation.connection["redis_url"])
    try:
        return {heartbeat.pid for heartbeat in bus.heartbeats().values()}
    finally:
        bus.close()
