"""Definitions at the front door."""

from api.conftest import Served, workflow


def test_the_same_document_again_makes_no_new_version(api: Served) -> None:
    first = api.put("/workflows/pipeline", workflow())
    again = api.put("/workflows/pipeline", workflow())
    assert (first.status_code, first.json()["version"], first.json()["created"]) == (201, 1, True)
    assert (again.status_code, again.json()["version"], again.json()["changed"]) == (200, 1, False)


def test_a_changed_document_makes_the_next_version_and_the_old_one_stays(api: Served) -> None:
    api.apply(workflow())
    changed = api.apply(workflow(priority=7))
    assert (changed["version"], changed["created"], changed["changed"]) == (2, False, True)
    assert api.get("/workflows/pipeline").json()["document"]["priority"] == 7
    assert "priority" not in api.get("/workflows/pipeline", params={"version": 1}).json()["document"]


def test_a_process_without_a_version_gets_the_newest_that_a_worker_declared(api: Served) -> None:
    for version in ("1.9.0", "1.10.0-rc1", "1.10.0", "1.2.0"):
        api.execute("insert into engine.process (name, version) values ('sorter', %s)", version)
    applied = api.apply({"name": "w", "tasks": {"sort": {"process": "sorter"}}})
    assert applied["document"]["tasks"]["sort"]["process"] == "sorter@1.10.0"


def test_an_unknown_process_is_refused_with_its_place_and_nothing_is_stored(api: Served) -> None:
    inner = {"for_each": "3", "tasks": {"x": {"process": "nobody"}}, "result": "x"}
    answer = api.put("/workflows/w", {"name": "w", "tasks": {"m": inner}, "finally": {"f": {"process": "none"}}})
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [
        "/tasks/m/tasks/x/process",
        "/finally/f/process",
    ]
    assert answer.json()["code"] == "unknown_process"
    assert api.get("/workflows/w").status_code == 404


def test_a_named_version_is_accepted_though_nobody_serves_it(api: Served) -> None:
    assert api.apply({"name": "w", "tasks": {"a": {"process": "later@9.9.9"}}})["version"] == 1


def test_a_document_of_another_name_is_refused(api: Served) -> None:
    answer = api.put("/workflows/other", workflow("pipeline"))
    assert (answer.status_code, answer.json()["code"]) == (422, "wrong_name")


def test_every_mistake_in_a_document_is_told(api: Served) -> None:
    document = {
        "name": "w",
        "tasks": {"a": {"process": "p@1", "timeout": "soon"}, "c": {"process": "p@1", "retries": {"limit": -1}}},
    }
    answer = api.put("/workflows/w", document)
    assert answer.status_code == 422
    assert {error["pointer"] for error in answer.json()["errors"]} == {"/tasks/a/timeout", "/tasks/c/retries/limit"}


def test_an_interval_keeps_its_anchor_and_its_next_tick_over_applies(api: Served) -> None:
    api.apply(workflow(schedule={"every": "PT1H"}))
    before = api.execute("select anchor, next_fire_at from engine.schedule")
    api.apply(workflow(schedule={"every": "PT1H"}, priority=3))
    assert api.execute("select anchor, next_fire_at from engine.schedule") == before
    api.apply(workflow(schedule={"every": "PT30M"}))
    after = api.execute("select anchor, next_fire_at from engine.schedule")
    assert after[0]["anchor"] == before[0]["anchor"]
    assert (after[0]["next_fire_at"] - after[0]["anchor"]).total_seconds() == 1800


def test_a_deleted_workflow_has_no_ticks_and_no_triggers_and_its_runs_stay(api: Served) -> None:
    api.apply(workflow(schedule={"every": "PT1H"}, triggers=[{"event": "a.b"}]))
    run = api.start("pipeline")
    assert api.http.delete("/workflows/pipeline").status_code == 204
    assert api.get("/workflows/pipeline").status_code == 404
    assert api.post("/workflows/pipeline/runs").status_code == 404
    assert api.http.delete("/workflows/pipeline").status_code == 404
    assert api.execute("select * from engine.schedule") == []
    assert api.execute("select * from engine.event_trigger") == []
    assert api.get(f"/runs/{run}").json()["state"] == "pending"


def test_deleting_a_workflow_asks_all_its_active_runs_to_end_once(api: Served) -> None:
    api.apply(workflow())
    active, asked, ended = api.start("pipeline"), api.start("pipeline"), api.start("pipeline")
    api.post(f"/runs/{asked}/cancel")
    api.end(ended, "failed")
    api.http.delete("/workflows/pipeline")
    requests = api.execute("select run_id::text as run from engine.request where kind = 'cancel'")
    assert sorted(row["run"] for row in requests) == sorted([active, asked])


