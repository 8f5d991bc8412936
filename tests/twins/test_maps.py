"""Maps, scopes and reruns, said of Postgres and of its twin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from tests.twins.backing import Backing
from tests.twins.setting import (
    claim,
    fold,
    fresh,
    new_run,
    node_change,
    open_task,
    put,
    queue_items,
    run_change,
    scope_row,
    succeed,
)

from freshet.domain.model import INDEX_BITS
from freshet.storage.engine_rows import TaskRunRow


def finished(backing: Backing, result: Any) -> TaskRunRow:
    """A plain task that came to this."""
    node = open_task(backing)
    succeed(backing, claim(backing, queue_items(backing, node, 1)), result)
    fold(backing)
    return node


#: What a map is made of, and what comes of it.
VALUES: Sequence[tuple[Any, dict[str, Any]]] = (
    ([1, {"a": None}, "x"], {"total": 3, "source_kind": "value"}),
    ([], {"total": 0, "source_kind": "value"}),
    (4, {"total": 4, "source_kind": "index"}),
    (4.0, {"total": 4, "source_kind": "index"}),
    (0, {"total": 0, "source_kind": "index"}),
    (-1, {"got": "number", "value": "-1"}),
    (2.5, {"got": "number", "value": "2.5"}),
    (16_777_217, {"got": "number", "value": "16777217"}),
    (True, {"got": "boolean", "value": "true"}),
    (None, {"got": "null", "value": "null"}),
    ("text", {"got": "string", "value": '"text"'}),
    ({"bb": 1, "a": [1, 2.0, "\u00e9"]}, {"got": "object", "value": '{"a": [1, 2.0, "\u00e9"], "bb": 1}'}),
    ({"long": "x" * 100}, {"got": "object", "value": '{"long": "' + "x" * 70}),
)
#: A part of a result, and what comes of it.
FIELDS: Sequence[tuple[list[str], dict[str, Any]]] = (
    ([], {"got": "object", "value": '{"k": [5, 6], "n": null}'}),
    (["k"], {"total": 2, "source_kind": "value"}),
    (["k", "-1"], {"total": 6, "source_kind": "index"}),
    (["k", "7"], {"got": "null", "value": None}),
    (["k", "x"], {"got": "null", "value": None}),
    (["n"], {"got": "null", "value": "null"}),
    (["none", "at", "all"], {"got": "null", "value": None}),
)


def test_a_value_makes_a_map_or_says_what_it_is(backing: Backing) -> None:
    run = new_run(backing).run_id
    with backing.store.batch() as batch:
        nodes = batch.open_scope([scope_row(run, f"m{place}") for place, _ in enumerate(VALUES)])
        for node, (value, expected) in zip(nodes, VALUES, strict=True):
            assert batch.expand_value(node.id, value) == {"id": node.id, **expected}


def test_a_map_may_be_made_of_a_part_of_a_result(backing: Backing) -> None:
    node = finished(backing, {"k": [5, 6], "n": None})
    with backing.store.batch() as batch:
        nodes = batch.open_scope([scope_row(UUID(node.run_id), f"m{place}") for place, _ in enumerate(FIELDS)])
        for mapped, (fields, expected) in zip(nodes, FIELDS, strict=True):
            answer = batch.expand_result(mapped.id, run=node.run_id, task="t", index_path="", fields=fields)
            assert answer == {"id": mapped.id, **expected}
        assert batch.result_of(node.run_id, "t", "") == {"k": [5, 6], "n": None}
        assert batch.result_of(node.run_id, "nobody", "") is None


def test_a_task_without_a_result_makes_no_map(backing: Backing) -> None:
    node = finished(backing, None)
    with backing.store.batch() as batch:
        (mapped,) = batch.open_scope([scope_row(UUID(node.run_id), "m")])
        for task in ("t", "nobody"):
            answer = batch.expand_result(mapped.id, run=node.run_id, task=task, index_path="", fields=[])
            assert answer == {"id": mapped.id, "got": "null", "value": None}


def test_a_map_over_a_map_takes_its_items_results(backing: Backing) -> None:
    node = open_task(backing, width=["a", "b"])
    succeed(backing, claim(backing, queue_items(backing, node, 2)), {"r": 1})
    fold(backing)
    with backing.store.batch() as batch:
        (over,) = batch.open_scope([scope_row(UUID(node.run_id), "over")])
        answer = batch.expand_result(over.id, run=node.run_id, task="t", index_path="", fields=[])
        assert answer == {"id": over.id, "total": 2, "source_kind": "item"}
        assert batch.element_value(over.id << INDEX_BITS | 1) == {"r": 1}
        assert batch.element_value(over.id << INDEX_BITS | 2) is None
        assert batch.element_value(node.id << INDEX_BITS | 1) == "b"
    claimed = claim(backing, queue_items(backing, over, 2))
    assert claimed.document["values"] == [{"r": 1}, {"r": 1}]


def test_scopes_are_opened_inside_each_other_and_seen_from_the_innermost(backing: Backing) -> None:
    node = open_task(backing, "m", kind="map", width=["x", "y", "z"])
    tasks = [{"task": "m.a", "kind": "map", "parents": []}, {"task": "m.b", "kind": "process", "parents": ["m.a"]}]
    with backing.store.batch() as batch:
        opened = batch.open_elements(node.id, first=1, count=2, tasks=tasks)
        assert [(row.task, row.index_path) for row in opened] == [
            ("m.a", "1"),
            ("m.b", "1"),
            ("m.a", "2"),
            ("m.b", "2"),
        ]
        batch.expand_value(opened[2].id, 4)
        inner = batch.open_elements(opened[2].id, first=3, count=1, tasks=[dict(tasks[1], task="m.a.c", parents=[])])
        assert [(row.task, row.index_path) for row in inner] == [("m.a.c", "2.3")]
    assert backing.tables().task_runs[node.id].mark == 3
    put(backing, nodes=[node_change(inner[0].id, state="running", total=1, mark=1, started=True)])
    put(backing, fresh=[fresh(inner[0], 0, 1)])
    claimed = claim(backing, max(backing.tables().bundles))
    assert claimed.document["element"] == 3
    assert claimed.document["task"]["index_path"] == "2.3"
    succeed(backing, claimed, ["done"])
    taken = fold(backing)
    assert [(row.task, row.index_path) for row in taken.nodes] == [
        ("m", ""),
        ("m.a", "2"),
        ("m.b", "2"),
        ("m.a.c", "2.3"),
    ]
    element = opened[2].id << INDEX_BITS | 3
    put(backing, elements=[{"id": element, "state": "succeeded", "result_of": inner[0].id}])
    assert backing.workers.page("items", opened[2].id, 0, 9) == {3: ["done"]}
    put(backing, elements=[{"id": element, "state": "failed", "result_of": None}])  # it is final
    assert backing.tables().items[element].state == "succeeded"


def test_a_cancel_sees_every_open_scope(backing: Backing) -> None:
    node = open_task(backing, "m", kind="map", width=2)
    tasks = [{"task": "m.a", "kind": "process", "parents": []}]
    with backing.store.batch() as batch:
        first, second = batch.open_elements(node.id, first=0, count=2, tasks=tasks)
    put(backing, nodes=[node_change(first.id, state="succeeded", total=0, started=True, finished=True)])
    backing.requests.cancel(UUID(node.run_id))
    assert [row.id for row in fold(backing).nodes] == [node.id, second.id]


def test_a_rerun_copies_what_it_does_not_run_again(backing: Backing) -> None:
    old = finished(backing, [1, 2])
    change = node_change(old.id, state="succeeded", finished=True)
    put(backing, nodes=[change], runs=[run_change(old.run_id, state="succeeded")])
    assert backing.requests.top_task_states(UUID(old.run_id)) == {"t": "succeeded"}
    runs = [new_run(backing, rerun_of=UUID(old.run_id), rerun_tasks=("z",)).run_id for _ in range(2)]
    with backing.store.batch() as batch:
        assert batch.copy_tasks(str(runs[0]), old.run_id, ["t"]) == []
        (copy,) = batch.copy_tasks(str(runs[0]), old.run_id, ["z"])
        assert (copy.state, copy.copied_from, copy.attempts, copy.succeeded) == ("succeeded", old.id, 0, 1)
        (second,) = batch.copy_tasks(str(runs[1]), str(runs[0]), ["z"])
        assert second.copied_from == old.id
        assert batch.result_of(str(runs[1]), "t", "") == [1, 2]
        (mapped,) = batch.open_scope([scope_row(runs[1], "z", parents=["t"])])
        batch.expand_result(mapped.id, run=str(runs[1]), task="t", index_path="", fields=[])
        assert batch.element_value(mapped.id << INDEX_BITS | 1) == 2
    assert backing.workers.parents(runs[1], "", ["t"])["t"]["value"] == [1, 2]


def test_a_scope_is_opened_once(backing: Backing) -> None:
    node = open_task(backing)
    with backing.store.batch() as batch:
        rows = [scope_row(UUID(node.run_id), "t"), scope_row(UUID(node.run_id), "u")]
        assert [row.task for row in batch.open_scope(rows)] == ["u"]
