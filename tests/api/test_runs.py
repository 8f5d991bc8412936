"""Runs at the front door: asking for them, and the run object."""

import json

import pytest

from api.conftest import Served, any_id, workflow

RUN_KEYS = {
    "run_id", "workflow", "version", "state", "params", "scheduled_for", "rerun_of", "created_at", "started_at",
    "finished_at", "tasks",
}  # fmt: skip
TASK_KEYS = {"kind", "state", "items", "attempts", "result", "error"}
COUNTERS = {"total", "succeeded", "failed", "skipped", "cancelled"}


def test_a_run_is_pending_with_a_request_and_its_dispatcher_is_woken(api: Served) -> None:
    api.apply(workflow())
    answer = api.post("/workflows/pipeline/runs", {"params": {"batch": 8}, "scheduled_for": "2026-01-01T00:00:00Z"})
    run = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/api/v1/runs/{run['run_id']}"
    assert (run["state"], run["params"], run["scheduled_for"]) == ("pending", {"batch": 8}, "2026-01-01T00:00:00+00:00")
    (request,) = api.execute("select partition, run_id::text, kind from engine.request")
    assert (request["run_id"], request["kind"]) == (run["run_id"], "start")
    assert request["partition"] == int(run["run_id"][-1], 16)
    assert api.bus.await_wake([f"dispatcher:{request['partition']}"], seconds=1)


def test_the_run_object_has_the_keys_of_the_contract(api: Served) -> None:
    api.apply(workflow())
    run = api.get(f"/runs/{api.start('pipeline')}").json()
    assert set(run) >= RUN_KEYS
    assert set(run["tasks"]) == {"assign", "classify", "merge", "stats"}
    for task in run["tasks"].values():
        assert set(task) >= TASK_KEYS
        assert set(task["items"]) == COUNTERS
        assert task["state"] == "pending"


def test_defaults_are_filled_in_and_wrong_params_are_pointed_at(api: Served) -> None:
    api.apply(workflow())
    assert api.post("/workflows/pipeline/runs").json()["params"] == {"batch": 4}
    answer = api.post("/workflows/pipeline/runs", {"params": {"batch": "x", "bath": 1}})
    assert answer.status_code == 422
    assert {error["pointer"] for error in answer.json()["errors"]} == {"/params/batch", "/params/bath"}
    assert len(api.execute("select * from engine.run")) == 1


def test_the_same_idempotency_key_answers_the_same_run(api: Served) -> None:
    api.apply(workflow())
    key = {"Idempotency-Key": "order-17"}
    first = api.post("/workflows/pipeline/runs", {"params": {"batch": 1}}, headers=key)
    again = api.post("/workflows/pipeline/runs", {"params": {"batch": 1}}, headers=key)
    other = api.post("/workflows/pipeline/runs", {"params": {"batch": 2}}, headers=key)
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 409)
    assert first.json()["run_id"] == again.json()["run_id"]
    assert len(api.execute("select * from engine.request")) == 1


def test_an_idempotency_key_belongs_to_one_workflow(api: Served) -> None:
    api.apply(workflow("one"))
    api.apply(workflow("two"))
    key = {"Idempotency-Key": "k"}
    assert api.post("/workflows/one/runs", headers=key).status_code == 201
    assert api.post("/workflows/two/runs", headers=key).status_code == 201


def test_cancelling_twice_writes_one_request_and_an_ended_run_cannot_be_cancelled(api: Served) -> None:
    api.apply(workflow())
    run = api.start("pipeline")
    assert api.post(f"/runs/{run}/cancel").status_code == 202
    assert api.post(f"/runs/{run}/cancel").status_code == 202
    assert len(api.execute("select * from engine.request where kind = 'cancel'")) == 1
    api.end(run)
    assert api.post(f"/runs/{run}/cancel").status_code == 409
    api.execute("update engine.run set state = 'cancelled'")
    assert api.post(f"/runs/{run}/cancel").status_code == 202


def test_a_rerun_is_a_new_run_on_the_pinned_version_in_the_same_group(api: Served) -> None:
    api.apply(workflow())
    first = api.start("pipeline", params={"batch": 9})
    api.apply(workflow(priority=1))
    assert api.post(f"/runs/{first}/rerun").status_code == 409
    api.end(first, "failed", assign="succeeded", classify="failed", merge="skipped", stats="succeeded")
    answer = api.post(f"/runs/{first}/rerun")
    second = answer.json()
    assert answer.status_code == 201
    assert (second["rerun_of"], second["version"], second["params"]) == (first, 1, {"batch": 9})
    api.end(second["run_id"], "failed")
    third = api.post(f"/runs/{second['run_id']}/rerun").json()
    assert third["group_id"] == second["group_id"] == first


def test_a_run_of_a_deleted_workflow_can_run_again(api: Served) -> None:
    api.apply(workflow())
    run = api.start("pipeline")
    api.end(run, "failed", assign="failed")
    api.http.delete("/workflows/pipeline")
    again = api.post(f"/runs/{run}/rerun", {"mode": "failed"})
    assert (again.status_code, again.json()["version"]) == (201, 1)


