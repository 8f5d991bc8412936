from __future__ import annotations

import importlib
import json
import logging
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from freshet.definition import compile_document, load_file
from freshet.domain.model import Kind

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = [path for path in sorted(EXAMPLES.rglob("*.yaml")) if path.name != "images.yaml"]


class Context:
    """What the samples use of a context, without a database."""

    run_id = "0199"

    class logger:  # noqa: N801 - an attribute, as user code sees it
        @staticmethod
        def info(event: str, **_: Any) -> None:
            logging.getLogger(event)


@pytest.fixture
def processes() -> Any:
    return lambda name: importlib.import_module(f"examples.{name}.processes")


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_sample_workflow_compiles_and_its_module_serves_it(path: Path) -> None:
    from freshet.execution.registry import REGISTRY

    if (path.parent / "processes.py").exists():
        importlib.import_module(f"examples.{path.parent.name}.processes")
    for document in load_file(path):
        for task in compile_document(document).walk():
            if task.kind is Kind.PROCESS and task.process is not None:
                assert REGISTRY.get(task.process.ref) is not None, task.process.ref


def test_the_pipeline_finds_the_topic_of_every_text(processes: Any) -> None:
    pipeline: ModuleType = processes("pipeline")
    chunks = pipeline.assign({"directory": "", "chunk_size": 700}, Context)
    rows = pipeline.merge([pipeline.classify(chunk, Context) for chunk in chunks], Context)
    assert len(rows) == len(list((EXAMPLES / "pipeline" / "corpus").glob("*.txt"))) == 12
    assert {row["topic"] for row in rows} == {"sea", "garden", "stars", "kitchen", "railway", "music"}
    assert {row["document"]: row["topic"] for row in rows}["harbour-at-dawn"] == "sea"
    assert sum(row["chunks"] for row in rows) == len(chunks)


def test_the_number_of_chunks_follows_from_their_size(processes: Any) -> None:
    pipeline: ModuleType = processes("pipeline")
    counts = [len(pipeline.assign({"directory": "", "chunk_size": size}, Context)) for size in (1, 700, 10**6)]
    assert counts[0] > counts[1] > counts[2] == 12


def test_a_text_about_nothing_known_is_unknown(processes: Any) -> None:
    pipeline: ModuleType = processes("pipeline")
    scored = pipeline.classify({"document": "d", "chunk": 0, "text": "xyzzy"}, Context)
    assert pipeline.merge([scored], Context)[0]["topic"] == "unknown"


def test_the_chain_has_as_many_tasks_as_asked_for() -> None:
    made = subprocess.run(
        [sys.executable, EXAMPLES / "fanout" / "chain.py", "50"], check=True, capture_output=True, timeout=60
    )
    tasks = json.loads(made.stdout)["tasks"]
    assert len(tasks) == 50
    assert tasks["task_50"]["after"] == ["task_49"]


def test_the_flaky_job_fails_in_its_first_attempt_only_and_says_so() -> None:
    command = [sys.executable, EXAMPLES / "spcs" / "job.py", "--query=q", "--result_table=t", "--fail-attempts=1"]
    made = subprocess.run(
        command, check=False, capture_output=True, text=True, env={"FRESHET_ATTEMPT": "1"}, timeout=60
    )
    assert made.returncode == 1
    assert made.stdout.splitlines() == [
        "job-tutorial - INFO - Job started",
        "job-tutorial - ERROR - Job fails in attempt 1, as it was told to",
    ]
    assert made.stderr == ""
