"""What the model found in the engine, each as the shortest story that shows it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from tests.engine.harness import Call, Engine, FailureError, process


@pytest.fixture
def engine(database: str, redis: str) -> Iterator[Engine]:
    made = Engine(database, redis)
    yield made
    made.close()


def fail(call: Call) -> None:
    raise FailureError(call.task)


def repeat_reports(engine: Engine, past: list[dict[str, Any]] | None = None) -> None:
    """Every report that waits comes a second time; or those of the past do."""
    rows = engine.sql("select * from engine.report") if past is None else past
    for row in rows:
        engine.sql(
            "insert into engine.report (partition, run_id, task_run_id, bundle_id, body)"
            " select %s, %s, %s, %s,"
            " jsonb_build_array(jsonb_build_object('i', %s::bigint, 'a', %s::int, 's', %s::text))",
            *(row[name] for name in ("partition", "run_id", "task_run_id", "bundle_id")),
            *(row["body"][0][name] for name in ("i", "a", "s")),
        )


def test_a_failure_that_is_reported_twice_ends_its_item_once(engine: Engine) -> None:
    engine.apply({"name": "w", "tasks": {"a": process(for_each="2")}})
    run = engine.start("w")
    engine.fold()
    engine.work(fail, bundles=engine.published()[:1])
    repeat_reports(engine)
    engine.drive(lambda call: "done")
    task = engine.run_object(run)["tasks"]["a"]
    assert (task["items"]["failed"], task["items"]["succeeded"], task["attempts"]) == (1, 1, 2)


def test_a_failure_that_is_reported_twice_is_tried_again_once(engine: Engine) -> None:
    engine.apply({"name": "w", "tasks": {"a": process(retries={"limit": 1})}})
    engine.start("w")
    engine.fold()
    engine.work(fail)
    repeat_reports(engine)
    engine.fold()
    assert engine.sql("select attempts from engine.bundle") == [{"attempts": [2]}]


def test_an_element_that_has_ended_is_not_counted_again_for_a_late_report(engine: Engine) -> None:
    engine.apply({"name": "w", "tasks": {"m": {"for_each": "2", "tasks": {"x": process()}}, "z": process(["m"])}})
    run = engine.start("w")
    engine.fold()
    engine.work(bundles=engine.published()[:1])
    past = engine.sql("select * from engine.report")
    engine.fold()
    repeat_reports(engine, past)
    engine.fold()
    assert engine.run_object(run)["tasks"]["m"]["items"]["succeeded"] == 1
    engine.drive()
    assert engine.run_object(run)["state"] == "succeeded"


def test_what_failed_before_a_cancel_is_not_tried_again_after_it(engine: Engine) -> None:
    engine.apply({"name": "w", "tasks": {"a": process(retries={"limit": 3, "delay": "PT1H"})}})
    run = engine.start("w")
    engine.fold()
    engine.work(fail)
    engine.requests.cancel(run)
    engine.fold()
    found = engine.run_object(run)
    assert (found["state"], found["tasks"]["a"]["state"], found["tasks"]["a"]["attempts"]) == ("cancelled",) * 2 + (1,)
    assert engine.sql("select * from engine.bundle") == []


def test_a_cancel_spares_what_is_within_a_finally_task(engine: Engine) -> None:
    inner = {"for_each": "2", "tasks": {"x": process(), "y": process(["x"])}}
    engine.apply({"name": "w", "tasks": {"a": process()}, "finally": {"f": inner}})
    run = engine.start("w")
    engine.fold()
    engine.work()
    engine.fold()
    engine.requests.cancel(run)
    engine.drive()
    found = engine.run_object(run)
    assert (found["state"], found["tasks"]["f"]["state"]) == ("cancelled", "succeeded")
    assert found["tasks"]["f.y"]["items"]["succeeded"] == 2


def test_items_behind_the_one_that_overran_are_charged_nothing(engine: Engine) -> None:
    engine.apply({"name": "w", "tasks": {"a": process(for_each="12", timeout="PT10S", retries={"limit": 1})}})
    engine.start("w")
    engine.fold()
    engine.work()
    engine.fold()
    bundle = max(engine.sql("select id, items from engine.bundle"), key=lambda row: len(row["items"]))
    engine.claim(bundle["id"])
    engine.sql("update engine.bundle set expires_at = clock_timestamp() - interval '1 s' where claim is not null")
    engine.store.expire_bundles(limit=10)
    engine.fold()
    numbers = engine.sql(
        "select failures, losses from engine.work_item where id = any (%s) order by id", bundle["items"]
    )
    assert [(row["failures"], row["losses"]) for row in numbers] == [(1, 0)] + [(0, 0)] * (len(numbers) - 1)
    assert len(numbers) > 2


def test_the_cancel_of_a_held_run_starts_nobody_beside_the_run_that_goes_on(engine: Engine) -> None:
    engine.apply({"name": "w", "tasks": {"a": process()}})
    run = engine.start("w")
    engine.fold()
    impatient, patient = hold(engine), hold(engine)
    engine.requests.cancel(impatient)
    engine.fold()
    assert engine.run_object(impatient)["state"] == "cancelled"
    assert engine.run_object(patient)["state"] == "pending"
    engine.drive()
    assert [engine.run_object(each)["state"] for each in (run, patient)] == ["succeeded", "succeeded"]


def hold(engine: Engine) -> uuid.UUID:
    """A run that waits for the others of its workflow."""
    run = engine.start("w")
    engine.sql("delete from engine.request where run_id = %s", run)
    engine.sql("update engine.run set held = true where id = %s", run)
    return run
