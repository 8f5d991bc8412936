from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freshet.definition import (
    DefinitionErrors,
    compile_document,
    compile_workflow,
    describe,
    errors_of,
    load_file,
    load_text,
)
from freshet.domain.errors import DefinitionError
from freshet.domain.model import Workflow

HEAD = "name: w\ntasks:\n"


def refused(text: str, name: str = "w.yaml") -> tuple[DefinitionError, ...]:
    with pytest.raises(DefinitionError) as caught:
        compiled(text, name)
    return errors_of(caught.value)


def compiled(text: str, name: str) -> list[Workflow]:
    return [compile_document(document) for document in load_text(text, name)]


#: Broken documents: the text, then code, pointer, line and a part of the sentence of its first refusal.
BROKEN: list[tuple[str, str, str, int, str]] = [
    # what can't be read
    ("name: w\ntasks: {a: {process: p}\n", "bad_yaml", "", 3, "the YAML can't be read"),
    ("name: w\nname: x\n", "doubled_key", "/name", 2, "the key 'name' stands twice; first on line 1"),
    ("name: w\ntasks: {1: {process: p}}\n", "key_not_text", "", 2, "a key must be text; put 1 in quotes"),
    ("name: !!python/name:os.system x\n", "bad_yaml", "", 1, "is not known here"),
    ("a: &a {b: 1}\nc: {<<: *a}\n", "bad_yaml", "", 2, "merge keys"),
    ("a: .nan\n", "bad_yaml", "", 1, "'.nan' is no float"),
    ("# nothing\n", "empty_file", "", 1, "w.yaml is empty"),
    ("- name: w\n", "wrong_type", "", 1, "a workflow file is an object"),
    # the head
    ("tasks: {a: {process: p}}\n", "missing_key", "/name", 1, "the workflow needs the key 'name'"),
    ("name: w\n", "missing_key", "/tasks", 1, "needs the key 'tasks'"),
    ("name: w\ntasks: {}\n", "empty", "/tasks", 2, "tasks must not be empty"),
    ("name: a/b\ntasks: {a: {process: p}}\n", "bad_name", "/name", 1, "must be a name of letters"),
    ("name: w\npriority: high\ntasks: {a: {process: p}}\n", "wrong_type", "/priority", 2, "a whole number, not 'high'"),
    ("name: w\npriority: -1\ntasks: {a: {process: p}}\n", "out_of_range", "/priority", 2, "must be at least 0, not -1"),
    ("name: w\nshedule: {}\ntasks: {a: {process: p}}\n", "unknown_key", "/shedule", 2, "did you mean 'schedule'?"),
    # schedules
    (
        "name: w\nschedule: {every: PT1M, cron: '@daily'}\ntasks: {a: {process: p}}\n",
        "one_of", "/schedule", 2, "needs either `every` or `cron`, and not both",
    ),
    ("name: w\nschedule: {}\ntasks: {a: {process: p}}\n", "one_of", "/schedule", 2, "either `every` or `cron`"),
    (
        "name: w\nschedule:\n  every: PT0.5S\ntasks: {a: {process: p}}\n",
        "duration_too_short", "/schedule/every", 3, "must be 1 second or longer, not PT0.5S",
    ),
    (
        "name: w\nschedule:\n  every: 5m\ntasks: {a: {process: p}}\n",
        "bad_duration", "/schedule/every", 3, "'5m' is not a duration; write ISO 8601 like PT5S",
    ),
    (
        "name: w\nschedule:\n  cron: 61 * * * *\ntasks: {a: {process: p}}\n",
        "bad_cron", "/schedule/cron", 3, "the field is wrong: minute",
    ),
    (
        "name: w\nschedule:\n  cron: '@reboot'\ntasks: {a: {process: p}}\n",
        "bad_cron", "/schedule/cron", 3, "not an alias",
    ),
    (
        "name: w\nschedule:\n  cron: 0 2 * * *\n  timezone: Mars/Olympus\ntasks: {a: {process: p}}\n",
        "bad_time_zone", "/schedule/timezone", 4, "'Mars/Olympus' is not an IANA time zone",
    ),
    (
        "name: w\nschedule: {every: 60, overlap: never}\ntasks: {a: {process: p}}\n",
        "unknown_value", "/schedule/overlap", 2, "must be skip, queue or allow, not 'never'",
    ),
    # params and triggers
    (
        "name: w\nparams:\n  n: {type: int}\ntasks: {a: {process: p}}\n",
        "unknown_value", "/params/n/type", 3, "string, integer, number, boolean, array or object, not 'int'",
    ),
    (
        "name: w\nparams:\n  n: {type: integer, default: four}\ntasks: {a: {process: p}}\n",
        "wrong_type", "/params/n/default", 3, "params.n.default must be a whole number, not 'four'",
    ),
    (
        "name: w\nparams:\n  n: {default: 'x', required: true}\ntasks: {a: {process: p}}\n",
        "one_of", "/params/n", 3, "is required and has a default",
    ),
    (
        "name: w\nschedule: {every: 60}\nparams:\n  n: {}\ntasks: {a: {process: p}}\n",
        "missing_default", "/params/n", 4, "the schedule can't give it",
    ),
    (
        "name: w\ntriggers:\n- event: t\nparams: {n: {}}\ntasks: {a: {process: p}}\n",
        "missing_param", "/triggers/0/params", 3, "must map the required parameter 'n'",
    ),
    (
        "name: w\ntriggers:\n- event: t\n  when: event.data.x >\ntasks: {a: {process: p}}\n",
        "bad_expression", "/triggers/0/when", 4, "can't be read at column 15",
    ),
    (
        "name: w\ntriggers:\n- event: t\n  params: {m: event.id}\ntasks: {a: {process: p}}\n",
        "unknown_param", "/triggers/0/params/m", 4, "names no parameter",
    ),
    (
        "name: w\ntriggers:\n- event: t\n  when: item.x\ntasks: {a: {process: p}}\n",
        "unknown_variable", "/triggers/0/when", 4, "reads 'item', which is not there; there are event",
    ),
    # kinds
    ('name: "a\\0"\ntasks: {a: {process: p}}\n', "not_json", "/name", 1, "holds a NUL character"),
    ("name: w\npriority: 9223372036854775808\n", "not_json", "/priority", 2, "beyond 64 bits"),
    (HEAD + "  a: {bash: echo}\n", "unknown_kind", "/tasks/a", 3, "unknown kind 'bash'; a task is one of process"),
    (HEAD + "  a: {proces: p}\n", "unknown_kind", "/tasks/a", 3, "'proces' (did you mean 'process'?)"),
    (HEAD + "  a: {timeout: 3}\n", "no_kind", "/tasks/a", 3, "has no kind"),
    (HEAD + "  a: {process: p, sql: {text: select 1}}\n", "two_kinds", "/tasks/a", 3, "'process' and 'sql'"),
    (HEAD + "  a: process\n", "wrong_type", "/tasks/a", 3, "tasks.a must be an object, not 'process'"),
    (HEAD + "  a: {process: 'p@'}\n", "bad_version", "/tasks/a/process", 3, "must be a version, like 1.0.0"),
    (
        HEAD + "  a: {process: {name: p, isolation: hot}}\n",
        "unknown_value", "/tasks/a/process/isolation", 3, "warm or process",
    ),
    (HEAD + "  a.b: {process: p}\n", "bad_name", "/tasks/a.b", 3, "must be a name"),
    # the graph
    (HEAD + "  a: {process: p, after: [b]}\n", "unknown_parent", "/tasks/a/after/0", 3, "runs after b"),
    (HEAD + "  a: {process: p, after: a}\n", "self_parent", "/tasks/a/after", 3, "after itself"),
    (
        HEAD + "  a: {process: p, after: [b]}\n  b: {process: p, after: [a]}\n",
        "cycle", "/tasks/a/after/0", 3, "a → b → a",
    ),
    (HEAD + "  a: {process: p, result: b}\n", "result_without_tasks", "/tasks/a/result", 3, "no tasks of its own"),
    (HEAD + "  a: {tasks: {b: {process: p}}}\n", "map_without_list", "/tasks/a/for_each", 3, "needs `for_each`"),
    (
        HEAD + "  a:\n    for_each: 3\n    timeout: 3\n    tasks: {b: {process: p}}\n",
        "not_for_maps", "/tasks/a", 3, "is a nested map and takes no `timeout`",
    ),
    # options
    (HEAD + "  a: {process: p, retries: {limit: -1}}\n", "out_of_range", "/tasks/a/retries/limit", 3, "at least 0"),
    (HEAD + "  a: {process: p, retries: {jitter: 2}}\n", "out_of_range", "/tasks/a/retries/jitter", 3, "at most 1"),
    (
        HEAD + "  a: {process: p, retries: {delai: 2}}\n",
        "unknown_key", "/tasks/a/retries/delai", 3, "did you mean 'delay'?",
    ),
    (HEAD + "  a:\n    process: p\n    timeout: PT0S\n", "duration_too_short", "/tasks/a/timeout", 5, "longer than 0"),
    (HEAD + "  a: {process: p, timeout: P1M}\n", "bad_duration", "/tasks/a/timeout", 3, "'P1M' is not a duration"),
    (HEAD + "  a: {process: p, timeout: true}\n", "bad_duration", "/tasks/a/timeout", 3, "true is not a duration"),
    (
        HEAD + "  a: {process: p, run_if: sometimes}\n",
        "unknown_value", "/tasks/a/run_if", 3, "any_succeeded, not 'sometimes'",
    ),
    (HEAD + "  a: {process: p, queue: a b}\n", "bad_name", "/tasks/a/queue", 3, "without spaces"),
    # expressions
    (
        HEAD + "  a: {process: p, for_each: {b: 1}}\n",
        "bad_for_each", "/tasks/a/for_each", 3, "a list or a whole number",
    ),
    (HEAD + "  a: {process: p, for_each: -1}\n", "bad_for_each", "/tasks/a/for_each", 3, "-1 is negative"),
    (HEAD + "  a: {process: p, for_each: 'tasks. + 1'}\n", "bad_expression", "/tasks/a/for_each", 3, "at column 8"),
    (
        HEAD + "  a: {process: p, for_each: params.n}\n",
        "unknown_param", "/tasks/a/for_each", 3, "params.n, which is not declared",
    ),
    (HEAD + "  a: {process: p, for_each: item.x}\n", "unknown_variable", "/tasks/a/for_each", 3, "reads 'item'"),
    (HEAD + "  a: {process: p, input: tasks}\n", "unnamed_task", "/tasks/a/input", 3, "must name the task"),
    (HEAD + "  a: {process: p, input: 'day ${{ run.id }}'}\n", "bad_expression", "/tasks/a/input", 3, "is CEL already"),
    (
        HEAD + "  b: {process: p}\n  a: {process: p, after: [b], input: tasks.b.state}\n",
        "unknown_variable", "/tasks/a/input", 4, "of a task there is only `result`",
    ),
    (
        HEAD + "  b: {process: p}\n  a: {process: p, input: tasks.b.result}\n",
        "not_upstream", "/tasks/a/input", 4, "name it in `after`",
    ),
    # job services
    (
        HEAD + "  a: {job_service: {image: /a:1}}\n",
        "missing_key", "/tasks/a/job_service/compute_pool", 3, "'compute_pool'",
    ),
    (
        HEAD + "  a: {job_service: {image: a b, compute_pool: P}}\n",
        "bad_image", "/tasks/a/job_service/image", 3, "without spaces or templates",
    ),
    (
        HEAD + "  a: {job_service: {image: /a:1, compute_pool: 'P; DROP'}}\n",
        "bad_name", "/tasks/a/job_service/compute_pool", 3, "a Snowflake identifier",
    ),
    (
        HEAD + "  a:\n    job_service:\n      image: /a:1\n      compute_pool: P\n      args: ['${{ 1 + }}']\n",
        "bad_expression", "/tasks/a/job_service/args/0", 7, "it ends too early",
    ),
    (
        HEAD + "  a: {job_service: {image: /a:1, compute_pool: P, env: {X: [1]}}}\n",
        "bad_template", "/tasks/a/job_service/env/X", 3, "write text, a number or a boolean",
    ),
    # scripts
    (HEAD + "  a: {sql: {on: a b, text: x}}\n", "bad_name", "/tasks/a/sql/on", 3, "postgres, snowflake or the name of"),
    (
        HEAD + "  a: {sql: {on: snowflake, text: 'select $$x'}}\n",
        "sql_refused", "/tasks/a/sql/text", 3, "a string, a quoted name or a comment of the script does not end",
    ),
    (
        HEAD + "  a: {sql: {on: snowflake, text: ' ; -- x'}}\n",
        "sql_refused", "/tasks/a/sql/text", 3, "the script holds no statement",
    ),
    (
        HEAD + "  a: {sql: {text: select 1, warehouse: W}}\n",
        "not_for_postgres", "/tasks/a/sql", 3, "runs on postgres and takes no `warehouse`; say `on: snowflake`",
    ),
    (HEAD + "  a: {sql: {}}\n", "one_of", "/tasks/a/sql", 3, "needs either `text` or `file`"),
    (HEAD + "  a: {sql: {text: ' '}}\n", "empty_script", "/tasks/a/sql/text", 3, "holds no script"),
    (
        HEAD + "  a: {sql: {text: 'select 1; commit'}}\n",
        "sql_refused", "/tasks/a/sql/text", 3, "the statement COMMIT on line 1",
    ),
    (
        HEAD + "  a: {sql: {text: 'select ${{ params.n }}'}}\n",
        "template_in_script", "/tasks/a/sql/text", 3, "is not replaced in scripts",
    ),
    (HEAD + "  a: {python: {text: 'def x(:'}}\n", "bad_python", "/tasks/a/python/text", 3, "on line 1 of the script"),
    (HEAD + "  a: {python: {file: x.py}}\n", "file_not_inlined", "/tasks/a/python/file", 3, "send the text instead"),
    # nested and final
    (
        HEAD + "  m:\n    for_each: 2\n    tasks:\n      a: {sql: {text: vacuum}}\n",
        "sql_refused", "/tasks/m/tasks/a/sql/text", 6, "can't run inside a transaction",
    ),
    (
        HEAD + "  a: {process: p}\nfinally:\n  z: {process: p, after: [a]}\n",
        "final_with_parents", "/finally/z/after", 5, "takes no `after`",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "code", "pointer", "line", "sentence"), BROKEN)
