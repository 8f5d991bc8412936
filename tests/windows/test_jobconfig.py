"""The original's six jobs, from its jobconfig.json to its two tables, on real processes and the local Snowflake."""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from tests.emulator.server import EmulatorProcess, fresh
from tests.house.measure import ROOT
from tests.windows.workers import Workers

from freshet.definition import ImportOptions, import_jobconfig
from freshet.execution.job_service import job_prefix
from freshet.snowflake import JobServices

pytestmark = [pytest.mark.xdist_group("windows"), pytest.mark.timeout(600)]

EXAMPLES = ROOT / "examples" / "spcs"
JOBS: list[dict[str, Any]] = json.loads((EXAMPLES / "jobconfig.json").read_text("utf-8"))
BROKEN = "/freshet/public/images/broken_job_image:latest"
#: What the container of job 3 does: it says which attempt it is, with all that may go wrong in a log, and fails.
SCRIPT = "echo \"attempt $FRESHET_ATTEMPT of it's \\\\ 'job' ü\"; exit 3"
CONTEXT = (
    "CURRENT_ROOT_TASK_NAME",
    "CURRENT_TASK_NAME",
    "CURRENT_TASK_GRAPH_RUN_GROUP_ID",
    "CURRENT_TASK_GRAPH_ORIGINAL_SCHEDULED_TIMESTAMP",
)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    images = tmp_path_factory.mktemp("images") / "images.yaml"
    job = str(EXAMPLES / "job.py")
    commands = {
        "*/broken_job_image:*": ["sh", "-c", SCRIPT],
        "*/context_image:*": ["sh", "-c", "printenv " + " ".join(CONTEXT) + "; echo done"],
        "*/endless_image:*": ["sh", "-c", "exec sleep 1000"],  # whatever arguments follow
        "*/flaky_job_image:*": [sys.executable, job, "--fail-attempts", "1"],
        "*/my_job_image:*": [sys.executable, job],
    }
    images.write_text(json.dumps(commands))
    running = EmulatorProcess("--images", str(images))
    yield running
    assert running.stop() == 0


def six_jobs(**changes: Any) -> list[dict[str, Any]]:
    """The sample in some order of entries, with tables of its own, of which job 3 fails for good."""
    jobs = deepcopy(JOBS)
    jobs[2]["image_name"] = BROKEN
    del jobs[0]["image_name"]  # as in the first version of the original
    suffix = fresh("")
    for job in jobs:
        job["table_name"] += suffix
    return random.Random(3).sample(jobs, len(jobs))


@pytest.mark.parametrize("on_failure", ["block", "continue"])
def test_six_jobs_of_which_the_third_fails_for_good_leave_six_and_seven_rows(
    workers: Workers, services: JobServices, on_failure: str
) -> None:
    site, jobs = workers.site, six_jobs()
    site.apply(import_jobconfig(jobs, "jobs", options=ImportOptions(on_failure=on_failure)))
    run = site.start("jobs")
    workers.start()
    found = workers.until_recorded(run)
    blocks = on_failure == "block"
    assert found["state"] == ("failed" if blocks else "succeeded"), found
    tries = {name[-1]: task["attempts"] for name, task in found["tasks"].items()}
    assert tries == {"1": 1, "2": 1, "3": 3, "4": 2, "5": 1, "6": 0 if blocks else 1}

    rows = site.sql("select * from log.jobs_run_stats order by task_name")
    states = ["DONE", "DONE", "FAILED", "DONE", "DONE", "SKIPPED" if blocks else "DONE"]
    assert [(row["task_name"], row["job_status"]) for row in rows] == [
        (f"t_myjob_{number}", state) for number, state in enumerate(states, 1)
    ]
    assert {(row["root_task_name"], row["graph_run_id"]) for row in rows} == {("root_task", str(run))}
    assert len({row["graph_start_time"] for row in rows}) == 1
    assert [bool(row["errors"]) for row in rows] == [False, False, True, False, False, False]
    assert "attempt 3 of it's \\ 'job' ü" in rows[2]["errors"]

    tasks = site.sql("select * from log.task_logging_stats")
    names = {row["name"]: row["state"] for row in tasks}
    assert len(tasks) == len(names) == 7
    assert names["root_task"] == ("FAILED" if blocks else "SUCCEEDED")
    assert names["t_myjob_3"] == "FAILED"
    assert names["t_myjob_6"] == ("SKIPPED" if blocks else "SUCCEEDED")

    kept = site.sql(
        "select attempt, string_agg(text, '' order by part) as text from log.attempt_log"
        " where task = 't_myjob_3' group by attempt order by attempt"
    )
    assert [row["attempt"] for row in kept] == [1, 2, 3]
    assert [row["text"].split(" of")[0] for row in kept] == ["attempt 1", "attempt 2", "attempt 3"]

    tables = {job["task_name"][-1]: job["table_name"] for job in jobs}
    made = [number for number, table in sorted(tables.items()) if services.execute(f"SHOW TABLES LIKE '{table}'")]
    assert made == (["1", "2", "4", "5"] if blocks else ["1", "2", "4", "5", "6"])


