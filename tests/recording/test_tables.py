"""The two tables that users of the original utility expect."""

import re
from datetime import datetime
from typing import Any
from uuid import uuid4

from tests.recording.facts import END, START, Outbox, Run, failure

from freshet.storage.record import Recording

TEXT_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
JOBS = "select * from log.jobs_run_stats order by task_name, created_date"
TASKS = "select * from log.task_logging_stats order by name"


def six_jobs(run: Run) -> list[dict[str, Any]]:
    """Root -> {1, 2}; 2 -> {3, 4}; 1 -> {5}; {3, 4, 5} -> 6. Job 3 fails for good, 4 at first, so 6 is skipped."""
    broken = failure("exit code 1", "container")
    done = [
        fact
        for job in (1, 2, 5)
        for fact in (run.item(f"t_{job}", "succeeded"), run.task(f"t_{job}", "succeeded", result={"rows": job}))
    ]
    return [
        run.fact("running"),
        *done,
        *(run.item("t_3", "retrying", attempt=k, error=broken) for k in (1, 2)),
        run.item("t_3", "failed", attempt=3, error=broken),
        run.task("t_3", "failed", error=broken, attempts=3),
        run.item("t_4", "retrying", attempt=1, error=broken),
        run.item("t_4", "succeeded", attempt=2),
        run.task("t_4", "succeeded", attempts=2),
        run.task("t_6", "skipped"),
        run.fact("failed", at=END, error=failure("t_3 failed")),
    ]


def record(outbox: Outbox, recording: Recording, *facts: dict[str, Any]) -> None:
    recording.record([outbox.commit(fact) for fact in facts])


def jobs(outbox: Outbox) -> list[tuple[str, str]]:
    return [(row["task_name"], row["job_status"]) for row in outbox.rows(JOBS)]


def test_jobs_run_stats_has_one_row_per_job_with_its_final_status(outbox: Outbox, recording: Recording) -> None:
    run = Run(root_task_name="root_task")
    record(outbox, recording, *six_jobs(run))
    assert jobs(outbox) == [
        ("t_1", "DONE"),
        ("t_2", "DONE"),
        ("t_3", "FAILED"),
        ("t_4", "DONE"),
        ("t_5", "DONE"),
        ("t_6", "SKIPPED"),
    ]
    rows = outbox.rows(JOBS)
    assert {row["root_task_name"] for row in rows} == {"root_task"}
    assert {row["graph_run_id"] for row in rows} == {str(run.id)}
    assert {row["graph_start_time"] for row in rows} == {datetime.fromisoformat(START)}
    assert [row["errors"] for row in rows] == ["", "", "exit code 1", "", "", ""]
    assert list(rows[0]) == [
        "root_task_name",
        "task_name",
        "job_status",
        "graph_run_id",
        "graph_start_time",
        "errors",
        "created_date",
    ]


def test_the_start_time_of_a_graph_is_the_tick_it_was_scheduled_for(outbox: Outbox, recording: Recording) -> None:
    run, tick = Run(), "2026-11-22T09:59:00+00:00"
    record(outbox, recording, run.fact("running", scheduled_for=tick), run.item("a", "succeeded"))
    assert outbox.rows(JOBS)[0]["graph_start_time"] == datetime.fromisoformat(tick)


def test_the_errors_of_a_failed_job_end_with_the_log_of_its_last_attempt(outbox: Outbox, recording: Recording) -> None:
    run = Run()
    text = "it's \\ a \"log\"\nwith '' and ü"
    for attempt, part in ((1, "old"), (2, text)):
        outbox.rows(
            "insert into log.attempt_log (run_id, task, item, attempt, claim, part, text)"
            " values (%s, 'train', '', %s, %s, 0, %s) returning part",
            run.id,
            attempt,
            uuid4(),
            part,
        )
    record(outbox, recording, run.item("train", "failed", attempt=2, error=failure("exit code 1")))
    assert outbox.rows(JOBS)[0]["errors"] == f"exit code 1\n{text}"


def test_each_item_of_a_mapped_job_has_a_row_also_those_that_never_had_an_attempt(
    outbox: Outbox, recording: Recording
) -> None:
    run = Run()
    record(
        outbox,
        recording,
        run.items("score", "succeeded", [[0, 1, 1.0, None], [1, 1, 1.0, None]], mapped=True),
        run.items("score", "expired", [[2, 1, 9.0, failure("too slow", "timed_out")]], mapped=True),
        run.items("score", "cancelled", [[3, 1, None, None]], mapped=True),
        run.task("score", "cancelled", total=10, succeeded=2, failed=1, cancelled=7),
    )
    statuses = [status for _, status in jobs(outbox)]
    assert {status: statuses.count(status) for status in statuses} == {"DONE": 2, "FAILED": 1, "CANCELLED": 7}


def test_a_map_that_was_never_expanded_has_one_skipped_row(outbox: Outbox, recording: Recording) -> None:
    run = Run()
    record(outbox, recording, run.task("score", "skipped", total=0), run.task("empty", "succeeded", total=0))
    assert jobs(outbox) == [("score", "SKIPPED")]


def test_only_job_services_stand_in_jobs_run_stats(outbox: Outbox, recording: Recording) -> None:
    run = Run()
    record(outbox, recording, run.item("a", "succeeded", kind="process"), run.task("b", "skipped", kind="sql"))
    assert jobs(outbox) == []


