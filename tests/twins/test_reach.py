"""What a batch sees of a scope: all of a narrow one, of a wide one what may matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

import pytest
from tests.twins.backing import Backing
from tests.twins.setting import (
    claim,
    fold,
    new_run,
    node_change,
    put,
    queue_items,
    run_change,
    scope_row,
    succeed,
    take,
)

from freshet.storage.engine_rows import TaskRunRow

Edges = Mapping[str, Sequence[str]]  # each task and those that come after it

#: a and b lead to c, a alone to d, which leads to e; the rest has nothing to do with it.
EDGES: Edges = {"a": ("c", "d"), "b": ("c",), "c": (), "d": ("e",), "e": ()} | {f"x{n}": () for n in range(15)}


def opened(backing: Backing, edges: Edges, *, known: bool = True, **states: str) -> dict[str, TaskRunRow]:
    """A run whose tasks are in these states, by name. `known`: their children were written down."""
    run = new_run(backing).run_id
    parents = {name: [each for each, after in edges.items() if name in after] for name in edges}
    rows = [
        scope_row(run, name, parents=parents[name], **({"children": list(after)} if known else {}))
        for name, after in edges.items()
    ]
    with backing.store.batch() as batch:
        taken = take(batch)
        nodes = {row.task: row for row in batch.open_scope(rows)}
        changes = [
            node_change(nodes[name].id, state=state, total=1, started=True, finished=state != "running")
            for name, state in states.items()
        ]
        batch.put({"nodes": changes, "runs": [run_change(run, state="running")]}, now=taken.now)
    return nodes


def seen_after(backing: Backing, node: TaskRunRow) -> list[str]:
    """What the batch sees that folds the end of a task's only item."""
    succeed(backing, claim(backing, queue_items(backing, node, 1)))
    return sorted(row.task for row in fold(backing).nodes)


def test_a_wide_scope_is_seen_as_far_as_the_end_of_a_task_reaches(backing: Backing) -> None:
    nodes = opened(backing, EDGES, a="running", b="running")
    assert seen_after(backing, nodes["a"]) == ["a", "d"]  # c waits for b, and what comes after d waits for d


def test_the_last_parent_brings_the_child_and_the_other_parents(backing: Backing) -> None:
    nodes = opened(backing, EDGES, a="succeeded", b="running", d="succeeded")
    assert seen_after(backing, nodes["b"]) == ["a", "b", "c"]


def test_parents_that_end_in_one_batch_bring_their_child_together(backing: Backing) -> None:
    nodes = opened(backing, EDGES, a="running", b="running", d="running")
    for name in ("a", "b"):
        succeed(backing, claim(backing, queue_items(backing, nodes[name], 1)))
    assert sorted(row.task for row in fold(backing).nodes) == ["a", "b", "c"]


def test_a_narrow_scope_is_seen_as_a_whole(backing: Backing) -> None:
    edges = {name: after for name, after in EDGES.items() if not name.startswith("x1")}
    nodes = opened(backing, edges, a="running")
    assert len(edges) <= 16
    assert seen_after(backing, nodes["a"]) == sorted(edges)


def test_a_scope_whose_edges_were_not_written_down_is_seen_as_a_whole(backing: Backing) -> None:
    nodes = opened(backing, EDGES, known=False, a="running")
    assert seen_after(backing, nodes["a"]) == sorted(EDGES)


def test_a_cancel_sees_a_wide_scope_as_a_whole(backing: Backing) -> None:
    nodes = opened(backing, EDGES, a="running")
    backing.requests.cancel(UUID(nodes["a"].run_id))
    assert sorted(row.task for row in fold(backing).nodes) == sorted(EDGES)


def test_the_element_around_a_wide_scope_is_seen_with_it(backing: Backing) -> None:
    nodes = opened(backing, {"m": ("z",), "z": ()}, m="running")
    tasks = [scope_row(UUID(nodes["m"].run_id), f"m.{n}", children=[]) for n in range(20)]
    with backing.store.batch() as batch:
        batch.expand_value(nodes["m"].id, 1)
        inner = batch.open_elements(nodes["m"].id, first=0, count=1, tasks=tasks)
    put(backing, nodes=[node_change(inner[3].id, state="running", total=1, started=True)])
    assert seen_after(backing, inner[3]) == ["m", "m.3", "z"]


def test_tasks_can_be_asked_for_with_their_parents(backing: Backing) -> None:
    run = opened(backing, EDGES, a="running")["a"].run_id
    with backing.store.batch() as batch:
        found = [row.task for row in batch.tasks_and_parents(run, "", ["c", "e"])]
    assert sorted(found) == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    ("ended", "known", "spared", "all_of_it"),
    [
        (("a", "b"), (), (), True),
        (("a",), (), (), False),
        (("a",), ("b",), (), True),
        (("a",), (), ("b",), True),
    ],
)
def test_all_of_a_scope_is_seen_once_nothing_else_goes_on(
    backing: Backing, ended: Sequence[str], known: Sequence[str], spared: Sequence[str], all_of_it: bool
) -> None:
    states = dict.fromkeys(ended, "succeeded")
    nodes = opened(backing, {"a": (), "b": ()}, **states)
    ids = [nodes[name].id for name in known]
    with backing.store.batch() as batch:
        found = batch.scope_at_rest(nodes["a"].run_id, None, known=ids, spared=spared)
    assert [row.task for row in found] == (["a", "b"] if all_of_it else [])


def test_the_rest_of_an_element_is_its_own(backing: Backing) -> None:
    nodes = opened(backing, {"m": ()}, m="running")
    tasks = [scope_row(UUID(nodes["m"].run_id), f"m.{name}", children=[]) for name in ("a", "b")]
    with backing.store.batch() as batch:
        batch.expand_value(nodes["m"].id, 2)
        first = batch.open_elements(nodes["m"].id, first=0, count=2, tasks=tasks)[0]
        assert batch.scope_at_rest(first.run_id, first.scope, known=[first.id], spared=[]) == []
        found = batch.scope_at_rest(first.run_id, first.scope, known=[first.id], spared=["m.b"])
    assert [row.index_path for row in found] == ["0", "0"]
