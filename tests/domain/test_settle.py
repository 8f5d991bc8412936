from __future__ import annotations

from itertools import product

import pytest

from freshet.domain.errors import ImpossibleCountError
from freshet.domain.model import OnFailure, RunIf, Task
from freshet.domain.settle import Node, settle
from freshet.domain.states import RunState, TaskState

from .build import FINAL_STATES, ended, mapped, nested, node, running, scope, task

PENDING, RUNNING = TaskState.PENDING, TaskState.RUNNING
SUCCEEDED, FAILED, SKIPPED, CANCELLED = FINAL_STATES
CONTINUE = OnFailure.CONTINUE


def states(nodes: dict[str, Node], **options: object) -> dict[str, TaskState]:
    return {name: each.state for name, each in settle(nodes, **options).nodes.items()}  # type: ignore[arg-type]


# What starts


def test_tasks_without_parents_start_together() -> None:
    answer = settle(scope(node(task("b")), node(task("a")), node(task("c", "a"))))
    assert answer.started == ("a", "b")
    assert answer.changed == {"a", "b"}
    assert answer.outcome is None
    assert answer.nodes["c"] == node(task("c", "a"))


def test_started_plain_task_has_one_item() -> None:
    assert settle(scope(node(task("a")))).nodes["a"] == running(task("a"), 1)


@pytest.mark.parametrize("fanned_out", [mapped("a"), nested("a")])
def test_started_map_waits_for_its_expansion(fanned_out: Task) -> None:
    answer = settle(scope(node(fanned_out)))
    assert answer.nodes["a"] == running(fanned_out, None)
    assert settle(answer.nodes).changed == frozenset()


@pytest.mark.parametrize(
    ("rule", "on_failure", "parent", "after"),
    [
        (RunIf.ALL_SUCCEEDED, OnFailure.BLOCK, SUCCEEDED, RUNNING),
        (RunIf.ALL_SUCCEEDED, OnFailure.BLOCK, FAILED, SKIPPED),
        (RunIf.ALL_SUCCEEDED, OnFailure.BLOCK, SKIPPED, SKIPPED),
        (RunIf.ALL_SUCCEEDED, OnFailure.BLOCK, CANCELLED, SKIPPED),
        (RunIf.ALL_SUCCEEDED, CONTINUE, SUCCEEDED, RUNNING),
        (RunIf.ALL_SUCCEEDED, CONTINUE, FAILED, RUNNING),
        (RunIf.ALL_SUCCEEDED, CONTINUE, SKIPPED, SKIPPED),
        (RunIf.ALL_SUCCEEDED, CONTINUE, CANCELLED, SKIPPED),
        (RunIf.ALL_DONE, OnFailure.BLOCK, SUCCEEDED, RUNNING),
        (RunIf.ALL_DONE, OnFailure.BLOCK, FAILED, RUNNING),
        (RunIf.ALL_DONE, OnFailure.BLOCK, SKIPPED, RUNNING),
        (RunIf.ALL_DONE, OnFailure.BLOCK, CANCELLED, RUNNING),
        (RunIf.ANY_FAILED, OnFailure.BLOCK, SUCCEEDED, SKIPPED),
        (RunIf.ANY_FAILED, OnFailure.BLOCK, FAILED, RUNNING),
        (RunIf.ANY_FAILED, CONTINUE, FAILED, RUNNING),
        (RunIf.ANY_FAILED, OnFailure.BLOCK, SKIPPED, SKIPPED),
        (RunIf.ANY_FAILED, OnFailure.BLOCK, CANCELLED, SKIPPED),
        (RunIf.ANY_SUCCEEDED, OnFailure.BLOCK, SUCCEEDED, RUNNING),
        (RunIf.ANY_SUCCEEDED, OnFailure.BLOCK, FAILED, SKIPPED),
        (RunIf.ANY_SUCCEEDED, CONTINUE, FAILED, SKIPPED),
        (RunIf.ANY_SUCCEEDED, OnFailure.BLOCK, SKIPPED, SKIPPED),
        (RunIf.ANY_SUCCEEDED, OnFailure.BLOCK, CANCELLED, SKIPPED),
    ],
)
def test_rule_with_one_parent(rule: RunIf, on_failure: OnFailure, parent: TaskState, after: TaskState) -> None:
    nodes = scope(ended(task("a", on_failure=on_failure), parent), node(task("b", "a", run_if=rule)))
    assert states(nodes)["b"] is after


@pytest.mark.parametrize(
    ("rule", "one", "other", "after"),
    [
        (RunIf.ALL_SUCCEEDED, SUCCEEDED, SUCCEEDED, RUNNING),
        (RunIf.ALL_SUCCEEDED, SUCCEEDED, FAILED, SKIPPED),
        (RunIf.ALL_SUCCEEDED, SUCCEEDED, SKIPPED, SKIPPED),
        (RunIf.ALL_DONE, FAILED, SKIPPED, RUNNING),
        (RunIf.ANY_FAILED, SUCCEEDED, FAILED, RUNNING),
        (RunIf.ANY_FAILED, SUCCEEDED, SKIPPED, SKIPPED),
        (RunIf.ANY_SUCCEEDED, FAILED, SUCCEEDED, RUNNING),
        (RunIf.ANY_SUCCEEDED, FAILED, SKIPPED, SKIPPED),
    ],
)
def test_rule_with_two_parents(rule: RunIf, one: TaskState, other: TaskState, after: TaskState) -> None:
    for first, second in ((one, other), (other, one)):
        nodes = scope(ended(task("a"), first), ended(task("b"), second), node(task("c", "a", "b", run_if=rule)))
        assert states(nodes)["c"] is after