def test_a_job_of_a_scope_is_named_with_its_index_path(outbox: Outbox, recording: Recording) -> None:
    run = Run()
    record(
        outbox,
        recording,
        run.fact("running"),
        run.item("documents.part", "succeeded", index_path="3"),
        run.task("documents.part", "succeeded", index_path="3"),
        run.fact("succeeded", at=END),
    )
    assert jobs(outbox) == [("documents.part[3]", "DONE")]
    assert [row["name"] for row in outbox.rows(TASKS)] == ["documents.part[3]", "score"]


def test_task_logging_stats_has_every_task_and_the_run(outbox: Outbox, recording: Recording) -> None:
    run = Run(root_task_name="root_task")
    record(outbox, recording, *six_jobs(run))
    rows = {row["name"]: row for row in outbox.rows(TASKS)}
    assert {name: row["state"] for name, row in rows.items()} == {
        "root_task": "FAILED",
        "t_1": "SUCCEEDED",
        "t_2": "SUCCEEDED",
        "t_3": "FAILED",
        "t_4": "SUCCEEDED",
        "t_5": "SUCCEEDED",
        "t_6": "SKIPPED",
    }
    assert {row["graph_run_group_id"] for row in rows.values()} == {str(run.id)}
    assert rows["t_1"]["return_value"] == '{"rows": 1}'
    assert rows["t_3"]["error_message"] == "exit code 1"
    assert rows["root_task"]["error_message"] == "t_3 failed"
    assert list(rows["t_1"]) == [
        "graph_run_group_id",
        "name",
        "state",
        "return_value",
        "query_start_time",
        "completed_time",
        "duration_in_secs",
        "error_message",
    ]


def test_times_are_text_and_the_duration_is_the_difference_of_the_texts(outbox: Outbox, recording: Recording) -> None:
    record(outbox, recording, *six_jobs(Run()))
    for row in outbox.rows(TASKS):
        start, end = row["query_start_time"], row["completed_time"]
        assert TEXT_TIME.fullmatch(start)
        assert TEXT_TIME.fullmatch(end)
        between = datetime.fromisoformat(end) - datetime.fromisoformat(start)
        assert row["duration_in_secs"] == between.total_seconds()
    assert {row["duration_in_secs"] for row in outbox.rows(TASKS)} == {0, 35}


def test_times_are_utc_whatever_the_session_thinks(outbox: Outbox, recording: Recording) -> None:
    record(outbox, recording, Run().fact("succeeded", at=END))
    with outbox.database.session() as session:
        session.execute("set timezone = 'Asia/Tokyo'")
        row = session.execute(TASKS.encode()).fetchone()
        session.execute("reset timezone")
    assert row is not None
    assert row["completed_time"] == "2026-11-22 10:00:35"


def test_a_run_that_has_not_finished_is_not_in_task_logging_stats(outbox: Outbox, recording: Recording) -> None:
    run = Run()
    record(outbox, recording, run.fact("running"), run.task("a", "succeeded"))
    assert outbox.rows(TASKS) == []


def test_a_skipped_run_is_one_row_named_as_the_workflow(outbox: Outbox, recording: Recording) -> None:
    record(outbox, recording, Run(workflow="nightly").fact("skipped", at=END))
    (row,) = outbox.rows(TASKS)
    assert (row["name"], row["state"], row["duration_in_secs"]) == ("nightly", "SKIPPED", 0)
    assert TEXT_TIME.fullmatch(row["query_start_time"])


def test_a_rerun_keeps_the_first_runs_group_and_copied_tasks_add_no_rows(outbox: Outbox, recording: Recording) -> None:
    first = Run(root_task_name="root_task")
    record(outbox, recording, *six_jobs(first))
    rerun = Run(root_task_name="root_task", group=first.id)
    record(
        outbox,
        recording,
        rerun.fact("running", trigger="rerun", rerun_of=str(first.id)),
        *(fact for name in ("t_3", "t_6") for fact in (rerun.item(name, "succeeded"), rerun.task(name, "succeeded"))),
        rerun.fact("succeeded", at=END, trigger="rerun", rerun_of=str(first.id)),
    )
    assert {row["graph_run_id"] for row in outbox.rows(JOBS)} == {str(first.id)}
    assert len(outbox.rows(JOBS)) == 6 + 2
    assert len(outbox.rows(TASKS)) == 7 + 3


def test_the_string_that_a_task_returned_stands_without_quotes(outbox: Outbox, recording: Recording) -> None:
    run = Run()
    record(outbox, recording, run.task("a", "succeeded", result="DONE"), run.fact("succeeded", at=END))
    assert outbox.rows(TASKS)[0]["return_value"] == "DONE"


def test_progress_tells_percent_and_counts_while_a_run_runs(outbox: Outbox) -> None:
    run = uuid4()
    outbox.rows(
        "insert into engine.run (id, workflow, version, state, trigger, group_id)"
        " values (%s, 'score', 1, 'running', 'call', %s) returning id",
        run,
        run,
    )
    for task, total, succeeded, failed in (("a", 1, 1, 0), ("b", 10, 4, 1), ("c", None, 0, 0)):
        outbox.rows(
            "insert into engine.task_run (run_id, task, kind, state, total, mark, succeeded, failed)"
            " values (%s, %s, 'process', 'running', %s, 0, %s, %s) returning id",
            run,
            task,
            total,
            succeeded,
            failed,
        )
    by_task = {row["task"]: row for row in outbox.rows("select * from log.task_progress")}
    assert {task: float(row["percent_done"]) for task, row in by_task.items()} == {"a": 100.0, "b": 50.0, "c": 0.0}
    (row,) = outbox.rows("select * from log.run_progress")
    assert (row["items"], row["succeeded"], row["failed"], row["unfinished"]) == (11, 5, 1, 5)
    assert float(row["percent_done"]) == 50.0