def test_a_broken_document_is_refused_with_code_pointer_line_and_sentence(
    text: str, code: str, pointer: str, line: int, sentence: str
) -> None:
    first = refused(text)[0]
    assert (first.code, first.pointer, first.file, first.line) == (code, pointer, "w.yaml", line)
    assert sentence in first.message


def test_all_mistakes_are_told_at_once() -> None:
    text = "name: w\npriority: x\nschedule: {every: 1y}\ntasks:\n  a: {bash: echo}\n  b: {process: p, timeout: 5m}\n"
    found = refused(text)
    assert {(error.pointer, error.line) for error in found} == {
        ("/priority", 2),
        ("/schedule/every", 3),
        ("/tasks/a", 5),
        ("/tasks/b/timeout", 6),
    }


def test_mistakes_of_the_graph_and_of_expressions_are_told_together() -> None:
    text = HEAD + "  a: {process: p, after: [x]}\n  b: {process: p, input: params.n}\n"
    assert {error.code for error in refused(text)} == {"unknown_parent", "unknown_param"}


def test_several_refusals_are_one_definition_error() -> None:
    with pytest.raises(DefinitionErrors) as caught:
        compile_workflow({"name": 1, "tasks": 2})
    assert caught.value.code == caught.value.errors[0].code
    assert len(caught.value.errors) == 2
    assert describe(caught.value) == "name must be text, not 1\ntasks must be an object, not 2"