@pytest.mark.parametrize(("rule", "parent"), list(product(RunIf, FINAL_STATES)))
def test_rule_is_judged_only_when_all_parents_are_final(rule: RunIf, parent: TaskState) -> None:
    child = node(task("c", "a", "b", run_if=rule))
    for open_parent in (running(task("b")), running(mapped("b"), 3, succeeded=2), running(mapped("b"), None)):
        assert states(scope(child, ended(task("a"), parent), open_parent))["c"] is PENDING


# What is skipped


def test_skipped_plain_task_counts_one_item_and_skipped_map_none() -> None:
    after = settle(
        scope(ended(task("a"), FAILED), node(task("plain", "a")), node(mapped("map", "a")), node(nested("scopes", "a")))
    ).nodes
    assert after["plain"] == node(task("plain", "a"), SKIPPED, total=1, skipped=1)
    assert after["map"] == node(mapped("map", "a"), SKIPPED, total=0)
    assert after["scopes"] == node(nested("scopes", "a"), SKIPPED, total=0)


def test_skip_spreads_to_the_end_at_once_whatever_the_order() -> None:
    chain = [ended(task("t0"), FAILED), *(node(task(f"t{i}", f"t{i - 1}")) for i in range(1, 50))]
    for nodes in (scope(*chain), scope(*reversed(chain))):
        answer = settle(nodes)
        assert {each.state for name, each in answer.nodes.items() if name != "t0"} == {SKIPPED}
        assert answer.outcome is RunState.FAILED


def test_skip_stops_at_a_task_that_runs_always() -> None:
    nodes = scope(
        ended(task("a"), FAILED),
        node(task("b", "a")),
        node(task("c", "b", run_if=RunIf.ALL_DONE)),
        node(task("d", "c")),
    )
    assert states(nodes) == {"a": FAILED, "b": SKIPPED, "c": RUNNING, "d": PENDING}


# What has ended


@pytest.mark.parametrize(
    ("counts", "after"),
    [
        ({"succeeded": 3}, SUCCEEDED),
        ({"succeeded": 2, "skipped": 1}, SUCCEEDED),
        ({"succeeded": 2, "failed": 1}, FAILED),
        ({"succeeded": 1, "failed": 1, "cancelled": 1}, FAILED),
        ({"succeeded": 2, "cancelled": 1}, CANCELLED),
        ({"skipped": 3}, SUCCEEDED),
        ({"succeeded": 2}, RUNNING),
        ({}, RUNNING),
    ],
)
def test_map_ends_with_its_last_item(counts: dict[str, int], after: TaskState) -> None:
    assert states(scope(running(mapped("a"), 3, **counts)))["a"] is after
    assert states(scope(running(nested("a"), 3, **counts)))["a"] is after


@pytest.mark.parametrize("state", FINAL_STATES)
def test_plain_task_ends_as_its_item_did(state: TaskState) -> None:
    before = running(task("a"), 1, **{state.value: 1})
    assert settle(scope(before)).nodes["a"] == ended(task("a"), state)


def test_map_that_fails_under_continue_is_good_for_its_child() -> None:
    nodes = scope(running(mapped("a", on_failure=CONTINUE), 2, succeeded=1, failed=1), node(task("b", "a")))
    assert states(nodes) == {"a": FAILED, "b": RUNNING}


def test_empty_map_has_succeeded_and_its_successor_runs() -> None:
    answer = settle(scope(running(mapped("a"), 0), node(task("b", "a"))))
    assert answer.nodes["a"].state is SUCCEEDED
    assert answer.started == ("b",)


def test_failed_expansion_is_a_failed_task() -> None:
    broken = node(mapped("a"), FAILED, total=0, error={"class": "user", "message": "params.list is no list"})
    answer = settle(scope(broken, node(task("b", "a"))))
    assert answer.nodes["a"] is broken
    assert answer.nodes["b"].state is SKIPPED
    assert answer.outcome is RunState.FAILED


def test_more_ended_items_than_items_are_refused() -> None:
    with pytest.raises(ImpossibleCountError, match="Task a has 2 items, but 3 have ended"):
        settle(scope(running(mapped("a"), 2, succeeded=3)))


@pytest.mark.parametrize("state", FINAL_STATES)
def test_final_task_is_never_touched(state: TaskState) -> None:
    odd = node(mapped("a"), state, total=5, succeeded=9)
    for cancelled in (False, True):
        assert settle(scope(odd), cancelled=cancelled).nodes["a"] is odd


# Cancel


