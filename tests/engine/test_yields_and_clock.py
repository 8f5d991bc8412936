"""What tasks yield reaches who comes after them; a clock that is put back ends nothing before it began."""

from __future__ import annotations

from typing import Any

from tests.engine.harness import Call, Engine, document, process


def test_a_run_ends_although_the_databases_clock_was_put_back(engine: Engine) -> None:
    engine.apply(document(a=process()))
    run = engine.start("w")
    engine.fold()
    engine.sql("update engine.run set started_at = clock_timestamp() + interval '1 hour'")
    engine.sql("update engine.task_run set started_at = clock_timestamp() + interval '1 hour'")
    engine.drive()
    found = engine.run_object(run)
    assert found["state"] == "succeeded"
    assert found["finished_at"] == found["started_at"]
    facts = [fact for row in engine.sql("select body from engine.outbox order by id") for fact in row["body"]]
    ended = [
        fact for fact in facts if fact.get("finished_at") and fact["type"].startswith(("freshet.run", "freshet.task"))
    ]
    assert len(ended) == 2
    assert all(fact["finished_at"] == fact["started_at"] for fact in ended)


def test_a_run_is_parked_although_the_databases_clock_was_put_back(engine: Engine) -> None:
    engine.apply(document(a=process()))
    run = engine.start("w")
    engine.fold()
    engine.sql("update engine.run set started_at = clock_timestamp() + interval '1 hour'")
    assert engine.store.park(str(run), "no", {"type": "freshet.run.failed.v1"})
    assert engine.run_object(run)["state"] == "failed"


def test_what_the_items_of_a_map_yield_is_what_a_map_over_it_gets(engine: Engine) -> None:
    seen: dict[str, Any] = {}
    engine.apply(
        document(
            a=process(for_each="2"),
            b=process(["a"], for_each="tasks.a.result"),
            c=process(["a"]),
        )
    )
    engine.start("w")
    engine.fold()
    for bundle in engine.published():
        claimed, token = engine.claim(bundle)
        (item,) = claimed.document["bundle"]["items"]
        values = [] if item & 0xFFFFFF else [7, 8]
        for place, value in enumerate(values):
            engine.sql("insert into engine.value values (%s, %s, %s)", item, place, str(value))
        engine.workers.finish(bundle, token, [{"i": item, "a": 1, "d": 0.0, "s": "succeeded", "n": len(values)}])

    def note(call: Call) -> None:
        if call.task == "b":
            seen[str(call.index)] = call.value
        elif call.task == "c":
            results = call.parents["a"]["results"]
            seen["page"] = engine.workers.page(results["kind"], results["task_run"], 0, 10)

    engine.drive(note)
    assert seen == {"0": [7, 8], "1": [], "page": {0: [7, 8], 1: []}}


def test_what_an_element_of_a_nested_map_yields_is_its_result(engine: Engine) -> None:
    nested = {"for_each": "1", "tasks": {"inner": process()}, "result": "inner"}
    engine.apply(document(outer=nested, z=process(["outer"])))
    engine.start("w")
    engine.fold()
    (bundle,) = engine.published()
    claimed, token = engine.claim(bundle)
    (item,) = claimed.document["bundle"]["items"]
    engine.sql("insert into engine.value values (%s, 0, '5')", item)
    engine.workers.finish(bundle, token, [{"i": item, "a": 1, "d": 0.0, "s": "succeeded", "n": 1}])
    pages = []

    def note(call: Call) -> None:
        results = call.parents["outer"]["results"]
        pages.append(engine.workers.page(results["kind"], results["task_run"], 0, 10))

    engine.drive(note)
    assert pages == [{0: [5]}]
