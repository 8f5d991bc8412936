from __future__ import annotations

import random
from copy import deepcopy
from pathlib import Path
from typing import Any

import orjson
import pytest

from freshet.definition import (
    ImportOptions,
    compile_workflow,
    describe,
    errors_of,
    import_document,
    import_jobconfig,
    load_file,
    load_text,
)
from freshet.domain.errors import DefinitionError
from freshet.domain.model import OnFailure

SAMPLE = Path(__file__).parents[2] / "examples" / "spcs" / "jobconfig.json"
JOBS: list[dict[str, Any]] = load_file(SAMPLE)[0].data


def changed(index: int, **values: Any) -> list[dict[str, Any]]:
    jobs = deepcopy(JOBS)
    jobs[index] |= values
    return jobs


def without(index: int, key: str) -> list[dict[str, Any]]:
    jobs = deepcopy(JOBS)
    del jobs[index][key]
    return jobs


def test_the_sample_is_the_graph_of_the_original() -> None:
    made = compile_workflow(import_jobconfig(JOBS, "spcs"))
    assert {task.name: task.after for task in made.tasks} == {
        "t_myjob_1": (),
        "t_myjob_2": (),
        "t_myjob_3": ("t_myjob_2",),
        "t_myjob_4": ("t_myjob_2",),
        "t_myjob_5": ("t_myjob_1",),
        "t_myjob_6": ("t_myjob_3", "t_myjob_4", "t_myjob_5"),
    }
    assert [task.retries.limit for task in made.tasks] == [0, 0, 2, 1, 0, 0]
    pools = {task.name[-1]: task.job_service.compute_pool for task in made.tasks if task.job_service}
    assert {number for number, pool in pools.items() if pool == "PR_STD_POOL_XS"} == {"1", "4", "5"}
    assert made.root_task_name == "root_task"
    assert made.schedule is not None
    assert made.schedule.every == 59 * 60


def test_a_job_gets_its_query_and_its_table_as_arguments() -> None:
    task = import_jobconfig(JOBS, "spcs")["tasks"]["t_myjob_1"]
    assert task["job_service"]["args"] == ["--query=select current_time() as time,'hello'", "--result_table=results_1"]


def test_a_container_is_told_what_the_original_asked_its_task_for() -> None:
    env = import_jobconfig(JOBS, "spcs")["tasks"]["t_myjob_1"]["job_service"]["env"]
    assert env["CURRENT_ROOT_TASK_NAME"] == "root_task"
    assert env["CURRENT_TASK_NAME"] == "t_myjob_1"
    assert set(env) == {
        "CURRENT_ROOT_TASK_NAME",
        "CURRENT_TASK_NAME",
        "CURRENT_TASK_GRAPH_RUN_GROUP_ID",
        "CURRENT_TASK_GRAPH_ORIGINAL_SCHEDULED_TIMESTAMP",
    }


def test_a_warehouse_reaches_the_container_and_its_queries() -> None:
    job = import_jobconfig(JOBS, "spcs", options=ImportOptions(warehouse="WH"))["tasks"]["t_myjob_1"]["job_service"]
    assert (job["env"]["SNOWFLAKE_WAREHOUSE"], job["query_warehouse"]) == ("WH", "WH")