def test_a_deleted_workflow_comes_back_in_its_version(api: Served) -> None:
    api.apply(workflow())
    api.http.delete("/workflows/pipeline")
    answer = api.put("/workflows/pipeline", workflow())
    assert (answer.status_code, answer.json()["version"]) == (201, 1)
    assert api.apply(workflow(priority=1))["version"] == 2


def test_pausing_stops_the_clock_and_resuming_starts_it_from_now(api: Served) -> None:
    api.apply(workflow(schedule={"every": "PT1H"}))
    assert api.post("/workflows/pipeline/pause").json()["paused"] is True
    api.execute("update engine.schedule set next_fire_at = now() - interval '5 hours'")
    assert api.execute("select paused from engine.schedule") == [{"paused": True}]
    resumed = api.post("/workflows/pipeline/resume").json()
    assert resumed["paused"] is False
    assert api.execute("select next_fire_at > now() as ahead from engine.schedule") == [{"ahead": True}]


def test_a_schedule_applied_to_a_paused_workflow_stays_paused(api: Served) -> None:
    api.apply(workflow())
    api.post("/workflows/pipeline/pause")
    api.apply(workflow(schedule={"every": "PT1H"}))
    assert api.execute("select paused from engine.schedule") == [{"paused": True}]


def test_the_scheduler_is_woken_by_a_change(api: Served) -> None:
    api.apply(workflow(schedule={"every": "PT1H"}))
    assert api.bus.await_wake(["scheduler"], seconds=1) == "scheduler"


def test_the_list_shows_every_workflow_once_whatever_the_page(api: Served) -> None:
    names = [f"w{number}" for number in range(7)]
    for name in names:
        api.apply({"name": name, "tasks": {"a": {"process": "p@1"}}})
    for limit in (1, 3, 7, 100):
        assert _walk(api, "/workflows", limit) == names


def _walk(api: Served, path: str, limit: int) -> list[str]:
    found, after = [], None
    for _ in range(50):
        params = {"limit": limit} | ({"after": after} if after else {})
        page = api.get(path, params=params).json()
        assert len(page["items"]) <= limit
        found += [item["name"] for item in page["items"]]
        after = page["next"]
        if after is None:
            return found
    raise AssertionError(found)


def test_a_backfill_makes_one_run_per_tick_once_and_one_after_the_other(api: Served) -> None:
    api.apply(workflow(schedule={"cron": "0 * * * *"}))
    span = {"from": "2026-03-01T00:00:00Z", "to": "2026-03-01T03:00:00Z"}
    first = api.post("/workflows/pipeline/backfill", span).json()
    again = api.post("/workflows/pipeline/backfill", span).json()
    assert (first["created"], again["created"]) == (3, 0)
    assert [run["run_id"] for run in first["runs"]] == [run["run_id"] for run in again["runs"]]
    assert [run["scheduled_for"][:13] for run in first["runs"]] == ["2026-03-01T00", "2026-03-01T01", "2026-03-01T02"]
    held = api.execute("select held from engine.run order by scheduled_for")
    assert [row["held"] for row in held] == [False, True, True]
    assert len(api.execute("select * from engine.request")) == 1


def test_a_backfill_with_overlap_allowed_starts_all(api: Served) -> None:
    api.apply(workflow(schedule={"cron": "0 * * * *", "overlap": "allow"}))
    api.post("/workflows/pipeline/backfill", {"from": "2026-03-01", "to": "2026-03-01T03:00:00Z"})
    assert len(api.execute("select * from engine.request where kind = 'start'")) == 3


def test_a_backfill_that_is_too_long_or_without_a_schedule_is_refused(api: Served) -> None:
    api.apply(workflow("plain"))
    span = {"from": "2026-03-01T00:00:00Z", "to": "2026-04-01T03:00:00Z"}
    assert api.post("/workflows/plain/backfill", span).status_code == 409
    api.apply(workflow(schedule={"every": "PT1S"}))
    answer = api.post("/workflows/pipeline/backfill", span)
    assert (answer.status_code, answer.json()["code"]) == (422, "too_many_ticks")
    assert api.execute("select * from engine.run") == []
    backwards = {"from": span["to"], "to": span["from"]}
    assert api.post("/workflows/pipeline/backfill", backwards).json()["errors"][0]["pointer"] == "/from"
