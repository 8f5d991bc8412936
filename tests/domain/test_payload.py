from __future__ import annotations

from freshet.domain.payload import compose

from .build import mapped, task

PARAMS = {"batch": 4}
RUN = {"run_id": "r"}


def test_task_without_parents_gets_the_params() -> None:
    assert compose(task("a"), params=PARAMS, parents={}) == PARAMS


def test_task_with_one_parent_gets_its_value() -> None:
    assert compose(task("b", "a"), params=PARAMS, parents={"a": [1, 2]}) == [1, 2]


def test_task_with_several_parents_gets_an_object_by_name() -> None:
    values = {"b": 2, "a": 1, "x": 9}
    assert compose(task("c", "a", "b"), params=PARAMS, parents=values) == {"a": 1, "b": 2}


def test_skipped_or_failed_parent_is_null() -> None:
    assert compose(task("b", "a"), params=PARAMS, parents={}) is None
    assert compose(task("c", "a", "b"), params=PARAMS, parents={"a": 1}) == {"a": 1, "b": None}


def test_task_without_parents_in_a_scope_gets_the_element_though_it_be_null() -> None:
    assert compose(task("a"), params=PARAMS, parents={}, element="e") == "e"
    assert compose(task("a"), params=PARAMS, parents={}, element=None) is None


def test_task_with_a_parent_in_a_scope_gets_the_parents_value() -> None:
    assert compose(task("b", "a"), params=PARAMS, parents={"a": 1}, element="e") == 1


def test_fanned_out_task_gets_its_item() -> None:
    assert compose(mapped("b", "a"), params=PARAMS, parents={"a": [1, 2]}, element="e", item=2) == 2
    assert compose(mapped("b"), params=PARAMS, parents={}, item=None) is None


def test_finally_task_gets_the_run() -> None:
    assert compose(task("f"), params=PARAMS, parents={}, run=RUN) == RUN


def test_values_pass_through_untouched() -> None:
    results = object()
    assert compose(task("b", "a"), params=PARAMS, parents={"a": results}) is results
