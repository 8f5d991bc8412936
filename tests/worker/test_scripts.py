"""Kinds `sql` and `python`."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.worker.rows import Rows
from tests.worker.test_process import Serve, effects, logs, states

Script = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def script(rows: Rows, serve: Serve) -> Script:
    """Run one task with such a script for each of the values; the outcomes."""

    def run(kind: str, text: str, *values: Any, timeout_s: float | None = None) -> list[dict[str, Any]]:
        name = f"script{rows.one('select count(*) from engine.workflow')}"
        spec = {"on": "postgres", "text": text} if kind == "sql" else {"text": text}
        workflow = rows.workflow({"name": name, "tasks": {"t": {kind: spec, "for_each": str(len(values))}}})
        task = rows.task(rows.run(workflow), kind=kind, values=list(values))
        return serve(rows.bundle(task, range(len(values)), timeout_s=timeout_s))[-len(values) :]

    return run


def test_the_last_statements_rows_are_the_result(script: Script, rows: Rows) -> None:
    text = "insert into effect values (:payload ->> 'v'); select :payload ->> 'v' as v, 2 as n, null as nothing"
    outcomes = script("sql", text, {"v": "it's"}, {"v": "\\x'"})
    assert [outcome["r"] for outcome in outcomes] == [
        [{"v": "it's", "n": 2, "nothing": None}],
        [{"v": "\\x'", "n": 2, "nothing": None}],
    ]
    assert effects(rows) == ["\\x'", "it's"]


def test_a_script_without_rows_has_an_empty_list(script: Script, rows: Rows) -> None:
    (outcome,) = script("sql", "select 1; insert into effect values ('x')", None)
    assert outcome["r"] == []
    assert effects(rows) == ["x"]


def test_a_failed_script_takes_all_back(script: Script, rows: Rows) -> None:
    (outcome,) = script("sql", "insert into effect values ('x'); select 1 / 0", None)
    assert outcome["s"] == "failed"
    assert "division by zero" in outcome["e"]["message"]
    assert effects(rows) == []


def test_payload_stays_text_where_it_is_no_parameter(script: Script) -> None:
    text = """
        -- :payload in a comment
        /* :payload */
        select ':payload' as a, $$ :payload $$ as b, $x$ :payload $x$ as c, e'\\':payload' as d, :payload::text as e,
            '1'::text as ":payload", 1 as payload
    """
    (outcome,) = script("sql", text, 5)
    assert outcome["r"] == [
        {
            "a": ":payload",
            "b": " :payload ",
            "c": " :payload ",
            "d": "':payload",
            "e": "5",
            ":payload": "1",
            "payload": 1,
        }
    ]


def test_postgres_types_become_json(script: Script) -> None:
    text = (
        "select 1.5::numeric as n, 3::numeric as i, '2026-01-02'::date as d,"
        " '2026-01-02 03:04:05+00'::timestamptz as t,"
        " '0193b1b8-0000-7000-8000-000000000000'::uuid as u, '{1,2}'::int[] as a, '{\"x\": 1}'::jsonb as j, true as b"
    )
    (outcome,) = script("sql", text, None)
    assert outcome["r"] == [
        {
            "n": 1.5,
            "i": 3,
            "d": "2026-01-02",
            "t": "2026-01-02T03:04:05+00:00",
            "u": "0193b1b8-0000-7000-8000-000000000000",
            "a": [1, 2],
            "j": {"x": 1},
            "b": True,
        }
    ]


def test_a_script_that_ends_the_transaction_is_noticed(script: Script) -> None:
    (outcome,) = script("sql", "insert into effect values ('x'); do $$ begin commit; end $$; select 1", None)
    assert outcome["s"] in {"ended_transaction", "failed"}


def test_a_python_script_gets_its_payload_and_answers_with_its_last_json_line(script: Script, rows: Rows) -> None:
    text = "import json, sys\nprint('reading')\nprint(json.dumps({'double': json.load(sys.stdin) * 2}))\nprint('bye')"
    outcomes = script("python", text, 21, "ab")
    assert [outcome["r"] for outcome in outcomes] == [{"double": 42}, {"double": "abab"}]
    assert logs(rows)["0"] == 'reading\n{"double": 42}\nbye\n'


def test_a_python_script_without_json_has_no_result(script: Script) -> None:
    (outcome,) = script("python", "print('hello')", None)
    assert (outcome["s"], outcome["r"]) == ("succeeded", None)


def test_a_python_script_that_fails_says_so_with_its_last_words(script: Script, rows: Rows) -> None:
    (error, code) = (
        script("python", "raise ValueError('broken')", None)[0],
        script("python", "raise SystemExit(7)", None)[0],
    )
    assert (error["s"], error["e"]["class"]) == ("failed", "user")
    assert error["e"]["message"] == "The script ended with exit code 1. ValueError: broken"
    assert code["e"]["message"] == "The script ended with exit code 7."
    assert "Traceback" in logs(rows)["0"]


def test_a_python_script_is_killed_with_all_it_started_when_its_time_is_up(script: Script) -> None:
    text = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import time; time.sleep(1000)'])"
    outcomes = script("python", text, None, timeout_s=1.0)
    assert states(outcomes) == ["timed_out"]
