"""Estimated credits: in the run object, in its tasks, in their items."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from tests.api.conftest import Served, served, workflow

from freshet.domain.cost import Rates
from freshet.storage.worker_store import WorkerStore
from freshet_api.door import Door


def job(pool: str, **more: Any) -> dict[str, Any]:
    return {"job_service": {"image": "/a:1", "compute_pool": pool, **more}}


def attempt(api: Served, run: str, task: str, seconds: float, *, item: str = "", error: str | None = None) -> None:
    api.execute(
        "insert into log.attempt (run_id, workflow, task, index_path, item, mapped, kind, attempt, state, final,"
        " finished_at, duration_s, error_class, at)"
        " values (%s, 'w', %s, '', %s, false, 'job_service', 1, 'succeeded', true, now(), %s, %s, now())",
        run, task, item, seconds, error,
    )  # fmt: skip


def begun(api: Served, **tasks: dict[str, Any]) -> str:
    api.apply({"name": "jobs", "tasks": tasks})
    return api.start("jobs")


def test_a_run_is_priced_by_the_run_time_of_its_attempts(api: Served, door: Door) -> None:
    WorkerStore(door.database).store_pool("pool_s", "CPU_X64_S")
    run = begun(api, a=job("pool_s"), b=job("POOL_S", replicas=2), c={"process": "assigner@1.0.0"})
    attempt(api, run, "a", 1800.0)
    attempt(api, run, "a", 900.0, error="oom")
    attempt(api, run, "a", 9000.0, error="capacity")  # it never ran
    attempt(api, run, "b", 360.0)
    found = api.get(f"/runs/{run}").json()
    assert found["tasks"]["a"]["estimated_credits"] == 0.0825
    assert found["tasks"]["b"]["estimated_credits"] == 0.022
    assert "estimated_credits" not in found["tasks"]["c"]
    assert found["estimated_credits"] == 0.1045


def test_a_pool_whose_family_nobody_knows_has_no_estimate(api: Served, door: Door) -> None:
    WorkerStore(door.database).store_pool("KNOWN", "CPU_X64_XS")
    run = begun(api, a=job("KNOWN"), b=job("UNKNOWN"))
    attempt(api, run, "a", 3600.0)
    assert api.get(f"/runs/{run}").json()["estimated_credits"] == 0.06  # b has not run, so it costs nothing yet
    attempt(api, run, "b", 1.0)
    found = api.get(f"/runs/{run}").json()
    assert found["estimated_credits"] is None
    assert found["tasks"]["a"]["estimated_credits"] == 0.06
    assert found["tasks"]["b"]["estimated_credits"] is None


def test_rates_and_families_can_be_set(door: Door) -> None:
    rates = Rates(credits_per_hour={"OURS": Decimal(2)}, families={"UNKNOWN": "OURS"})
    with served(replace(door, rates=rates)) as api:
        run = begun(api, b=job("unknown"))
        attempt(api, run, "b", 1800.0)
        assert api.get(f"/runs/{run}").json()["estimated_credits"] == 1.0


def test_a_run_without_job_services_says_nothing_of_cost(api: Served) -> None:
    api.apply(workflow())
    assert "estimated_credits" not in api.get(f"/runs/{api.start('pipeline')}").json()


def test_each_item_has_its_own_estimate(api: Served, door: Door) -> None:
    WorkerStore(door.database).store_pool("P", "CPU_X64_XS")
    run = begun(api, a={**job("P"), "for_each": 3})
    api.execute(
        "insert into engine.task_run (run_id, task, kind, state, total, mark, source_kind, started_at)"
        " values (%s, 'a', 'job_service', 'running', 3, 3, 'index', now())",
        run,
    )
    attempt(api, run, "a", 60.0, item="0")
    attempt(api, run, "a", 60.0, item="0")
    attempt(api, run, "a", 600.0, item="2")
    items = api.get(f"/runs/{run}/tasks/a/items").json()["items"]
    assert [each["estimated_credits"] for each in items] == [0.002, 0.0, 0.01]
