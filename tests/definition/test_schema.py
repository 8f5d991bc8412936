from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from freshet.definition import load_file, schema

ROOT = Path(__file__).parents[2]
VALIDATOR = Draft202012Validator(schema())
WORKFLOWS = [
    Path(__file__).parent / "design.yaml",
    *(path for path in sorted((ROOT / "examples").rglob("*.yaml")) if path.name != "images.yaml"),
]


def test_the_schema_is_a_schema() -> None:
    assert schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_examples_obey_the_schema(path: Path) -> None:
    for document in load_file(path):
        VALIDATOR.validate(document.data)


@pytest.mark.parametrize(
    "data",
    [
        {"name": "w"},
        {"name": "w", "tasks": {}},
        {"name": "w", "tasks": {"a": {"bash": "echo"}}},
        {"name": "w", "tasks": {"a": {"process": "p", "sql": {"text": "x"}}}},
        {"name": "w", "tasks": {"a": {"process": "p", "timeout": "5m"}}},
        {"name": "w", "tasks": {"a": {"process": "p", "run_if": "x"}}},
        {"name": "w", "tasks": {"a": {"process": "p"}}, "schedule": {"every": "PT1M", "cron": "@daily"}},
        {"name": "w", "tasks": {"a": {"process": "p"}}, "params": {"n": {"type": "int"}}},
        {"name": "w", "tasks": {"a": {"process": "p"}}, "colour": "blue"},
    ],
)
def test_an_editor_sees_what_apply_would_refuse(data: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(data)
