"""Runs from request to end, on the real store."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from tests.engine.harness import Call, Engine, FailureError, document, process

from freshet.domain.errors import ClaimLostError
from freshet.domain.model import Trigger
from freshet.storage.database import StatementError
from freshet.storage.requests import NewRun


def test_a_chain_runs_to_its_end(engine: Engine) -> None:
    engine.apply(document(a=process(), b=process(["a"]), c=process(["b"])))
    run = engine.start("w")
    engine.drive(lambda call: call.task.upper())
    found = engine.run_object(run)
    assert found["state"] == "succeeded"
    assert {name: task["result"] for name, task in found["tasks"].items()} == {"a": "A", "b": "B", "c": "C"}
    assert engine.sql("select * from engine.bundle") == []
    assert engine.sql("select * from engine.report") == []


def test_a_fan_in_starts_once_after_all_parents(engine: Engine) -> None:
    calls: list[str] = []
    engine.apply(document(a=process(), b=process(["a"]), c=process(["a"]), d=process(["b", "c"])))
    run = engine.start("w")

    def note(call: Call) -> str:
        calls.append(call.task)
        return call.task

    engine.drive(note)
    assert engine.run_object(run)["state"] == "succeeded"
    assert sorted(calls) == ["a", "b", "c", "d"]
    assert calls[-1] == "d"


def test_a_map_over_a_result_made_at_run_time_runs_every_element_once(engine: Engine) -> None:
    seen: list[int] = []
    engine.apply(document(a=process(), m=process(["a"], for_each="tasks.a.result"), z=process(["m"])))
    run = engine.start("w")

    def behave(call: Call) -> Any:
        if call.task == "a":
            return list(range(1000))
        if call.task == "m":
            seen.append(call.value)
            return call.value * 2
        return call.parents["m"]["results"]["total"]

    engine.drive(behave)
    found = engine.run_object(run)
    assert found["state"] == "succeeded"
    assert sorted(seen) == list(range(1000))
    assert found["tasks"]["m"]["items"] == {
        "total": 1000,
        "succeeded": 1000,
        "failed": 0,
        "skipped": 0,
        "cancelled": 0,
    }
    assert found["tasks"]["z"]["result"] == 1000


def test_an_empty_map_succeeds_and_its_successor_runs(engine: Engine) -> None:
    engine.apply(document(a=process(), m=process(["a"], for_each="tasks.a.result"), z=process(["m"])))
    run = engine.start("w")
    engine.drive(lambda call: [] if call.task == "a" else "ran")
    assert engine.run_object(run)["tasks"]["z"]["result"] == "ran"


def test_a_map_over_what_is_not_a_list_fails_with_a_sentence(engine: Engine) -> None:
    engine.apply(document(a=process(), m=process(["a"], for_each="tasks.a.result")))
    run = engine.start("w")
    engine.drive(lambda call: {"x": 1})
    found = engine.run_object(run)
    assert found["state"] == "failed"
    assert "needs a list or a whole number" in str(found["tasks"]["m"]["error"])


def test_a_failed_try_is_tried_again_until_its_limit(engine: Engine) -> None:
    engine.apply(document(a=process(retries={"limit": 2})))
    run = engine.start("w")

    def flaky(call: Call) -> str:
        if call.attempt < 3:
            raise FailureError("not yet")
        return "done"

    engine.drive(flaky)
    found = engine.run_object(run)
    assert (found["state"], found["tasks"]["a"]["attempts"]) == ("succeeded", 3)


def test_a_failure_skips_what_comes_after_and_fails_the_run(engine: Engine) -> None:
    engine.apply(document(a=process(), b=process(["a"]), c=process(["b"])))
    run = engine.start("w")

    def fail(call: Call) -> None:
        raise FailureError("broken")

    engine.drive(fail)
    found = engine.run_object(run)
    assert found["state"] == "failed"
    assert [task["state"] for task in found["tasks"].values()] == ["failed", "skipped", "skipped"]
    assert "broken" in str(found["tasks"]["a"]["error"])


def test_nested_maps_count_each_scope_and_join(engine: Engine) -> None:
    engine.apply(
        document(
            a=process(),
            docs={
                "after": ["a"],
                "for_each": "tasks.a.result",
                "tasks": {
                    "split": process(),
                    "part": process(["split"], for_each="tasks.split.result"),
                    "whole": process(["part"]),
                },
                "result": "whole",
            },
            z=process(["docs"]),
        )
    )
    run = engine.start("w")

    def behave(call: Call) -> Any:
        match call.task:
            case "a":
                return list(range(40))
            case "docs.split":
                return [1, 2, 3]
            case "docs.part":
                return call.value
            case "docs.whole":
                return call.parents["part"]["results"]["total"]
            case _:
                return call.parents["docs"]["results"]["total"]

    engine.drive(behave)
    found = engine.run_object(run)
    assert found["state"] == "succeeded"
    assert found["tasks"]["docs"]["items"]["succeeded"] == 40
    assert found["tasks"]["docs.part"]["items"]["succeeded"] == 120
    assert found["tasks"]["z"]["result"] == 40
    results = engine.sql("select result from engine.work_item where row_count is null and result = '3'")
    assert len(results) >= 40


def test_a_cancel_ends_what_is_queued_and_what_is_not_opened_yet(engine: Engine) -> None:
    engine.apply(document(a=process(for_each="100000"), b=process(["a"])))
    run = engine.start("w")
    engine.fold()
    engine.work()
    engine.requests.cancel(run)
    engine.drive()
    found = engine.run_object(run)
    items = found["tasks"]["a"]["items"]
    assert found["state"] == "cancelled"
    assert items["succeeded"] + items["cancelled"] == 100_000
    assert found["tasks"]["b"]["state"] == "cancelled"
    assert engine.sql("select * from engine.bundle") == []


def test_a_report_committed_before_a_cancel_wins(engine: Engine) -> None:
    engine.apply(document(a=process()))
    run = engine.start("w")
    engine.fold()
    engine.requests.cancel(run)
    engine.work(lambda call: "kept")
    engine.fold()
    found = engine.run_object(run)
    assert found["tasks"]["a"]["state"] == "succeeded"


def test_finally_runs_after_a_cancel(engine: Engine) -> None:
    engine.apply({**document(a=process()), "finally": {"f": process()}})
    run = engine.start("w")
    engine.fold()
    engine.requests.cancel(run)
    engine.drive(lambda call: call.task)
    found = engine.run_object(run)
    assert found["state"] == "cancelled"
    assert found["tasks"]["f"]["state"] == "succeeded"


def test_a_finish_after_the_claim_was_lost_changes_nothing(engine: Engine) -> None:
    engine.apply(document(a=process()))
    run = engine.start("w")
    engine.fold()
    (bundle,) = engine.published()
    _, token = engine.claim(bundle, "dead")
    engine.store.release_workers(["dead"])
    item = engine.one("select items[1] from engine.bundle union all select (body->0->>'i')::bigint from engine.report")
    with pytest.raises(ClaimLostError):
        engine.workers.finish(bundle, token, [{"i": item, "a": 1, "s": "succeeded", "r": "stale", "d": 0.1}])
    engine.drive(lambda call: f"attempt {call.attempt}")
    assert engine.run_object(run)["tasks"]["a"]["result"] == "attempt 1"


def test_a_report_that_arrives_twice_counts_once(engine: Engine) -> None:
    engine.apply(document(a=process(for_each="2"), b=process(["a"])))
    run = engine.start("w")
    engine.fold()
    engine.work()
    engine.sql(
        "insert into engine.report (partition, run_id, task_run_id, bundle_id, body)"
        " select partition, run_id, task_run_id, bundle_id, body from engine.report"
    )
    engine.drive()
    found = engine.run_object(run)
    assert found["tasks"]["a"]["items"]["succeeded"] == 2
    assert found["state"] == "succeeded"


def test_a_report_of_an_old_attempt_changes_nothing(engine: Engine) -> None:
    engine.apply(document(a=process(retries={"limit": 1})))
    run = engine.start("w")
    engine.fold()

    def fail_first(call: Call) -> str:
        if call.attempt == 1:
            raise FailureError("once")
        return "second"

    engine.work(fail_first)
    engine.fold()
    engine.sql(
        "insert into engine.report (partition, run_id, task_run_id, bundle_id, body)"
        " select b.partition, b.run_id, b.task_run_id, b.id, jsonb_build_array(jsonb_build_object("
        " 'i', b.items[1], 'a', 1, 's', 'succeeded', 'r', 'late'::text)) from engine.bundle b"
    )
    engine.drive(fail_first)
    assert engine.run_object(run)["tasks"]["a"]["result"] == "second"


def test_a_bundle_is_claimed_by_one(engine: Engine) -> None:
    engine.apply(document(a=process()))
    engine.start("w")
    engine.fold()
    (bundle,) = engine.published()
    assert engine.claim(bundle, "first")[0] is not None
    assert engine.claim(bundle, "second")[0] is None


def test_a_claim_whose_answer_was_lost_is_answered_again(engine: Engine) -> None:
    engine.apply(document(a=process()))
    run = engine.start("w")
    engine.fold()
    (bundle,) = engine.published()
    token = uuid.uuid4()
    assert engine.workers.claim(bundle, "w1", token) is not None
    again = engine.workers.claim(bundle, "w1", token)
    assert again is not None
    (item,) = again.document["bundle"]["items"]
    assert engine.workers.finish(bundle, token, [{"i": item, "a": 1, "s": "succeeded", "d": 0.1}])
    engine.drive()
    assert engine.run_object(run)["state"] == "succeeded"


def test_a_finish_under_another_claim_is_refused(engine: Engine) -> None:
    engine.apply(document(a=process()))
    engine.start("w")
    engine.fold()
    (bundle,) = engine.published()
    claimed, _ = engine.claim(bundle)
    (item,) = claimed.document["bundle"]["items"]
    with pytest.raises(ClaimLostError):
        engine.workers.finish(bundle, uuid.uuid4(), [{"i": item, "a": 1, "s": "succeeded"}])


def test_a_cancel_spares_finally_tasks_in_flight(engine: Engine) -> None:
    engine.apply({**document(a=process()), "finally": {"f": process()}})
    run = engine.start("w")
    engine.fold()
    engine.work()
    engine.fold()
    engine.requests.cancel(run)
    engine.drive(lambda call: call.task)
    found = engine.run_object(run)
    assert (found["state"], found["tasks"]["f"]["state"]) == ("cancelled", "succeeded")


def test_five_lost_singles_end_the_item_as_lost(engine: Engine) -> None:
    engine.apply(document(a=process()))
    run = engine.start("w")
    for _ in range(5):
        engine.fold()
        (bundle,) = engine.published()
        engine.claim(bundle, "dead")
        engine.store.release_workers(["dead"])
    engine.fold()
    found = engine.run_object(run)
    assert found["state"] == "failed"
    assert found["tasks"]["a"]["error"]


def test_a_partial_finish_is_kept_when_the_worker_dies(engine: Engine) -> None:
    engine.apply(document(a=process(for_each="50")))
    run = engine.start("w")
    engine.fold()
    engine.work()
    engine.fold()
    bundle = max(engine.sql("select id, cardinality(items) as n from engine.bundle"), key=lambda row: row["n"])
    assert bundle["n"] > 2
    claimed, token = engine.claim(bundle["id"], "dead")
    items = claimed.document["bundle"]["items"]
    engine.workers.finish(bundle["id"], token, [{"i": items[0], "a": 1, "s": "succeeded", "r": "first", "d": 0.1}])
    engine.store.release_workers(["dead"])
    again: list[int] = []

    def note(call: Call) -> str:
        again.append(call.index)
        return "later"

    engine.drive(note)
    assert items[0] & 0xFFFFFF not in again
    assert engine.run_object(run)["tasks"]["a"]["items"]["succeeded"] == 50
    assert engine.one("select result from engine.work_item where id = %s", items[0]) == "first"


def test_of_a_cancelled_bundle_only_the_item_in_hand_is_an_attempt(engine: Engine) -> None:
    engine.apply(document(a=process(for_each="50")))
    run = engine.start("w")
    engine.fold()
    engine.work()
    engine.fold()
    tried = engine.one("select attempts from engine.task_run")
    bundle = max(engine.sql("select id, cardinality(items) as n from engine.bundle"), key=lambda row: row["n"])
    assert bundle["n"] > 2
    engine.claim(bundle["id"], "w1")
    engine.sql("delete from engine.outbox")
    engine.requests.cancel(run)
    engine.fold()
    assert engine.one("select attempts from engine.task_run") == tried + 1
    begun = engine.one(
        "select sum(jsonb_array_length(fact -> 'items')) from engine.outbox, jsonb_array_elements(body) as fact"
        " where fact ->> 'type' = 'freshet.item.cancelled.v1' and fact ->> 'worker' is not null"
    )
    assert begun == 1


def test_a_rerun_copies_what_succeeded_and_runs_the_rest(engine: Engine) -> None:
    engine.apply(document(a=process(), b=process(["a"]), c=process(["b"])))
    first = engine.start("w")

    def fail_b(call: Call) -> str:
        if call.task == "b":
            raise FailureError("broken")
        return call.task

    engine.drive(fail_b)
    again = engine.requests.create_run(
        NewRun(
            workflow="w",
            version=1,
            trigger=Trigger.RERUN,
            rerun_of=first,
            rerun_tasks=("b", "c"),
            group_id=first,
        )
    ).run_id
    seen: list[str] = []

    def note(call: Call) -> Any:
        seen.append(call.task)
        return call.parents["a"]["value"] if call.task == "b" else call.task

    engine.drive(note)
    found = engine.run_object(again)
    assert found["state"] == "succeeded"
    assert seen == ["b", "c"]
    assert found["tasks"]["a"]["attempts"] == 0
    assert found["tasks"]["b"]["result"] == "a"


def test_a_run_that_cannot_be_decided_is_parked_and_others_go_on(engine: Engine) -> None:
    engine.apply(document(a=process()))
    bad, good = engine.start("w"), engine.start("w")
    engine.sql("alter table engine.task_run add constraint poison check (run_id <> '%s')" % bad)  # noqa: UP031
    engine.drive()
    assert engine.run_object(good)["state"] == "succeeded"
    found = engine.run_object(bad)
    assert found["state"] == "failed"
    assert "poison" in found["error"]


def test_a_schema_that_is_not_ours_parks_nothing(engine: Engine) -> None:
    engine.apply(document(a=process()))
    run = engine.start("w")
    engine.sql("alter function engine.put(jsonb, timestamptz) rename to put_of_another_release")
    with pytest.raises(StatementError):
        engine.fold()
    engine.sql("alter function engine.put_of_another_release(jsonb, timestamptz) rename to put")
    engine.drive()
    assert engine.run_object(run)["state"] == "succeeded"