def test_a_terminal_shows_file_and_line_before_the_sentence() -> None:
    [document] = load_text(HEAD + "  a: {bash: echo}\n", "dir/w.yaml")
    with pytest.raises(DefinitionError) as caught:
        compile_document(document)
    assert describe(caught.value).startswith("dir/w.yaml:3: tasks.a has the unknown kind 'bash'")


@pytest.mark.parametrize(
    ("text", "code", "pointer", "line", "sentence"),
    [
        ('{"name": "w",\n "tasks": }', "bad_json", "", 2, "column 11"),
        ('{"name": "w",\n "name": "x"}', "doubled_key", "/name", 2, "first on line 1"),
        ('{"name": "w", "tasks": {"a":\n {"b/c": 1, "b/c": 2}}}', "doubled_key", "/tasks/a/b~1c", 2, "twice"),
        ('{"priority": NaN}', "bad_json", "", None, "NaN is not JSON"),
        ("", "empty_file", "", 1, "is empty"),
        ('{"name": "w",\n "tasks": {\n  "a": {"process":\n 3}}}', "wrong_type", "/tasks/a/process", 3, "an object"),
        (
            '{"name": "w",\n "tasks": {"a": {"process": "p", "after": [\n"q"]}}}',
            "unknown_parent",
            "/tasks/a/after/0",
            3,
            "q",
        ),
        ("[" * 100_000, "bad_json", "", None, "nested too deeply"),
    ],
)
def test_json_is_refused_with_the_line_too(text: str, code: str, pointer: str, line: int | None, sentence: str) -> None:
    first = refused(text, "w.json")[0]
    assert (first.code, first.pointer, first.file) == (code, pointer, "w.json")
    assert line is None or first.line == line
    assert sentence in first.message


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"gone\.yaml can't be read: No such file"):
        load_file(tmp_path / "gone.yaml")


