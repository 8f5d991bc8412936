from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshet.domain.errors import DefinitionError
from freshet.expressions import ExpressionError, has_template, render, template_references


@pytest.mark.parametrize(
    ("template", "variables", "text"),
    [
        ("--day=${{ run.day }}", {"run": {"day": "2026-01-02"}}, "--day=2026-01-02"),
        ("${{ item }}", {"item": "text stays text"}, "text stays text"),
        ("${{item}}", {"item": {"a": [1, None, True, "ü"]}}, '{"a":[1,null,true,"ü"]}'),
        ("${{ item }}-${{ params.n }}", {"item": 1.5, "params": {"n": 2}}, "1.5-2"),
        ("${{ tasks.gone.result }}", {}, "null"),
        ("${{ {'a': {'b': 1}} }}", {}, '{"a":{"b":1}}'),
        ("${{ '}}' + '${{' }}", {}, "}}${{"),
        ("$HOME {{ }} $ {", {}, "$HOME {{ }} $ {"),
    ],
)
def test_a_template_is_filled_in(template: str, variables: dict[str, Any], text: str) -> None:
    assert render(template, variables) == text


@given(st.text().filter(lambda text: not has_template(text)))
def test_text_without_marks_is_kept_to_the_letter(text: str) -> None:
    assert render(text, {}) == text


@given(st.text(alphabet="ab${} '", max_size=12), st.text(alphabet="ab} \n'", max_size=12))
def test_text_around_an_expression_is_kept_to_the_letter(before: str, after: str) -> None:
    if not has_template(before) and not before.endswith("$"):
        assert render(before + "${{ 1 }}" + after, {}) == before + "1" + after


@pytest.mark.parametrize(
    ("template", "code"),
    [
        ("${{ item", "bad_template"),
        ("${{ item }", "bad_template"),
        ("${{ 'x }}", "bad_expression"),
        ("${{ 1 + }}", "bad_expression"),
        ("${{ }}", "bad_expression"),
    ],
)
def test_a_wrong_template_is_refused(template: str, code: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        render(template, {})
    assert caught.value.code == code


def test_a_template_whose_value_can_not_be_had_says_so() -> None:
    with pytest.raises(ExpressionError, match=r"params has no 'x'"):
        render("--x=${{ params.x }}", {"params": {}})


def test_the_variables_of_a_template_are_known() -> None:
    assert template_references("a ${{ tasks.b.result }} ${{ item.c }} tasks.d") == {"tasks.b", "item"}