def test_cancel_ends_what_has_not_begun_and_waits_for_the_rest() -> None:
    nodes = scope(
        running(task("a")), node(task("b", "a")), node(mapped("c", "b")), node(task("d", "c", run_if=RunIf.ALL_DONE))
    )
    answer = settle(nodes, cancelled=True)
    assert answer.nodes["a"] is nodes["a"]
    assert answer.nodes["b"] == node(task("b", "a"), CANCELLED, total=1, cancelled=1)
    assert answer.nodes["c"] == node(mapped("c", "b"), CANCELLED, total=0)
    assert answer.nodes["d"].state is CANCELLED
    assert answer.started == ()
    assert answer.outcome is None


def test_cancel_ends_a_map_that_was_not_expanded() -> None:
    answer = settle(scope(running(mapped("a"), None)), cancelled=True)
    assert answer.nodes["a"] == node(mapped("a"), CANCELLED, total=0)
    assert answer.outcome is RunState.CANCELLED


def test_last_report_after_a_cancel_counts_and_ends_the_run() -> None:
    for state, outcome in ((SUCCEEDED, RunState.CANCELLED), (FAILED, RunState.FAILED), (CANCELLED, RunState.CANCELLED)):
        answer = settle(scope(running(task("a"), 1, **{state.value: 1})), cancelled=True)
        assert answer.nodes["a"].state is state
        assert answer.outcome is outcome


def test_task_cancelled_before_it_began_is_not_skipped() -> None:
    nodes = scope(ended(task("a"), FAILED), node(task("b", "a")))
    assert states(nodes, cancelled=True)["b"] is CANCELLED


# The `finally` section

FINALS = frozenset({"bill", "mail"})


def finals(state: TaskState = PENDING) -> tuple[Node, Node]:
    return node(task("bill"), state), node(task("mail"), state)


@pytest.mark.parametrize("state", FINAL_STATES)
def test_finally_tasks_start_together_in_every_case(state: TaskState) -> None:
    for cancelled in (False, True):
        answer = settle(scope(*finals(), ended(task("a"), state)), finals=FINALS, cancelled=cancelled)
        assert answer.started == ("bill", "mail")
        assert answer.outcome is None


def test_finally_tasks_wait_for_all_others() -> None:
    answer = settle(scope(*finals(), ended(task("a"), FAILED), running(task("b"))), finals=FINALS)
    assert answer.changed == frozenset()


def test_finally_tasks_start_in_the_same_step_that_skips_the_rest() -> None:
    answer = settle(scope(*finals(), ended(task("a"), FAILED), node(task("b", "a"))), finals=FINALS)
    assert answer.started == ("bill", "mail")


def test_cancel_does_not_touch_finally_tasks() -> None:
    bill, mail = running(task("bill")), running(mapped("mail"), None)
    nodes = scope(bill, mail, ended(task("a"), SUCCEEDED))
    assert settle(nodes, finals=FINALS, cancelled=True).changed == frozenset()


@pytest.mark.parametrize("on_failure", OnFailure)
def test_failed_finally_task_fails_the_run_whatever_it_says(on_failure: OnFailure) -> None:
    nodes = scope(ended(task("a"), SUCCEEDED), running(task("bill", on_failure=on_failure), 1, failed=1))
    answer = settle(nodes, finals=frozenset({"bill"}))
    assert answer.outcome is RunState.FAILED


# The outcome


@pytest.mark.parametrize(
    ("nodes", "cancelled", "outcome"),
    [
        (scope(ended(task("a"), SUCCEEDED)), False, RunState.SUCCEEDED),
        (scope(ended(task("a"), SUCCEEDED)), True, RunState.CANCELLED),
        (scope(ended(task("a"), FAILED)), False, RunState.FAILED),
        (scope(ended(task("a"), FAILED)), True, RunState.FAILED),
        (scope(ended(task("a", on_failure=CONTINUE), FAILED)), False, RunState.SUCCEEDED),
        (scope(ended(task("a", on_failure=CONTINUE), FAILED)), True, RunState.CANCELLED),
        (scope(ended(task("a"), SUCCEEDED), ended(task("b"), SKIPPED)), False, RunState.SUCCEEDED),
        (scope(ended(task("a"), SUCCEEDED), running(task("b"))), False, None),
        (scope(ended(task("a"), FAILED), running(task("b"))), False, None),
    ],
)
def test_outcome_of_a_run(nodes: dict[str, Node], cancelled: bool, outcome: RunState | None) -> None:
    assert settle(nodes, cancelled=cancelled).outcome is outcome


def test_failure_handled_by_a_later_task_still_fails_the_run() -> None:
    nodes = scope(ended(task("a"), FAILED), running(task("b", "a", run_if=RunIf.ANY_FAILED), 1, succeeded=1))
    assert settle(nodes).outcome is RunState.FAILED


def test_chain_of_ten_thousand_is_settled_without_recursion() -> None:
    chain = [ended(task("t0"), FAILED), *(node(task(f"t{i}", f"t{i - 1}")) for i in range(1, 10_000))]
    assert settle(scope(*reversed(chain))).outcome is RunState.FAILED
