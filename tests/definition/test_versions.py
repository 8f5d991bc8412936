from __future__ import annotations

import pytest

from freshet.definition import compile_workflow, dump, errors_of, resolve_versions
from freshet.domain.errors import DefinitionError

WORKFLOW = compile_workflow(
    {
        "name": "w",
        "tasks": {
            "a": {"process": "known"},
            "b": {"process": "known@0.9"},
            "m": {"for_each": 2, "tasks": {"c": {"process": {"name": "known", "isolation": "process"}}}},
            "s": {"sql": {"text": "select 1"}},
        },
        "finally": {"z": {"process": "known"}},
    }
)


def test_every_process_gets_the_version_that_is_served() -> None:
    document = dump(resolve_versions(WORKFLOW, {"known": "1.2.0"}.get))
    assert document["tasks"]["a"]["process"] == "known@1.2.0"
    assert document["tasks"]["b"]["process"] == "known@0.9"
    assert document["tasks"]["m"]["tasks"]["c"]["process"] == {
        "name": "known",
        "version": "1.2.0",
        "isolation": "process",
    }
    assert document["finally"]["z"]["process"] == "known@1.2.0"


def test_processes_that_nobody_serves_are_refused_all_at_once() -> None:
    with pytest.raises(DefinitionError) as caught:
        resolve_versions(WORKFLOW, {}.get)
    assert [(error.code, error.pointer) for error in errors_of(caught.value)] == [
        ("unknown_process", "/tasks/a/process"),
        ("unknown_process", "/tasks/m/tasks/c/process"),
        ("unknown_process", "/finally/z/process"),
    ]
    assert "no worker serves a process called 'known'" in caught.value.message
