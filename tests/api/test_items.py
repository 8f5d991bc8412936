"""Items, results and logs: pages of what is there, and of what is derived."""

import json
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from api.conftest import Served, any_id, workflow


def _task_run(api: Served, run: str, task: str, **columns: Any) -> int:
    given = {"kind": "process", "state": "running", **columns}
    if given["state"] not in {"pending", "running"}:
        given["finished_at"] = "2026-01-01T00:00:00Z"
    names = ", ".join(given)
    marks = ", ".join(["%s"] * len(given))
    statement = f"insert into engine.task_run (run_id, task, {names}) values (%s, %s, {marks}) returning id"
    return int(api.execute(statement, run, task, *given.values())[0]["id"])


def _item(api: Served, task_run: int, index: int, state: str = "queued", **columns: Any) -> int:
    given = {"state": state, **columns}
    if state not in {"queued", "running"}:
        given["finished_at"] = "2026-01-01T00:00:00Z"
    if "result" in given:
        given["result"] = Jsonb(given["result"])
    names = ", ".join(given)
    marks = ", ".join(["%s"] * len(given))
    key = (task_run << 24) + index
    api.execute(f"insert into engine.work_item (id, {names}) values (%s, {marks})", key, *given.values())
    return key


def _bundle(api: Served, run: str, task_run: int, items: list[int], **columns: Any) -> None:
    given = {"queue": "classification@1.0.0", "priority": 100, "turn": 0, "partition": int(run[-1], 16), **columns}
    names = ", ".join(given)
    marks = ", ".join(["%s"] * len(given))
    api.execute(
        f"insert into engine.bundle (run_id, task_run_id, items, attempts, {names}) values (%s, %s, %s, %s, {marks})",
        run, task_run, items, [1] * len(items), *given.values(),
    )  # fmt: skip


@pytest.fixture
def run(api: Served) -> str:
    api.apply(workflow())
    return api.start("pipeline")


def test_states_of_items_are_derived_from_bundle_and_window(api: Served, run: str) -> None:
    owner = _task_run(api, run, "classify", total=9, mark=8, source_kind="index")
    keys = [_item(api, owner, index) for index in range(7)]
    api.execute("update engine.work_item set failures = 1 where id = %s", keys[4])
    _item(api, owner, 7, "succeeded", result={"ok": 1})
    claim = {"claim": any_id(), "worker": "w1", "claimed_at": "2026-01-01T00:00:00Z"}
    _bundle(api, run, owner, keys[0:1])
    _bundle(api, run, owner, keys[1:3], done=1, **claim)
    _bundle(api, run, owner, keys[3:4], job_name="J", submitted_at="2026-01-01T00:00:00Z")
    _bundle(api, run, owner, keys[4:5], due_at="2026-01-01T00:00:00Z")
    _bundle(api, run, owner, keys[5:6], due_at="2026-01-01T00:00:00Z")
    # item 1 has ended in its bundle and item 6 has none: both wait for the fold of a report
    items = api.get(f"/runs/{run}/tasks/classify/items").json()["items"]
    assert [(item["item"], item["state"]) for item in items] == [
        ("0", "queued"), ("1", "running"), ("2", "running"), ("3", "waiting"), ("4", "retrying"), ("5", "queued"),
        ("6", "running"), ("7", "succeeded"), ("8", "pending"),
    ]  # fmt: skip
    assert items[2]["worker"] == "w1"
    assert items[7]["result"] == {"ok": 1}


def test_an_item_that_nobody_serves_says_so(api: Served, run: str) -> None:
    owner = _task_run(api, run, "classify", total=1, mark=1, source_kind="index")
    _bundle(api, run, owner, [_item(api, owner, 0)])
    (item,) = api.get(f"/runs/{run}/tasks/classify/items").json()["items"]
    assert item["note"] == "Nobody serves queue classification@1.0.0."
    _worker(api, "w1", ["classification@1.0.0"])
    (item,) = api.get(f"/runs/{run}/tasks/classify/items").json()["items"]
    assert "note" not in item


