from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from freshet.definition import workflow
from freshet.domain.errors import DefinitionError


def test_leaving_the_block_checks_the_workflow() -> None:
    with pytest.raises(DefinitionError, match="runs after gone"), workflow("w") as built:
        built.process("a", "p@1", after="gone")


def test_an_error_in_the_block_is_not_hidden_by_the_check() -> None:
    with pytest.raises(KeyError, match="mine"), workflow("w"):
        raise KeyError("mine")


def test_a_name_that_is_taken_is_refused_at_once() -> None:
    built = workflow("w")
    built.process("a", "p@1")
    with pytest.raises(DefinitionError, match="two tasks of one scope are called 'a'"):
        built.sql("a", "select 1")


def test_durations_may_be_timedeltas_and_names_may_have_dashes() -> None:
    with workflow("w") as built:
        first = built.process("my-task", "p@1", timeout=timedelta(minutes=90))
        built.process("next", "q@1", after=[first], for_each=first.result, retries=2)
    assert built.document()["tasks"] == {
        "my-task": {"process": "p@1", "timeout": "PT1H30M"},
        "next": {
            "process": "q@1",
            "after": ["my-task"],
            "for_each": "tasks['my-task'].result",
            "retries": {"limit": 2},
        },
    }


def test_scripts_may_be_text_or_files(tmp_path: Path) -> None:
    (tmp_path / "x.sql").write_text("select 2")
    with workflow("w", base=tmp_path) as built:
        built.sql("a", file="x.sql")
        built.python("b", "print(1)", after="a")
    tasks = built.document()["tasks"]
    assert tasks["a"]["sql"] == {"on": "postgres", "text": "select 2"}
    assert tasks["b"]["python"] == {"text": "print(1)"}


def test_maps_can_be_nested_in_maps() -> None:
    with workflow("w") as built, built.map("outer", for_each=2) as outer:
        inner = outer.map("inner", for_each=3, result="leaf")
        inner.process("leaf", "p@1")
    assert [task.path for task in built.compile().walk()] == ["outer", "outer.inner", "outer.inner.leaf"]