def test_a_file_that_is_not_utf8_is_refused_with_the_line(tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    file.write_bytes(b"name: w\nx: \xff\n")
    with pytest.raises(DefinitionError) as caught:
        load_file(file)
    assert (caught.value.code, caught.value.line) == ("not_utf8", 2)


def test_a_script_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text(HEAD + "  a:\n    sql:\n      file: gone.sql\n")
    [document] = load_file(tmp_path / "w.yaml")
    with pytest.raises(DefinitionError, match=r"gone\.sql: No such file") as caught:
        compile_document(document)
    assert (caught.value.code, caught.value.line) == ("unreadable_file", 5)


def test_aliases_work_and_can_not_blow_a_document_up() -> None:
    [document] = load_text("name: w\ntasks:\n  a: &a {process: p}\n  b: *a\n", "w.yaml")
    assert compile_document(document).task("b").process == compile_document(document).task("a").process
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))
    assert refused(bomb)[0].code == "document_too_large"


def test_an_alias_of_what_is_around_it_is_refused() -> None:
    assert refused("a: &a [*a]\n")[0].code in {"bad_yaml", "document_too_large"}


def test_words_that_older_yaml_took_for_booleans_and_dates_are_text() -> None:
    [document] = load_text("on: off\nday: 2026-01-02\nn: 0o17\nx: ~\ny: 1_000\n", "w.yaml")
    assert document.data["on"] == "off"
    assert document.data["day"] == "2026-01-02"
    assert document.data["n"] == 15
    assert document.data["x"] is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KEYS = ["process", "job_service", "sql", "python", "tasks", "after", "for_each", "input", "retries", "timeout", "text"]
