from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from freshet.domain.errors import DefinitionError, FreshetError
from freshet.expressions import ExpressionError, compile_expression, task_result_path

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
SMALL = st.integers(min_value=-(2**53), max_value=2**53)
ANYTHING = {
    "params": {"n": 3, "name": "Ada"},
    "tasks": {"assign": {"result": [{"size": 1}, {"size": 5}]}, "my-task": {"result": 7}},
    "item": {"size": 4, "tags": ["a", "b"]},
    "run": {"id": "r1", "scheduled_for": "2026-01-02T03:04:05Z"},
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("params.n + 1", 4),
        ("'hello ' + params.name", "hello Ada"),
        ("tasks.assign.result", [{"size": 1}, {"size": 5}]),
        ("tasks.assign.result.map(x, x.size * params.n)", [3, 15]),
        ("tasks.assign.result.filter(x, x.size > item.size)", [{"size": 5}]),
        ("tasks['my-task'].result", 7),
        ("size(item.tags)", 2),
        ("has(item.missing) ? item.missing : 'none'", "none"),
        ("timestamp(run.scheduled_for).getFullYear()", 2026),
        ("timestamp(run.scheduled_for) + duration('90m')", "2026-01-02T04:34:05Z"),
        ("duration('90m')", "5400s"),
        ("duration('1500ms')", "1.5s"),
        ("b'abc'", "YWJj"),
        ("{1: 'one', false: 2}", {"1": "one", "false": 2}),
        ("optional.none()", None),
        ("optional.of([1])", [1]),
        ("[1, 2.5, 'x', null, true]", [1, 2.5, "x", None, True]),
    ],
)
def test_an_expression_yields_plain_json(text: str, value: Any) -> None:
    assert compile_expression(text).evaluate(ANYTHING) == value


@pytest.mark.parametrize("text", ["tasks.gone.result", "item", "params", "[tasks.gone.result, item][0]"])
def test_what_is_missing_reads_as_null(text: str) -> None:
    assert compile_expression(text).evaluate({}) is None


def test_a_task_without_a_result_reads_as_null() -> None:
    assert compile_expression("tasks.a.result == null").evaluate({"tasks": {"a": None}}) is True


@given(JSON)
def test_a_path_gives_back_any_json_untouched(value: Any) -> None:
    assert compile_expression("item").evaluate({"item": value}) == value
    assert compile_expression("tasks.a.result.x").evaluate({"tasks": {"a": {"result": {"x": value}}}}) == value


@given(st.lists(SMALL | st.text() | st.booleans() | st.none()))
def test_the_interpreter_agrees_with_the_walk_of_a_path(values: list[Any]) -> None:
    assert compile_expression("[item][0]").evaluate({"item": values}) == values


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("item.size.x", "item.size is a number, it has no 'x'"),
        ("item.color", "item has no 'color'"),
        ("tasks.gone.result.x", "tasks.gone.result is null, it has no 'x'"),
        ("[1][3]", "index out of bounds: 3"),
        ("1 / 0", "division by zero"),
        ("params.n + params.name", "not defined for the given operand types"),
        ("item['x' + 'y']", "there is no 'xy'"),
        ("double('nan')", "it yields nan, which has no form in JSON"),
        ("9223372036854775807 + params.n", "overflow"),
        ("timestamp('soon')", "timestamp"),
    ],
)
def test_an_evaluation_that_fails_says_which_expression_and_why(text: str, sentence: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(text).evaluate(ANYTHING)
    assert isinstance(caught.value, FreshetError)
    assert caught.value.expression == text
    assert caught.value.message.startswith("the expression ")
    assert sentence in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "code", "sentence"),
    [
        ("1 +", "bad_expression", "'1 +' can't be read at column 4: it ends too early"),
        ("", "bad_expression", "it ends too early"),
        ("a\n+ ?", "bad_expression", "line 2, column 3"),
        ("a b", "bad_expression", "column 3: extraneous input 'b'"),
        ("tasks.my-task.in", "bad_expression", "column 15"),
        ("sizes(item)", "unknown_function", "unknown function 'sizes'; did you mean 'size'?"),
        ("x" * 10_001, "bad_expression", "at most 10000 characters"),
    ],
)
def test_a_wrong_expression_is_refused_with_its_position(text: str, code: str, sentence: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        compile_expression(text)
    assert caught.value.code == code
    assert sentence in caught.value.message


@given(st.text(alphabet=st.sampled_from("ab.()[]{}'\"\\?:+-!&|=<>%, \n1x$`"), max_size=40))
@example("(" * 500)
@example("[" * 200 + "]" * 200)
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    with suppress(DefinitionError):
        compile_expression(text)


@pytest.mark.parametrize(
    ("text", "references"),
    [
        ("params.a + item.b", {"params", "item"}),
        ("tasks.assign.result", {"tasks.assign"}),
        ("tasks['my-task'].result.x + run.id", {"tasks.my-task", "run"}),
        ("tasks[params.which].result", {"tasks", "params"}),
        ("tasks.a.result.map(item, item.x)", {"tasks.a"}),
        ("item.rows.map(item, item.x) + [item]", {"item"}),
        ("'tasks.a.result' + \"item\" // run", set()),
        ("'it\\'s' + event.x", {"event"}),
        ("r'\\' + item", {"item"}),
        ("'''tasks.a''' + item", {"item"}),
        ("type(item) == int", {"item"}),
        ("has(params.x) && true", {"params"}),
        ("x.tasks.result", {"x"}),
    ],
)
def test_the_variables_that_an_expression_reads_are_known_before_it_runs(text: str, references: set[str]) -> None:
    assert compile_expression(text).references == references


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("tasks.X.result", ("X", ())),
        (" tasks . X . result ", ("X", ())),
        ("tasks.X.result.field.sub", ("X", ("field", "sub"))),
        ("tasks['my-task'].result['a b']", ("my-task", ("a b",))),
        ("tasks.X", None),
        ("tasks.X.results", None),
        ("tasks.X.result[0]", None),
        ("tasks.X.result + []", None),
        ("tasks.X.result.size()", None),
        ("size(tasks.X.result)", None),
        ("params.X.result", None),
        ("'tasks.X.result'", None),
        ("", None),
    ],
)
def test_a_plain_result_is_recognised_without_an_interpreter(text: str, path: Any) -> None:
    assert task_result_path(text) == path


def test_expressions_are_equal_when_their_texts_are() -> None:
    assert compile_expression("a + b") == compile_expression("a + b")
    assert compile_expression("a + b") != compile_expression("a+b")


def test_the_interpreters_command_line_is_not_imported() -> None:
    program = (
        "import sys; from freshet.expressions import compile_expression;"
        "compile_expression('1 + 1').evaluate({});"
        "assert 'prompt_toolkit' not in sys.modules and 'rich' not in sys.modules, sorted(sys.modules);"
        "import cel.cli; assert cel.cli.cli_entry"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
