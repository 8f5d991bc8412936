from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from freshet.definition import (
    compile_document,
    compile_workflow,
    digest,
    dump,
    load_file,
    load_text,
    normalise,
    normalise_document,
    workflow,
)
from freshet.domain.errors import DefinitionError
from freshet.domain.model import (
    CatchUp,
    EventTrigger,
    JobServiceSpec,
    Kind,
    OnFailure,
    Overlap,
    Param,
    ProcessSpec,
    RetryPolicy,
    RunIf,
    Schedule,
    Task,
    Workflow,
)

DESIGN = Path(__file__).parent / "design.yaml"
LIST = "tasks.assign.result"


def process(name: str, ref: str, *, path: str = "", **fields: Any) -> Task:
    spec = ProcessSpec(name=ref, version="1.0.0")
    return Task(name=name, path=path or name, kind=Kind.PROCESS, process=spec, **fields)


SCORE_DOCUMENTS = Workflow(
    name="score-documents",
    schedule=Schedule(every=3540.0),
    triggers=(EventTrigger(event="com.example.document.arrived"),),
    params=(Param(name="batch", type="integer", default=4),),
    tasks=(
        process("assign", "assigner"),
        process(
            "classify",
            "classification",
            after=("assign",),
            for_each=LIST,
            retries=RetryPolicy(limit=2, delay=5.0, factor=2.0, jitter=0.2),
        ),
        process("merge", "merging_results", after=("classify",)),
        Task(
            name="train",
            path="train",
            kind=Kind.JOB_SERVICE,
            after=("merge",),
            timeout=3600.0,
            job_service=JobServiceSpec(
                image="/db/schema/repo/train:1",
                compute_pool="PR_STD_POOL_XS",
                args=("--result_table=results_1", "--day=${{ run.scheduled_for }}"),
            ),
        ),
        Task(
            name="documents",
            path="documents",
            kind=Kind.MAP,
            after=("assign",),
            for_each=LIST,
            result="whole",
            tasks=(
                process("split", "splitter", path="documents.split"),
                process("part", "part", path="documents.part", after=("split",), for_each="tasks.split.result"),
                process("whole", "whole", path="documents.whole", after=("part",)),
            ),
        ),
    ),
    finals=(process("stats", "graph_stats"),),
)


def one(task: dict[str, Any], **more: Any) -> Task:
    """The only task of a workflow that holds it."""
    return compile_workflow({"name": "w", "tasks": {"a": task}, **more}).tasks[0]


def test_the_documented_workflow_compiles_to_the_model() -> None:
    [document] = load_file(DESIGN)
    assert compile_document(document) == SCORE_DOCUMENTS


def test_yaml_json_and_python_give_the_same_document() -> None:
    [document] = load_file(DESIGN)
    [from_json] = load_text(orjson.dumps(document.data).decode(), "design.json")
    with workflow(
        "score-documents",
        schedule={"every": "PT59M"},
        triggers=[{"event": "com.example.document.arrived"}],
        params={"batch": {"type": "integer", "default": 4}},
    ) as built:
        assign = built.process("assign", "assigner@1.0.0")
        retries = {"limit": 2, "delay": "PT5S", "factor": 2, "jitter": 0.2}
        classify = built.process(
            "classify", "classification@1.0.0", after=assign, for_each=assign.result, retries=retries
        )
        merge = built.process("merge", "merging_results@1.0.0", after=classify)
        built.job_service(
            "train",
            after=merge,
            image="/db/schema/repo/train:1",
            compute_pool="PR_STD_POOL_XS",
            args=["--result_table=results_1", "--day=${{ run.scheduled_for }}"],
            timeout="PT1H",
        )
        with built.map("documents", after=assign, for_each=assign.result, result="whole") as documents:
            split = documents.process("split", "splitter@1.0.0")
            part = documents.process("part", "part@1.0.0", after=[split], for_each=split.result)
            documents.process("whole", "whole@1.0.0", after=part)
        built.final.process("stats", "graph_stats@1.0.0")
    assert normalise_document(document) == normalise(from_json.data) == built.document()
    assert digest(built.document()) == digest(dump(SCORE_DOCUMENTS))


def test_a_document_means_the_same_however_it_is_spelled() -> None:
    plain = {"name": "w", "tasks": {"a": {"process": "p@1"}, "b": {"process": "q@1", "after": ["a"]}}}
    spelled = {
        "finally": {},
        "priority": 100,
        "tasks": {
            "a": {"process": {"name": "p", "version": "1", "isolation": "warm"}, "retries": 0, "timeout": None},
            "b": {"run_if": "all_succeeded", "after": "a", "process": "q@1", "on_failure": "block"},
        },
        "name": "w",
    }
    assert normalise(spelled) == normalise(plain) == plain
    assert digest(normalise(spelled)) == digest(plain)


def test_a_schedule_keeps_its_clock_and_its_policies() -> None:
    schedule = {"cron": "@daily", "timezone": "Europe/Berlin", "catch_up": "latest", "overlap": "queue"}
    made = compile_workflow({"name": "w", "schedule": schedule, "tasks": {"a": {"process": "p"}}})
    assert made.schedule == Schedule(
        cron="0 0 * * *", timezone="Europe/Berlin", catch_up=CatchUp.LATEST, overlap=Overlap.QUEUE
    )
    assert dump(made)["schedule"] == {**schedule, "cron": "0 0 * * *"}