def test_containers_are_told_root_task_group_and_time_the_same_in_all_of_a_run(workers: Workers) -> None:
    site, jobs = workers.site, deepcopy(JOBS)
    for job in jobs:
        job["image_name"] = "/freshet/public/images/context_image:latest"
    site.apply(import_jobconfig(jobs, "jobs"))
    run = site.start("jobs")
    workers.start()
    assert workers.until_recorded(run)["state"] == "succeeded"
    logs = site.sql("select task, string_agg(text, '' order by part) as text from log.attempt_log group by task")
    lines = {row["task"]: row["text"].splitlines()[:4] for row in logs}
    assert {task: line[1] for task, line in lines.items()} == {job["task_name"]: job["task_name"] for job in jobs}
    start = site.one("select to_jsonb(graph_start_time) #>> '{}' as at from log.jobs_run_stats limit 1")
    assert {(line[0], line[2], line[3]) for line in lines.values()} == {("root_task", str(run), start)}


def test_importing_again_makes_the_same_graph_and_drops_removed_entries(workers: Workers) -> None:
    site, shorter = workers.site, deepcopy(JOBS)[:5]
    site.apply(import_jobconfig(JOBS, "jobs"))
    first = site.definitions.get("jobs")
    site.apply(import_jobconfig(random.Random(5).sample(JOBS, len(JOBS)), "jobs"))
    assert site.definitions.get("jobs")["version"] == first["version"]
    site.apply(import_jobconfig(shorter, "jobs"))
    again = site.definitions.get("jobs")
    assert again["version"] == first["version"] + 1
    assert set(again["document"]["tasks"]) == {job["task_name"] for job in shorter}


def test_deleting_stops_what_runs_and_takes_the_workflow_out(workers: Workers, services: JobServices) -> None:
    site, jobs = workers.site, deepcopy(JOBS)
    for job in jobs:
        job["image_name"] = "/freshet/public/images/endless_image:latest"
    site.apply(import_jobconfig(jobs, "jobs"))
    run = site.start("jobs")
    workers.start()
    prefix = job_prefix(site.workers.installation())
    workers.until(lambda: len(services.list_jobs(prefix)) == 2)
    site.bus.wake_dispatcher(site.definitions.delete("jobs"))
    found = workers.until_recorded(run)
    assert found["state"] == "cancelled"
    workers.until(lambda: services.list_jobs(prefix) == [])
    assert site.sql("select * from engine.schedule") == []
    states = Counter(row["job_status"] for row in site.sql("select job_status from log.jobs_run_stats"))
    assert states == {"CANCELLED": 6}
    assert site.one("select count(*) from log.task_logging_stats") == 7
