"""Wide scopes: decided on the part that matters, with the same end as if all of it had been seen."""

from __future__ import annotations

from typing import Any

import pytest
from tests.engine.harness import Call, Engine, FailureError, document, process

#: More than a scope may have to be seen as a whole.
WIDE = 40


def chain(length: int) -> dict[str, Any]:
    return {f"t{n:03}": process([f"t{n - 1:03}"] if n else []) for n in range(length)}


def states(engine: Engine, run: Any) -> dict[str, str]:
    return {name: task["state"] for name, task in engine.run_object(run)["tasks"].items()}


def test_a_step_of_a_long_chain_sees_two_tasks(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.apply(document(**chain(WIDE)))
    run = engine.start("w")
    engine.fold()
    seen: list[int] = []
    decide = engine.folder._decide

    def noted(taken: Any, batch: Any) -> Any:
        seen.append(len(taken.nodes))
        return decide(taken, batch)

    monkeypatch.setattr(engine.folder, "_decide", noted)
    engine.drive(lambda call: call.task)
    assert engine.run_object(run)["state"] == "succeeded"
    assert len(seen) == WIDE
    assert set(seen[:-1]) == {2}


def test_a_failure_skips_all_that_comes_after_however_far_that_is(engine: Engine) -> None:
    engine.apply(document(**chain(WIDE), last=process([f"t{WIDE - 1:03}"], run_if="all_done")))
    run = engine.start("w")

    def behave(call: Call) -> Any:
        if call.task == "t001":
            raise FailureError("no")
        return call.task

    engine.drive(behave)
    found = states(engine, run)
    assert engine.run_object(run)["state"] == "failed"
    assert (found["t000"], found["t001"], found["last"]) == ("succeeded", "failed", "succeeded")
    assert {state for name, state in found.items() if name > "t001"} == {"skipped"}


def test_a_wide_fan_in_starts_once_after_all_parents_and_then_the_finally_task(engine: Engine) -> None:
    calls: list[str] = []
    wide = {f"p{n}": process() for n in range(WIDE)}
    engine.apply(document(**wide, join=process(sorted(wide))) | {"finally": {"end": process()}})
    run = engine.start("w")

    def note(call: Call) -> None:
        calls.append(call.task)

    engine.drive(note)
    assert engine.run_object(run)["state"] == "succeeded"
    assert len(calls) == WIDE + 2
    assert calls[-2:] == ["join", "end"]


def test_an_empty_map_in_a_wide_scope_lets_its_successors_start(engine: Engine) -> None:
    spare = {f"p{n}": process() for n in range(WIDE)}
    maps = {"none": process(for_each="[]"), "next": process(["none"], for_each="[]"), "end": process(["next"])}
    engine.apply(document(**spare, **maps))
    run = engine.start("w")
    engine.drive(lambda call: call.task)
    assert set(states(engine, run).values()) == {"succeeded"}


def test_a_late_report_does_not_end_a_wide_element_again(engine: Engine) -> None:
    inner = {f"p{n}": process() for n in range(WIDE)}
    engine.apply(document(m={"for_each": "2", "tasks": inner}, z=process(["m"])))
    run = engine.start("w")
    late: list[Any] = []

    def behave(call: Call) -> Any:
        if call.task == "m.p7" and not late:
            late.append(engine.sql("select * from engine.task_run where task = 'm.p7' and index_path = '0'")[0])
        return None

    engine.drive(behave)
    engine.sql(
        "insert into engine.report (partition, run_id, task_run_id, bundle_id, body)"
        " select partition, id, %s, 0, %s::jsonb from engine.run returning id",
        late[0]["id"],
        f'[{{"i": {late[0]["id"] << 24}, "a": 1, "s": "succeeded"}}]',
    )
    engine.fold()
    assert engine.run_object(run)["state"] == "succeeded"
    (outer,) = engine.sql("select succeeded, total from engine.task_run where task = 'm'")
    assert (outer["succeeded"], outer["total"]) == (2, 2)


def test_what_is_asked_of_a_wide_run_that_has_failed_changes_nothing(engine: Engine) -> None:
    engine.apply(document(**chain(WIDE)))
    run = engine.start("w")

    def behave(call: Call) -> Any:
        raise FailureError("no")

    engine.drive(behave)
    before = engine.run_object(run)
    engine.sql("insert into engine.request (partition, run_id, kind) select partition, id, 'cancel' from engine.run")
    engine.fold()
    assert before["state"] == "failed"
    assert engine.run_object(run) == before
    assert engine.sql("select * from engine.parked") == []


def test_a_cancel_ends_a_wide_scope(engine: Engine) -> None:
    engine.apply(document(**chain(WIDE)) | {"finally": {"end": process()}})
    run = engine.start("w")
    engine.fold()
    engine.requests.cancel(run)
    engine.drive(lambda call: call.task)
    found = states(engine, run)
    assert engine.run_object(run)["state"] == "cancelled"
    assert found.pop("end") == "succeeded"
    assert set(found.values()) == {"cancelled"}
