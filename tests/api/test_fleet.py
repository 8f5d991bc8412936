"""Workers and tables."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from api.conftest import Served, any_id, workflow
from freshet.bus import Heartbeat


def _worker(api: Served, worker: str, state: str = "available") -> None:
    api.execute(
        "insert into engine.worker (id, state, lock_key, hostname, pid, queues, busy_s, idle_s, wall_s)"
        " values (%s, %s, 1, 'host', 42, '{a,b}', 1, 2, 3)",
        worker, state,
    )  # fmt: skip


def _beat(api: Served, worker: str, state: str = "busy") -> None:
    heartbeat = Heartbeat(
        worker=worker, state=state, busy_s=5.0, idle_s=6.0, wall_s=11.0, pid=42, hostname="host", queues=("a",),
        started_at="2026-01-01T00:00:00+00:00", bundle=7,
    )  # fmt: skip
    api.bus.beat(heartbeat, expires_s=60)


def test_a_worker_with_a_heartbeat_shows_its_present_totals(api: Served) -> None:
    _worker(api, "w1")
    _worker(api, "w2")
    _beat(api, "w1")
    first, second = api.get("/workers").json()["items"]
    assert (first["id"], first["state"], first["busy_s"], first["idle_s"], first["wall_s"]) == ("w1", "busy", 5, 6, 11)
    assert (first["alive"], first["bundle"], first["hostname"], first["pid"]) == (True, 7, "host", 42)
    assert (second["state"], second["busy_s"], second["alive"]) == ("available", 1, False)


def test_workers_that_are_gone_come_last_and_each_is_shown_once(api: Served) -> None:
    for name, state in (("a", "offline"), ("b", "available"), ("c", "offline"), ("d", "draining")):
        _worker(api, name, state)
    for limit in (1, 2, 3, 10):
        found, after = [], None
        for _ in range(50):
            page = api.get("/workers", params={"limit": limit, **({"after": after} if after else {})}).json()
            found += [worker["id"] for worker in page["items"]]
            after = page["next"]
            if after is None:
                break
        assert found == ["b", "d", "a", "c"]


def test_killing_a_worker_asks_for_its_end_and_one_that_is_gone_cannot_be_killed(api: Served) -> None:
    _worker(api, "w1")
    _worker(api, "w2", "offline")
    assert api.post("/workers/w1/kill").status_code == 202
    assert api.post("/workers/w2/kill").status_code == 409
    assert api.post("/workers/w3/kill").status_code == 404


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_every_row_of_a_table_is_shown_once_newest_first(api: Served, limit: int) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(7):
        run = uuid4()
        api.execute(
            "insert into log.run (run_id, created_at, group_id, workflow, state, started_at, finished_at, at)"
            " values (%s, %s, %s, %s, 'succeeded', %s, %s, %s)",
            run, start, run, f"w{number}", start, start + timedelta(seconds=number // 3), start,
        )  # fmt: skip
    found, after = [], None
    for _ in range(50):
        params = {"limit": limit, **({"after": after} if after else {})}
        page = api.get("/tables/task_logging_stats", params=params).json()
        found += [(row["completed_time"], row["name"]) for row in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert sorted(name for _, name in found) == [f"w{number}" for number in range(7)]
    assert [moment for moment, _ in found] == sorted((moment for moment, _ in found), reverse=True)


def test_a_table_is_narrowed_to_a_runs_group(api: Served) -> None:
    api.apply(workflow())
    run = api.start("pipeline")
    api.end(run, "failed", assign="failed")
    api.record(run)
    again = api.post(f"/runs/{run}/rerun").json()["run_id"]
    api.end(again)
    api.record(again)
    other = api.start("pipeline")
    api.end(other)
    api.record(other)
    for named in (run, again):
        rows = api.get("/tables/task_logging_stats", params={"run": named}).json()["items"]
        assert {row["graph_run_group_id"] for row in rows} == {run}
        assert len(rows) == 2
    assert len(api.get("/tables/task_logging_stats").json()["items"]) == 3
    assert api.get("/tables/task_logging_stats", params={"run": any_id()}).status_code == 404


def test_the_jobs_table_has_the_columns_of_the_original(api: Served) -> None:
    api.apply(workflow())
    run = api.start("pipeline")
    api.end(run)
    api.record(run)
    api.execute(
        "insert into log.attempt (run_id, workflow, task, index_path, item, mapped, kind, attempt, state, final,"
        " finished_at, at)"
        " values (%s, 'pipeline', 'train', '', '', false, 'job_service', 1, 'succeeded', true, now(), now())",
        run,
    )  # fmt: skip
    (row,) = api.get("/tables/jobs_run_stats", params={"run": run}).json()["items"]
    assert list(row) == [
        "root_task_name", "task_name", "job_status", "graph_run_id", "graph_start_time", "errors", "created_date",
    ]  # fmt: skip
    assert (row["task_name"], row["job_status"], row["graph_run_id"]) == ("train", "DONE", run)
