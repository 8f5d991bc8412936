from __future__ import annotations

from typing import Any

import pytest

from freshet.definition import coerce_params, compile_workflow, errors_of
from freshet.domain.errors import DefinitionError

PARAMS = {
    "text": {"default": "x"},
    "count": {"type": "integer", "default": 4},
    "share": {"type": "number", "default": 0.5},
    "flag": {"type": "boolean", "default": False},
    "list": {"type": "array", "default": []},
    "map": {"type": "object", "default": {}},
    "free": {"type": "integer", "default": None},
}
OPTIONAL = compile_workflow({"name": "w", "params": PARAMS, "tasks": {"a": {"process": "p"}}})
REQUIRED = compile_workflow({"name": "w", "params": {"day": {}}, "tasks": {"a": {"process": "p"}}})
DEFAULTS = {"text": "x", "count": 4, "share": 0.5, "flag": False, "list": [], "map": {}, "free": None}


def test_what_is_not_given_has_its_default() -> None:
    assert coerce_params(OPTIONAL, {}, from_text=True) == DEFAULTS
    assert coerce_params(OPTIONAL, {}, from_text=False) == DEFAULTS


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("text", "12", "12"),
        ("text", "", ""),
        ("count", "-12", -12),
        ("share", "1.5", 1.5),
        ("share", "3", 3),
        ("flag", "true", True),
        ("flag", "False", False),
        ("list", '[1, "a"]', [1, "a"]),
        ("map", '{"a": null}', {"a": None}),
        ("free", "7", 7),
    ],
)
def test_text_is_read_by_the_type_of_the_parameter(name: str, text: str, value: Any) -> None:
    found = coerce_params(OPTIONAL, {name: text}, from_text=True)[name]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", 3),
        ("count", 3.0),
        ("share", 3),
        ("flag", True),
        ("list", [1]),
        ("map", {}),
        ("free", None),
        ("text", ""),
    ],
)
def test_typed_values_are_taken_as_they_are(name: str, value: Any) -> None:
    assert coerce_params(OPTIONAL, {name: value}, from_text=False)[name] == value


@pytest.mark.parametrize(
    ("name", "value", "from_text", "sentence"),
    [
        ("count", "four", True, "params.count must be a whole number, not 'four'"),
        ("count", "1.5", True, "must be a whole number"),
        ("flag", "yes", True, "params.flag must be true or false, not 'yes'"),
        ("list", "{}", True, "params.list must be a list, not an object"),
        ("map", "{", True, "must be an object"),
        ("share", "NaN", True, "must be a number, not 'NaN'"),
        ("count", "4", False, "must be a whole number, not '4'"),
        ("count", True, False, "must be a whole number, not true"),
        ("flag", 1, False, "must be true or false, not 1"),
        ("text", 3, False, "must be text, not 3"),
        ("count", None, False, "must be a whole number, not null"),
    ],
)
def test_a_value_of_another_type_is_refused(name: str, value: Any, from_text: bool, sentence: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        coerce_params(OPTIONAL, {name: value}, from_text=from_text)
    assert (caught.value.code, caught.value.pointer) == ("wrong_type", f"/params/{name}")
    assert sentence in caught.value.message


def test_what_is_missing_and_what_is_unknown_is_told_at_once() -> None:
    with pytest.raises(DefinitionError) as caught:
        coerce_params(REQUIRED, {"dya": "2026"}, from_text=True)
    assert [(error.code, error.pointer) for error in errors_of(caught.value)] == [
        ("unknown_param", "/params/dya"),
        ("missing_param", "/params/day"),
    ]


def test_a_default_is_not_shared_between_runs() -> None:
    coerce_params(OPTIONAL, {}, from_text=False)["list"].append("mine")
    assert coerce_params(OPTIONAL, {}, from_text=False)["list"] == []


@pytest.mark.parametrize("value", [float("inf"), 2**63, "\0", "\ud800", {"a": [float("nan")]}, {1: 2}])
def test_a_value_that_could_not_be_stored_is_refused(value: Any) -> None:
    name = {str: "text", dict: "map"}.get(type(value), "share")
    with pytest.raises(DefinitionError) as caught:
        coerce_params(OPTIONAL, {name: value}, from_text=False)
    assert caught.value.code == "not_json"
    assert caught.value.pointer.startswith(f"/params/{name}")