def test_a_failed_job_blocks_what_comes_after_it_or_as_in_the_original_does_not() -> None:
    blocks = compile_workflow(import_jobconfig(JOBS, "spcs"))
    goes_on = compile_workflow(import_jobconfig(JOBS, "spcs", options=ImportOptions(on_failure="continue")))
    assert {task.on_failure for task in blocks.tasks} == {OnFailure.BLOCK}
    assert {task.on_failure for task in goes_on.tasks} == {OnFailure.CONTINUE}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (ImportOptions(on_failure="explode"), "on_failure must be block or continue, not 'explode'"),
        (ImportOptions(warehouse="a; drop"), "query_warehouse must be a Snowflake identifier"),
    ],
)
def test_a_wrong_option_is_refused(options: ImportOptions, sentence: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        import_jobconfig(JOBS, "spcs", options=options)
    assert sentence in describe(caught.value)


def test_an_entry_without_an_image_gets_the_usual_one() -> None:
    task = import_jobconfig(without(0, "image_name"), "spcs")["tasks"]["t_myjob_1"]
    assert task["job_service"]["image"] == "/freshet/public/images/my_job_image:latest"


def test_the_order_of_entries_plays_no_part() -> None:
    shuffled = random.Random(7).sample(JOBS, len(JOBS))
    assert shuffled != JOBS
    assert import_jobconfig(shuffled, "spcs") == import_jobconfig(JOBS, "spcs")


def test_parents_may_have_spaces_and_the_root_among_them() -> None:
    jobs = changed(5, after_task_name="  t_myjob_3 ,root_task, t_myjob_4")
    assert import_jobconfig(jobs, "spcs")["tasks"]["t_myjob_6"]["after"] == ["t_myjob_3", "t_myjob_4"]


@pytest.mark.parametrize(
    ("schedule", "stored"),
    [("PT5M", {"every": "PT5M"}), ("0 2 * * *", {"cron": "0 2 * * *"}), ("@daily", {"cron": "0 0 * * *"})],
)
def test_the_schedule_can_be_an_interval_or_cron(schedule: str, stored: dict[str, str]) -> None:
    assert import_jobconfig(JOBS, "spcs", schedule)["schedule"] == stored


@pytest.mark.parametrize(
    ("data", "code", "pointer", "sentence"),
    [
        ({"task_name": "x"}, "wrong_type", "", "an array of jobs, not an object"),
        ([], "empty", "", "at least one job"),
        ([3], "wrong_type", "/0", "entry [0] must be an object, not 3"),
        (without(3, "job_name"), "missing_key", "/3/job_name", "entry [3] (t_myjob_4) needs the key 'job_name'"),
        (without(2, "task_name"), "missing_key", "/2/task_name", "entry [2] needs the key 'task_name'"),
        (changed(1, colour="red"), "unknown_key", "/1/colour", "has no key 'colour'"),
        (changed(1, retry_count="2"), "wrong_type", "/1/retry_count", "retry_count must be a whole number, not '2'"),
        (changed(1, retry_count=-1), "out_of_range", "/1/retry_count", "at least 0"),
        (changed(1, table_name="a; drop"), "bad_name", "/1/table_name", "table_name must be"),
        (changed(1, after_task_name=""), "empty", "/1/after_task_name", "or root_task"),
        (changed(1, after_task_name=["a"]), "wrong_type", "/1/after_task_name", "must be text"),
        (
            changed(1, after_task_name="t_myjob_9"),
            "unknown_parent",
            "/1/after_task_name",
            "'t_myjob_9', which no entry",
        ),
        (changed(1, after_task_name="t_myjob_2"), "self_parent", "/1/after_task_name", "names the job itself"),
        (
            changed(1, after_task_name="t_myjob_6"),
            "cycle",
            "/1/after_task_name",
            "entry [1] (t_myjob_2): These tasks wait",
        ),
        (changed(5, after_task_name="t_myjob_3,t_myjob_3"), "duplicate_parent", "/5/after_task_name", "twice"),
        (changed(1, task_name="t_myjob_1"), "duplicate_task", "/0/task_name", "2 entries have this task_name"),
        (changed(0, task_name="root_task"), "duplicate_task", "/0/task_name", "taken by the root"),
    ],
)
def test_a_wrong_jobconfig_is_refused_with_entry_and_key(data: Any, code: str, pointer: str, sentence: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        import_jobconfig(data, "spcs")
    first = errors_of(caught.value)[0]
    assert (first.code, first.pointer) == (code, pointer)
    assert sentence in first.message


def test_a_refusal_names_file_and_line() -> None:
    text = orjson.dumps(changed(1, retry_count="2"), option=orjson.OPT_INDENT_2).decode()
    [document] = load_text(text, "jobs/jobconfig.json")
    with pytest.raises(DefinitionError) as caught:
        import_document(document, "spcs")
    line = text.splitlines().index('    "retry_count": "2",') + 1
    assert describe(caught.value).startswith(f"jobs/jobconfig.json:{line}: entry [1] (t_myjob_2) retry_count")


def test_broken_json_is_refused_with_file_and_line() -> None:
    with pytest.raises(DefinitionError) as caught:
        load_text('[\n {"task_name": }\n]', "jobconfig.json")
    assert (caught.value.file, caught.value.line, caught.value.code) == ("jobconfig.json", 2, "bad_json")


@pytest.mark.parametrize(("name", "schedule"), [("no/name", "PT1M"), ("spcs", "1 minute"), ("spcs", "1m")])
def test_a_wrong_name_or_schedule_is_refused(name: str, schedule: str) -> None:
    with pytest.raises(DefinitionError):
        import_jobconfig(JOBS, name, schedule)