TASK = st.dictionaries(st.sampled_from([*KEYS, "image", "compute_pool", "args", "on"]), JSON, max_size=4)
HEADS = st.fixed_dictionaries(
    {"name": st.just("w")},
    optional={
        "tasks": st.dictionaries(st.sampled_from(["a", "b"]), TASK | JSON, max_size=2),
        "schedule": st.dictionaries(st.sampled_from(["every", "cron", "timezone"]), JSON) | JSON,
        "params": st.dictionaries(st.sampled_from(["n"]), JSON | st.fixed_dictionaries({"default": JSON})),
        "triggers": st.lists(JSON | st.dictionaries(st.sampled_from(["event", "when", "params"]), JSON), max_size=2),
        "finally": JSON,
    },
)


@settings(max_examples=300, deadline=None)
@given(HEADS | JSON)
def test_no_data_whatever_ends_in_anything_but_a_workflow_or_a_refusal(data: Any) -> None:
    try:
        compile_workflow(data)
    except DefinitionError as error:
        assert all(single.message and single.code for single in errors_of(error))  # noqa: PT017 - both ends are fine


@settings(max_examples=300, deadline=None)
@given(
    st.text(alphabet=st.sampled_from("abn:{}[],-&*!#'\"|>%@` \n\t~1.<?\\"), max_size=60),
    st.sampled_from(["yaml", "json"]),
)
def test_no_text_whatever_ends_in_anything_but_documents_or_a_refusal(text: str, kind: str) -> None:
    try:
        load_text(text, f"w.{kind}")
    except DefinitionError as error:
        assert error.file == f"w.{kind}"  # noqa: PT017 - both ends are fine
