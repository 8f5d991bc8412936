"""The dispatcher's own facts, recorded: what the two tables say of real runs."""

from collections import Counter
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from tests.engine.harness import Call, Engine, FailureError
from tests.recording.facts import Outbox

from freshet.domain.model import Trigger
from freshet.storage.database import Database
from freshet.storage.record import Recorded, Recording
from freshet.storage.requests import NewRun
from freshet.telemetry import BOUNDS


def job(**more: Any) -> dict[str, Any]:
    return {"job_service": {"image": "/db/schema/repo/job:1", "compute_pool": "XS"}, **more}


SIX_JOBS = {
    "name": "six",
    "tasks": {
        "t_1": job(),
        "t_2": job(),
        "t_3": job(after=["t_2"], retries={"limit": 2}),
        "t_4": job(after=["t_2"], retries={"limit": 1}),
        "t_5": job(after=["t_1"]),
        "t_6": job(after=["t_3", "t_4", "t_5"]),
    },
}


@pytest.fixture
def engine(database: str, redis: str) -> Iterator[Engine]:
    made = Engine(database, redis)
    yield made
    made.close()


def record(store: Database) -> Recorded:
    recorded = Recording(store, bounds=BOUNDS, spans=True).sweep(older_than_s=0)
    assert recorded.parked == 0, Outbox(store).rows("select body, error from engine.parked")
    return recorded


def drive(engine: Engine, failures: dict[str, int] | None = None, results: dict[str, Any] | None = None) -> None:
    """Run everything; a task fails as often as it says."""

    def behave(call: Call) -> Any:
        if call.attempt <= (failures or {}).get(call.task, 0):
            raise FailureError("exit code 1")
        return (results or {}).get(call.task, "DONE")

    engine.drive(behave)


def statuses(outbox: Outbox) -> dict[str, str]:
    rows = outbox.rows("select task_name, job_status from log.jobs_run_stats")
    assert len({row["task_name"] for row in rows}) == len(rows)
    return {row["task_name"]: row["job_status"] for row in rows}


def states(outbox: Outbox, group: UUID) -> dict[str, str]:
    rows = outbox.rows("select name, state from log.task_logging_stats where graph_run_group_id = %s", str(group))
    return {row["name"]: row["state"] for row in rows}


def test_six_jobs_with_a_retry_and_a_failure(engine: Engine, store: Database, outbox: Outbox) -> None:
    engine.apply(SIX_JOBS)
    run = engine.start("six")
    drive(engine, {"t_3": 3, "t_4": 1})
    record(store)
    done = {"t_1": "DONE", "t_2": "DONE", "t_4": "DONE", "t_5": "DONE"}
    assert statuses(outbox) == done | {"t_3": "FAILED", "t_6": "SKIPPED"}
    ended = dict.fromkeys(done, "SUCCEEDED")
    assert states(outbox, run) == ended | {"t_3": "FAILED", "t_6": "SKIPPED", "six": "FAILED"}
    tries = outbox.rows("select task, attempt, state, final, error from log.attempt order by task, attempt")
    assert [(row["attempt"], row["final"]) for row in tries if row["task"] == "t_3"] == [
        (1, False),
        (2, False),
        (3, True),
    ]
    assert {row["error"] for row in tries if row["state"] == "failed"} == {"exit code 1"}
    assert outbox.value("select errors from log.jobs_run_stats where task_name = 't_3'") == "exit code 1"
    assert outbox.value("select return_value from log.task_logging_stats where name = 't_1'") == "DONE"


def test_a_map_makes_an_attempt_for_each_item_and_nested_maps_a_row_for_each_scope(
    engine: Engine, store: Database, outbox: Outbox
) -> None:
    inner = {"part": job(), "whole": job(after=["part"])}
    engine.apply(
        {
            "name": "wide",
            "tasks": {
                "a": job(),
                "m": job(after=["a"], for_each="tasks.a.result"),
                "docs": {"after": ["a"], "for_each": "tasks.a.result", "tasks": inner, "result": "whole"},
            },
        }
    )
    run = engine.start("wide")
    drive(engine, results={"a": [1, 2, 3]})
    recorded = record(store)
    items = Counter(row["item"] for row in outbox.rows("select item from log.attempt where task = 'm'"))
    assert items == {"0": 1, "1": 1, "2": 1}
    scopes = {f"docs.{task}[{k}]" for task in ("part", "whole") for k in range(3)}
    assert states(outbox, run) == dict.fromkeys({"a", "m", "docs", "wide"} | scopes, "SUCCEEDED")
    jobs = Counter(row["task_name"] for row in outbox.rows("select task_name from log.jobs_run_stats"))
    assert jobs == {"a": 1, "m": 3, **dict.fromkeys(scopes, 1)}
    assert sum(tally.count for tally in recorded.tallies if tally.measure == "attempts") == sum(jobs.values())


def test_a_cancelled_map_has_a_row_for_each_item_also_those_that_were_never_opened(
    engine: Engine, store: Database, outbox: Outbox
) -> None:
    engine.apply({"name": "wide", "tasks": {"a": job(), "m": job(after=["a"], for_each="5000"), "z": job(after=["m"])}})
    run = engine.start("wide")
    engine.fold()
    engine.work()
    engine.fold()
    engine.requests.cancel(run)
    engine.drive()
    record(store)
    rows = outbox.rows("select task_name, job_status from log.jobs_run_stats")
    counts = Counter((row["task_name"], row["job_status"]) for row in rows)
    assert sum(n for (name, _), n in counts.items() if name == "m") == 5000
    assert counts["m", "CANCELLED"] > 4000
    assert states(outbox, run)["wide"] == "CANCELLED"
    assert outbox.value("select state from log.run") == "cancelled"


def test_a_reruns_copied_tasks_add_no_rows(engine: Engine, store: Database, outbox: Outbox) -> None:
    engine.apply({"name": "two", "tasks": {"a": job(), "b": job(after=["a"])}})
    first = engine.start("two")
    drive(engine, {"b": 1})
    again = NewRun(workflow="two", version=1, trigger=Trigger.RERUN, rerun_of=first, rerun_tasks=("b",), group_id=first)
    rerun = engine.requests.create_run(again).run_id
    drive(engine)
    record(store)
    rows = outbox.rows("select task_name, job_status, graph_run_id from log.jobs_run_stats order by created_date")
    assert [(row["task_name"], row["job_status"]) for row in rows] == [("a", "DONE"), ("b", "FAILED"), ("b", "DONE")]
    assert {row["graph_run_id"] for row in rows} == {str(first)}
    named = Counter(row["name"] for row in outbox.rows("select name from log.task_logging_stats"))
    assert named == {"a": 1, "b": 2, "two": 2}
    assert outbox.value("select count(*) from log.task where run_id = %s", rerun) == 1


def test_a_run_that_was_parked_is_recorded_as_failed(engine: Engine, store: Database, outbox: Outbox) -> None:
    engine.apply({"name": "two", "tasks": {"a": job()}})
    run = engine.start("two")
    engine.fold()
    fact = {"type": "freshet.run.failed.v1", "root_task_name": None, "traceparent": None}
    engine.store.park(str(run), "The counters contradict each other.", fact)
    record(store)
    (row,) = outbox.rows("select state, error_class, error from log.run")
    assert tuple(row.values()) == ("failed", "internal", "The counters contradict each other.")