def test_a_trigger_maps_the_event_to_params() -> None:
    trigger = {"event": "t", "when": "event.data.size > 3", "params": {"path": "event.subject", "n": 4}}
    params = {"path": {"type": "string"}, "n": {"type": "integer"}}
    made = compile_workflow({"name": "w", "triggers": [trigger], "params": params, "tasks": {"a": {"process": "p"}}})
    expected = EventTrigger(event="t", when="event.data.size > 3", params={"path": "event.subject", "n": "4"})
    assert made.triggers == (expected,)
    assert [param.required for param in made.params] == [True, True]


@pytest.mark.parametrize(
    ("given", "expression"),
    [
        ("tasks.b.result", "tasks.b.result"),
        ("${{ tasks.b.result }}", "tasks.b.result"),
        (3, "3"),
        ([1, "x", {"y": None}], '[1, "x", {"y": null}]'),
    ],
)
def test_for_each_takes_cel_a_number_or_a_list(given: Any, expression: str) -> None:
    tasks = {"b": {"process": "p"}, "a": {"process": "p", "after": ["b"], "for_each": given}}
    assert compile_workflow({"name": "w", "tasks": tasks}).task("a").for_each == expression


def test_input_takes_cel_or_a_literal_with_expressions_in_it() -> None:
    params = {"n": {"type": "integer", "default": 1}}
    made = one({"process": "p", "input": {"size": "${{ params.n + 1 }}", "name": "plain"}}, params=params)
    assert made.input == '{"size": (params.n + 1), "name": "plain"}'
    assert one({"process": "p", "input": "params.n"}, params=params).input == "params.n"


def test_every_option_of_a_task_arrives() -> None:
    made = one(
        {
            "process": {"name": "p", "version": "2.0", "isolation": "process"},
            "run_if": "all_done",
            "on_failure": "continue",
            "retries": {"limit": 3, "delay": 1.5, "cap": "PT1M"},
            "timeout": "PT1H30M",
            "queue": "gpu",
        }
    )
    assert made.process == ProcessSpec(name="p", version="2.0", isolation="process")
    assert (made.run_if, made.on_failure) == (RunIf.ALL_DONE, OnFailure.CONTINUE)
    assert made.retries == RetryPolicy(limit=3, delay=1.5, cap=60.0)
    assert (made.timeout, made.queue, made.queue_name) == (5400.0, "gpu", "gpu")


def test_numbers_in_arguments_and_environment_are_taken_as_text() -> None:
    job = {"image": "/a/b:1", "compute_pool": "P", "args": [1, 2.5, True], "env": {"N": 3, "OFF": False}}
    made = one({"job_service": job}).job_service
    assert made is not None
    assert made.args == ("1", "2.5", "true")
    assert made.env == {"N": "3", "OFF": "false"}


def test_scripts_are_read_from_files_beside_the_workflow(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "top.sql").write_text("select 1;\n")
    (tmp_path / "go.py").write_text("print('{}')\n")
    file = tmp_path / "w.yaml"
    file.write_text(
        "name: w\ntasks:\n  a: {sql: {file: sub/top.sql}}\n  b: {python: {file: go.py}}\n", encoding="utf-8"
    )
    [document] = load_file(file)
    stored = normalise_document(document)
    assert stored["tasks"] == {
        "a": {"sql": {"on": "postgres", "text": "select 1;\n"}},
        "b": {"python": {"text": "print('{}')\n"}},
    }
    assert normalise(stored) == stored


def test_a_null_default_makes_a_param_optional() -> None:
    params = {"a": {"default": None}, "b": {"required": False}, "c": {}, "d": {"required": True}}
    made = compile_workflow({"name": "w", "params": params, "tasks": {"a": {"process": "p"}}})
    assert [param.required for param in made.params] == [False, False, True, True]


def test_a_file_may_hold_several_workflows() -> None:
    text = "name: a\ntasks: {t: {process: p}}\n---\nname: b\ntasks: {t: {process: p}}\n---\n"
    assert [compile_document(document).name for document in load_text(text, "two.yaml")] == ["a", "b"]


def test_item_is_there_for_a_fanned_out_task_and_within_a_nested_map() -> None:
    job = {"image": "/a:1", "compute_pool": "P", "args": ["${{ item.x }}"]}
    inner = {
        "plain": {"process": "p", "input": "item.x"},
        "again": {"process": "p", "for_each": "item.rows", "input": "item + 1"},
    }
    tasks = {"a": {"job_service": job, "for_each": 2}, "m": {"for_each": [{"rows": []}], "tasks": inner}}
    assert len(list(compile_workflow({"name": "w", "tasks": tasks}).walk())) == 4


@pytest.mark.parametrize(
    "task",
    [
        {"process": "p", "input": "item"},
        {"process": "p", "for_each": "item.rows"},
        {"job_service": {"image": "/a:1", "compute_pool": "P", "env": {"X": "${{ item }}"}}},
    ],
)
def test_item_is_not_there_elsewhere(task: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError, match="reads 'item', which is not there") as caught:
        one(task)
    assert caught.value.code == "unknown_variable"