@pytest.mark.parametrize(
    ("body", "states", "expected"),
    [
        ({"mode": "all"}, "sfks", None),
        ({"mode": "failed"}, "sfks", ["classify", "merge", "stats"]),
        ({"mode": "failed"}, "ssss", 409),
        ({"mode": "failed"}, "sssf", ["stats"]),
        ({"mode": "failed"}, "c---", ["assign", "classify", "merge", "stats"]),
        ({"mode": "from", "task": "merge"}, "ssss", ["merge", "stats"]),
        ({"mode": "from", "task": "merge"}, "sfss", ["classify", "merge", "stats"]),
        ({"mode": "from", "task": "classify"}, "ssss", ["classify", "merge", "stats"]),
        ({"mode": "from", "task": "nothing"}, "ssss", 422),
        ({"mode": "from"}, "ssss", 422),
        ({"mode": "all", "task": "merge"}, "ssss", 422),
        ({"mode": "sideways"}, "ssss", 422),
    ],
)
def test_a_rerun_repeats_what_was_asked_for_and_all_that_did_not_succeed(
    api: Served, body: dict[str, str], states: str, expected: object
) -> None:
    api.apply(workflow())
    run = api.start("pipeline")
    words = {"s": "succeeded", "f": "failed", "k": "skipped", "c": "cancelled"}
    names = ("assign", "classify", "merge", "stats")
    api.end(run, "failed", **{name: words[mark] for name, mark in zip(names, states, strict=True) if mark in words})
    answer = api.post(f"/runs/{run}/rerun", body)
    if isinstance(expected, int):
        assert answer.status_code == expected
        return
    assert answer.status_code == 201
    (row,) = api.execute("select rerun_tasks from engine.run where rerun_of = %s", run)
    assert (sorted(row["rerun_tasks"]) if row["rerun_tasks"] else None) == (sorted(expected) if expected else None)


def test_a_run_is_recorded_when_its_end_is_logged_and_nothing_is_on_its_way(api: Served) -> None:
    api.apply(workflow())
    run = api.start("pipeline")
    api.end(run)
    assert api.get(f"/runs/{run}").json()["recorded"] is False
    api.execute("insert into engine.outbox (run_id, body) values (%s, '[]')", run)
    api.record(run)
    assert api.get(f"/runs/{run}").json()["recorded"] is False
    api.execute("delete from engine.outbox")
    assert api.get(f"/runs/{run}").json()["recorded"] is True


def test_a_task_without_a_row_is_cancelled_once_the_run_is_over(api: Served) -> None:
    api.apply(workflow())
    run = api.start("pipeline")
    api.end(run, "cancelled", assign="succeeded")
    tasks = api.get(f"/runs/{run}").json()["tasks"]
    assert (tasks["assign"]["state"], tasks["merge"]["state"]) == ("succeeded", "cancelled")


def test_runs_are_listed_newest_first_and_each_once(api: Served) -> None:
    api.apply(workflow())
    api.apply(workflow("other"))
    runs = [api.start("pipeline") for _ in range(5)]
    api.start("other")
    api.end(runs[2])
    assert _walk(api, {"workflow": "pipeline"}, 2) == runs[::-1]
    assert _walk(api, {"state": "succeeded"}, 2) == [runs[2]]
    assert len(_walk(api, {}, 4)) == 6
    assert _walk(api, {"group": runs[0]}, 10) == [runs[0]]


def _walk(api: Served, filters: dict[str, str], limit: int) -> list[str]:
    found, after = [], None
    for _ in range(50):
        page = api.get("/runs", params={**filters, "limit": limit, **({"after": after} if after else {})}).json()
        found += [run["run_id"] for run in page["items"]]
        after = page["next"]
        if after is None:
            return found
    raise AssertionError(found)


def test_tasks_are_a_list_too(api: Served) -> None:
    api.apply(workflow())
    run = api.start("pipeline")
    first = api.get(f"/runs/{run}/tasks", params={"limit": 3}).json()
    rest = api.get(f"/runs/{run}/tasks", params={"limit": 3, "after": first["next"]}).json()
    assert {task["task"] for task in first["items"] + rest["items"]} == {"assign", "classify", "merge", "stats"}
    assert rest["next"] is None


def test_what_is_not_there_is_a_404(api: Served) -> None:
    api.apply(workflow())
    run = api.start("pipeline")
    for path in (f"/runs/{any_id()}", f"/runs/{any_id()}/tasks/a/items", f"/runs/{run}/tasks/nope/items",
                 f"/runs/{run}/tasks/nope/logs", f"/runs/{run}/tasks/assign/result", "/workflows/nope",
                 f"/runs/{any_id()}/events"):  # fmt: skip
        answer = api.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
    for path in (f"/runs/{any_id()}/cancel", f"/runs/{any_id()}/rerun", "/workers/nobody/kill", "/workflows/x/pause"):
        assert api.post(path).status_code == 404, path


def test_a_key_with_many_params_is_compared_whole(api: Served) -> None:
    api.apply(workflow(params={"a": {"type": "object", "default": {}}, "b": {"type": "array", "default": []}}))
    key = {"Idempotency-Key": "deep"}
    params = {"a": {"x": [1, 2.5, None, True, "ü"]}, "b": [{"y": {}}]}
    first = api.post("/workflows/pipeline/runs", {"params": params}, headers=key)
    again = api.post("/workflows/pipeline/runs", json.loads(json.dumps({"params": params})), headers=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["params"] == params