def _worker(api: Served, worker: str, queues: list[str], state: str = "available") -> None:
    api.execute(
        "insert into engine.worker (id, state, lock_key, hostname, pid, queues) values (%s, %s, 1, 'h', 1, %s)",
        worker, state, queues,
    )  # fmt: skip


@pytest.mark.parametrize("state", ["skipped", "cancelled"])
def test_items_without_rows_end_with_their_task(api: Served, run: str, state: str) -> None:
    _task_run(api, run, "assign", state=state, total=1, mark=0, **{state: 1})
    (item,) = api.get(f"/runs/{run}/tasks/assign/items").json()["items"]
    assert (item["item"], item["state"]) == ("", state)


@pytest.mark.parametrize("limit", [1, 3, 4, 50])
def test_every_item_of_every_scope_is_listed_once(api: Served, limit: int) -> None:
    api.apply(
        {"name": "nested", "tasks": {"docs": {"for_each": "4", "tasks": {"part": {"process": "p@1", "for_each": "3"}}}}}
    )
    run = api.start("nested")
    for scope in range(4):
        _task_run(api, run, "docs.part", index_path=str(scope), total=scope, mark=0, source_kind="index")
    found, after = [], None
    for _ in range(50):
        params = {"limit": limit, **({"after": after} if after else {})}
        page = api.get(f"/runs/{run}/tasks/docs.part/items", params=params).json()
        found += [item["item"] for item in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert found == ["1.0", "2.0", "2.1", "3.0", "3.1", "3.2"]


def test_one_item_is_found_by_its_index_path(api: Served, run: str) -> None:
    owner = _task_run(api, run, "classify", total=20_000, mark=0, source_kind="index")
    _item(api, owner, 17_000, "succeeded", result=5)
    path = f"/runs/{run}/tasks/classify/items"
    (item,) = api.get(path, params={"item": "17000"}).json()["items"]
    assert (item["item"], item["state"], item["result"]) == ("17000", "succeeded", 5)
    assert api.get(path, params={"item": "20000"}).status_code == 404
    assert api.get(path, params={"item": "3.1"}).status_code == 404
    assert api.get(path, params={"item": "9" * 30}).status_code == 404
    assert api.get(path, params={"item": "abc"}).status_code == 422


def test_a_task_that_has_not_begun_has_no_items(api: Served, run: str) -> None:
    assert api.get(f"/runs/{run}/tasks/merge/items").json() == {"items": [], "next": None}
    assert api.get(f"/runs/{run}/tasks/merge/logs").json()["items"] == []


def test_a_wide_maps_page_reads_no_more_than_a_page(api: Served, run: str) -> None:
    owner = _task_run(api, run, "classify", total=16_777_216, mark=0, source_kind="index")
    first = api.get(f"/runs/{run}/tasks/classify/items", params={"limit": 2}).json()
    assert [item["item"] for item in first["items"]] == ["0", "1"]
    task = api.get(f"/runs/{run}").json()["tasks"]["classify"]
    assert task["items"]["total"] == 16_777_216
    api.execute(
        "update engine.task_run set state = 'cancelled', cancelled = total, finished_at = now() where id = %s", owner
    )
    assert api.get(f"/runs/{run}").json()["tasks"]["classify"]["result"] is None


def test_a_small_result_stands_in_the_run_object_and_a_large_one_has_an_address(api: Served, run: str) -> None:
    small = _task_run(api, run, "assign", state="succeeded", total=1, mark=1, succeeded=1)
    _item(api, small, 0, "succeeded", result={"list": [1, 2]})
    large = _task_run(api, run, "merge", state="succeeded", total=1, mark=1, succeeded=1)
    _item(api, large, 0, "succeeded", result="x" * 70_000)
    tasks = api.get(f"/runs/{run}").json()["tasks"]
    assert tasks["assign"]["result"] == {"list": [1, 2]}
    assert tasks["merge"]["result"] is None
    answer = api.http.get(f"{api.url}{tasks['merge']['result_url']}")
    assert answer.json() == {"result": "x" * 70_000}


def test_a_maps_results_are_a_list_in_the_order_of_items_with_null_for_the_failed(api: Served, run: str) -> None:
    owner = _task_run(api, run, "classify", state="failed", total=3, mark=3, succeeded=2, failed=1, source_kind="index")
    _item(api, owner, 2, "succeeded", result="c")
    _item(api, owner, 0, "succeeded", result="a")
    _item(api, owner, 1, "failed", error=Jsonb({"class": "user", "message": "broken"}))
    assert api.get(f"/runs/{run}").json()["tasks"]["classify"]["result"] == ["a", None, "c"]
    page = api.get(f"/runs/{run}/tasks/classify/result", params={"limit": 2}).json()
    assert (page["results"], page["total"]) == (["a", None], 3)
    rest = api.get(f"/runs/{run}/tasks/classify/result", params={"limit": 2, "after": page["next"]}).json()
    assert (rest["results"], rest["next"]) == (["c"], None)
    assert api.get(f"/runs/{run}/tasks/classify/result", params={"item": "2"}).json() == {"result": "c"}


def test_heavy_results_of_a_narrow_map_have_an_address(api: Served, run: str) -> None:
    owner = _task_run(api, run, "classify", state="succeeded", total=2, mark=2, succeeded=2, source_kind="index")
    for index in range(2):
        _item(api, owner, index, "succeeded", result="y" * 40_000)
    task = api.get(f"/runs/{run}").json()["tasks"]["classify"]
    assert task["result"] is None
    assert task["result_url"].endswith(f"/runs/{run}/tasks/classify/result")


def test_yielded_values_are_the_result(api: Served, run: str) -> None:
    owner = _task_run(api, run, "assign", state="succeeded", total=1, mark=1, succeeded=1)
    key = _item(api, owner, 0, "succeeded", row_count=5)
    for index in range(5):
        api.execute("insert into engine.value values (%s, %s, %s)", key, index, json.dumps(index * 10))
    assert api.get(f"/runs/{run}").json()["tasks"]["assign"]["result"] == [0, 10, 20, 30, 40]
    page = api.get(f"/runs/{run}/tasks/assign/result", params={"limit": 3}).json()
    assert (page["results"], page["total"]) == ([0, 10, 20], 5)
    rest = api.get(f"/runs/{run}/tasks/assign/result", params={"limit": 3, "after": page["next"]}).json()
    assert (rest["results"], rest["next"]) == ([30, 40], None)


def test_a_copied_tasks_result_is_that_of_the_first_run(api: Served, run: str) -> None:
    owner = _task_run(api, run, "assign", state="succeeded", total=1, mark=1, succeeded=1)
    _item(api, owner, 0, "succeeded", result="once")
    api.end(run, "failed")
    again = api.post(f"/runs/{run}/rerun", {"mode": "failed"}).json()["run_id"]
    _task_run(api, again, "assign", state="succeeded", total=1, mark=1, succeeded=1, copied_from=owner)
    task = api.get(f"/runs/{again}").json()["tasks"]["assign"]
    assert (task["result"], task["attempts"]) == ("once", 0)
    (item,) = api.get(f"/runs/{again}/tasks/assign/items").json()["items"]
    assert item["state"] == "succeeded"


def test_a_nested_task_is_summed_over_its_scopes(api: Served) -> None:
    inner = {"part": {"process": "p@1", "for_each": "3"}, "whole": {"process": "p@1", "after": ["part"]}}
    api.apply({"name": "nested", "tasks": {"docs": {"for_each": "3", "tasks": inner, "result": "whole"}}})
    run = api.start("nested")
    _task_run(api, run, "docs", kind="map", total=3, mark=2, succeeded=1, source_kind="index")
    common = {"total": 3, "mark": 3, "source_kind": "index", "attempts": 4}
    _task_run(api, run, "docs.part", index_path="0", state="succeeded", succeeded=3, **common)
    _task_run(api, run, "docs.part", index_path="1", state="running", succeeded=1, **common)
    task = api.get(f"/runs/{run}").json()["tasks"]["docs.part"]
    assert task["items"] == {"total": 6, "succeeded": 4, "failed": 0, "skipped": 0, "cancelled": 0}
    assert (task["state"], task["attempts"]) == ("running", 8)
    api.execute("update engine.task_run set state = 'succeeded', succeeded = total, finished_at = now()")
    assert api.get(f"/runs/{run}").json()["tasks"]["docs.part"]["state"] == "succeeded"


def test_inner_tasks_run_on_while_their_map_can_open_another_scope(api: Served) -> None:
    api.apply({"name": "nested", "tasks": {"docs": {"for_each": "3", "tasks": {"part": {"process": "p@1"}}}}})
    run = api.start("nested")
    _task_run(api, run, "docs", kind="map", total=3, mark=1, succeeded=1, source_kind="index")
    _task_run(api, run, "docs.part", index_path="0", state="succeeded", total=1, mark=1, succeeded=1)
    assert api.get(f"/runs/{run}").json()["tasks"]["docs.part"]["state"] == "running"


def test_logs_are_paged_in_the_order_of_writing_and_followed(api: Served, run: str) -> None:
    _task_run(api, run, "assign", total=1, mark=1)
    _log(api, run, attempt=1, part=0, text="a\n")
    _log(api, run, attempt=1, part=1, text="b\n")
    _log(api, run, attempt=2, part=0, text="c\n")
    path = f"/runs/{run}/tasks/assign/logs"
    first = api.get(path, params={"limit": 2}).json()
    assert [entry["text"] for entry in first["items"]] == ["a\n", "b\n"]
    rest = api.get(path, params={"after": first["next"]}).json()
    assert [entry["text"] for entry in rest["items"]] == ["c\n"]
    _log(api, run, attempt=2, part=1, text="d\n")
    more = api.get(path, params={"after": rest["next"]}).json()
    assert [entry["text"] for entry in more["items"]] == ["d\n"]
    silent = api.get(path, params={"after": more["next"]}).json()
    assert silent == {"items": [], "next": more["next"]}
    assert [entry["part"] for entry in api.get(path, params={"attempt": 2}).json()["items"]] == [0, 1]
    assert api.get(path, params={"item": "3"}).json()["items"] == []


def _log(api: Served, run: str, *, attempt: int, part: int, text: str) -> None:
    api.execute(
        "insert into log.attempt_log (run_id, task, item, attempt, claim, part, text)"
        " values (%s, 'assign', '', %s, %s, %s, %s)",
        run, attempt, any_id(), part, text,
    )  # fmt: skip


def test_queues_tell_their_depth_and_who_serves_them(api: Served, run: str) -> None:
    owner = _task_run(api, run, "classify", total=3, mark=3, source_kind="index")
    keys = [_item(api, owner, index) for index in range(3)]
    _bundle(api, run, owner, keys[:2])
    _bundle(api, run, owner, keys[2:], claim=any_id(), worker="w1", claimed_at="2026-01-01T00:00:00Z")
    _worker(api, "w2", ["other@1"])
    _worker(api, "w3", ["classification@1.0.0"], "offline")
    busy, idle = api.get("/queues").json()["items"]
    assert (busy["name"], busy["depth"], busy["items"], busy["running"]) == ("classification@1.0.0", 1, 2, 1)
    assert (busy["served"], busy["workers"]) == (False, [])
    assert busy["oldest_s"] >= 0
    assert "Nobody serves" in busy["note"]
    assert (idle["name"], idle["depth"], idle["served"], idle["note"]) == ("other@1", 0, True, None)
    first = api.get("/queues", params={"limit": 1}).json()
    assert api.get("/queues", params={"limit": 1, "after": first["next"]}).json()["items"] == [idle]
