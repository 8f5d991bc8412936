"""How a job fails: which class, whose fault, in which sentence; and what a cut-off submit leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.emulator.server import EmulatorProcess, fresh, status, until
from tests.worker.conftest import Serve
from tests.worker.jobs.conftest import Told
from tests.worker.rows import Rows
from tests.worker.test_job_service import Job, name_of, printed, served
from tests.worker.test_process import logs

from freshet.bus import Bus, Message
from freshet.execution.pending import IMAGE_PATIENCE
from freshet.execution.watcher import Watcher
from freshet.runtime import fault
from freshet.runtime.clock import TurnedClock
from freshet.runtime.settings import WorkerSettings
from freshet.snowflake import JobServices, JobStatus


@pytest.fixture
def switch(emulator: EmulatorProcess) -> Iterator[Any]:
    """Switch a fault on; all are off afterwards."""
    yield emulator.fault
    httpx.delete(f"{emulator.url}/control/faults").raise_for_status()


def failure(outcomes: list[dict[str, Any]]) -> tuple[str, str, str]:
    (outcome,) = outcomes
    return outcome["s"], outcome["e"]["class"], outcome["e"]["message"]


# --- what became of the container ------------------------------------------------------------------------------------


def test_too_little_memory_is_the_users_failure(job: Job, serve: Serve, watch_until: Any, switch: Any) -> None:
    switch(kind="oom")
    bundle = job("sleep 1000")
    serve(bundle)
    state, kind, message = failure(watch_until(bundle))
    assert (state, kind) == ("failed", "oom")
    assert "exit code 137 (Container was OOMKilled due to resource usage)" in message


def test_a_lost_node_is_a_loss(job: Job, serve: Serve, watch_until: Any, switch: Any) -> None:
    switch(kind="node_lost")
    bundle = job("sleep 1000")
    serve(bundle)
    outcomes = watch_until(bundle)
    state, kind, message = failure(outcomes)
    assert (state, kind, outcomes[0]["x"]) == ("lost", "node_lost", True)
    assert "INTERNAL_ERROR (Compute pool node was lost)" in message


def test_a_job_that_somebody_else_cancelled_is_a_loss(
    job: Job, serve: Serve, watch_until: Any, rows: Rows, services: JobServices
) -> None:
    bundle = job("sleep 1000")
    serve(bundle)
    services.cancel(name_of(rows, bundle))
    assert failure(watch_until(bundle))[:2] == ("lost", "cancelled")


def test_an_image_that_cannot_be_pulled_is_the_users_failure_and_named(
    told: Told, serve: Serve, watch_until: Any
) -> None:
    bundle = told(image="/x/y/z:1", start_timeout="PT0.1S")
    outcomes = serve(bundle) or watch_until(bundle)
    state, kind, message = failure(outcomes)
    assert (state, kind) == ("failed", "image")
    assert message.startswith("The image /x/y/z:1 can't be pulled: it does not exist, or our role lacks READ on")


def test_a_pull_that_goes_on_failing_has_a_minute_and_not_all_of_the_start_timeout(
    told: Told, serve: Serve, watcher: Watcher, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = TurnedClock()
    monkeypatch.setattr(watcher._pending, "_clock", clock)
    bundle = told(image="/x/y/z:1", start_timeout="PT15M")
    assert serve(bundle) == []

    def seen() -> bool:
        watcher.turn()
        return "Failed to pull image" in (rows.one("select waits_for from engine.bundle") or "")

    until(seen)
    clock.turn(IMAGE_PATIENCE - 1)
    watcher.turn()
    assert rows.exists(bundle)
    clock.turn(1)
    watcher.turn()
    assert failure(rows.reports(bundle))[:2] == ("failed", "image")


def test_of_several_containers_the_one_that_cannot_be_pulled_tells_why(
    told: Told, serve: Serve, watch_until: Any
) -> None:
    containers = [
        {"name": "good", "image": "/db/s/repo/shell:1", "command": ["sleep", "60"]},
        {"name": "bad", "image": "/x/y/z:1"},
    ]
    bundle = told(spec={"containers": containers}, start_timeout="PT0.1S")
    assert serve(bundle) == []
    state, kind, message = failure(watch_until(bundle))
    assert (state, kind) == ("failed", "image")
    assert message.startswith("The image /x/y/z:1 can't be pulled")


def test_a_full_pool_is_a_loss_that_tells_the_pools_nodes(
    job: Job, serve: Serve, watch_until: Any, switch: Any
) -> None:
    switch(kind="stuck_pending")
    bundle = job("true", start_timeout="PT0.1S")
    serve(bundle)
    state, kind, message = failure(watch_until(bundle))
    assert (state, kind) == ("lost", "capacity")
    assert "had not started after 0.1 s: Unschedulable due to insufficient resources; compute pool POOL_" in message


def test_a_suspended_pool_that_does_not_resume_is_named(
    told: Told, serve: Serve, watch_until: Any, services: JobServices
) -> None:
    pool = fresh("POOL")
    services.execute(
        f"CREATE COMPUTE POOL {pool} MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = CPU_X64_XS AUTO_RESUME = FALSE"
    )
    services.execute(f"ALTER COMPUTE POOL {pool} SUSPEND")
    bundle = told(compute_pool=pool, image="/a:1", command=["true"], start_timeout="PT0.1S")
    serve(bundle)
    state, kind, message = failure(watch_until(bundle))
    assert (state, kind) == ("lost", "capacity")
    assert f"compute pool {pool} is suspended and does not resume by itself" in message


def test_a_job_that_only_the_history_knows_is_judged_by_it(
    job: Job, serve: Serve, watch_until: Any, rows: Rows, services: JobServices
) -> None:
    ends = []
    for script in ("true", "exit 3"):
        bundle = job(script)
        serve(bundle)
        name = name_of(rows, bundle)
        until(lambda name=name: status(services, name).is_terminal)
        services.drop(name)
        ends += watch_until(bundle)
        rows.sql("delete from engine.report")
    assert ends[0]["s"] == "succeeded"
    assert failure(ends[1:])[:2] == ("failed", "user")


@pytest.mark.parametrize(("code", "state"), [(0, "succeeded"), (3, "failed")])
def test_whatever_a_container_writes_is_kept_and_disturbs_nothing(
    code: int, state: str, job: Job, serve: Serve, watch_until: Any, rows: Rows
) -> None:
    bundle = job(rf"printf 'a\0b \360\237\214\212 \377 $$ \\ \047 \042\n'; echo 1; exit {code}")
    serve(bundle)
    (outcome,) = watch_until(bundle)
    assert outcome["s"] == state
    log = logs(rows)[""]
    assert log.startswith("a\N{REPLACEMENT CHARACTER}b 🌊 \N{REPLACEMENT CHARACTER} $$ \\ ' \"\n1")


# --- what Snowflake refuses ------------------------------------------------------------------------------------------


def test_a_pool_that_does_not_exist_is_named(told: Told, serve: Serve, watcher: Any) -> None:
    state, kind, message = failure(serve(told(compute_pool="NO_SUCH_POOL", image="/a:1")))
    assert (state, kind) == ("failed", "user")
    assert message == (
        "Snowflake refused the job: compute pool NO_SUCH_POOL does not exist, or our role lacks USAGE on it."
    )


def test_a_secret_that_does_not_exist_is_named(told: Told, serve: Serve, watcher: Any) -> None:
    secret = {"snowflakeSecret": "NO_SUCH_SECRET", "envVarName": "S", "secretKeyRef": "password"}
    state, _, message = failure(serve(told(image="/a:1", command=["true"], secrets=[secret])))
    assert state == "failed"
    assert message.endswith("secret FRESHET.PUBLIC.NO_SUCH_SECRET does not exist, or our role lacks READ on it.")


def test_a_missing_grant_is_told(told: Told, serve: Serve, watcher: Any, switch: Any) -> None:
    switch(kind="no_privilege", statement="^EXECUTE JOB SERVICE", on="schema 'PUBLIC'", times=1)
    state, _, message = failure(serve(told(image="/a:1", command=["true"])))
    assert state == "failed"
    assert "for want of a privilege of our role: Insufficient privileges to operate on schema 'PUBLIC'" in message
    assert "\n" not in message


def test_wrong_credentials_hand_the_item_back_with_a_sentence(
    told: Told, settings: WorkerSettings, bus: Bus, rows: Rows
) -> None:
    bundle = told(image="/a:1", command=["true"])
    with served(
        settings.model_copy(update={"snowflake_password": type(settings.snowflake_password)("wrong")})
    ) as worker:
        worker.watch = None
        bus.publish([Message(queue="q", bundle_id=bundle)])
        until(lambda: worker.once().did)
    state, _, message = failure(rows.reports(bundle))
    assert state == "handed_back"
    assert message.startswith(
        "Snowflake refuses the login of freshet: check FRESHET_SNOWFLAKE_USER and its credentials"
    )
    assert "wrong" not in message


def test_a_staged_file_that_is_missing_is_told(told: Told, serve: Serve, watcher: Any) -> None:
    state, _, message = failure(serve(told(spec_file="@no_such_stage/spec.yaml")))
    assert state == "failed"
    assert "stage" in message.lower()
    assert "\n" not in message


def test_the_family_of_a_pool_is_written_down_once(job: Job, serve: Serve, watcher: Any, rows: Rows, pool: str) -> None:
    serve(job("true"), job("true"))
    assert rows.sql("select name, family from engine.compute_pool") == [{"name": pool, "family": "CPU_X64_XS"}]


# --- the rows of a table as the result -------------------------------------------------------------------------------


def test_the_rows_of_the_result_table_are_the_result(
    told: Told, serve: Serve, watch_until: Any, services: JobServices
) -> None:
    table = fresh("R")
    services.execute(f"CREATE TABLE {table}_1 (i NUMBER(38,0), n NUMBER(10,2), t VARCHAR, d DATE)")
    services.execute(f"INSERT INTO {table}_1 VALUES (1, 1.25, 'it''s 🌊', '2026-03-01'), (2, 3, NULL, NULL)")
    bundle = told(image="/a:1", command=["sh", "-c", "echo 7"], result_table=table + "_${{ params.p }}")
    serve(bundle)
    (outcome,) = watch_until(bundle)
    assert outcome["r"] == [
        {"i": 1, "n": 1.25, "t": "it's 🌊", "d": "2026-03-01"},
        {"i": 2, "n": 3, "t": None, "d": None},
    ]


def test_a_result_table_that_is_missing_fails_the_item(told: Told, serve: Serve, watch_until: Any) -> None:
    bundle = told(image="/a:1", command=["true"], result_table='FRESHET.PUBLIC."no such"')
    serve(bundle)
    assert failure(watch_until(bundle)) == (
        "failed",
        "user",
        'The result table FRESHET.PUBLIC."no such" does not exist, or our role may not read it.',
    )


def test_a_result_table_that_is_too_large_fails_the_item(
    told: Told, serve: Serve, watch_until: Any, services: JobServices, watcher: Any
) -> None:
    table = fresh("R")
    services.execute(f"CREATE TABLE {table} (t VARCHAR)")
    for _ in range(10):
        services.execute(f"INSERT INTO {table} VALUES ('{'x' * 200}')")
    watcher._result_limit = 1024
    bundle = told(image="/a:1", command=["true"], result_table=table)
    serve(bundle)
    state, _, message = failure(watch_until(bundle))
    assert state == "failed"
    assert message == (
        f"The rows of result table {table} can't be the result:"
        " they have more than the 1,024 bytes as JSON that are the limit."
    )


def test_a_job_that_is_done_and_gone_with_its_result_table_is_a_loss(
    told: Told, serve: Serve, watch_until: Any, services: JobServices, rows: Rows
) -> None:
    bundle = told(image="/a:1", command=["true"], result_table="r_${{ params.p }}")
    serve(bundle)
    name = name_of(rows, bundle)
    until(lambda: status(services, name).is_terminal)
    services.drop(name)
    assert failure(watch_until(bundle))[:2] == ("lost", "lost")


def test_what_is_no_name_of_a_table_never_reaches_snowflake(told: Told, serve: Serve, watcher: Any) -> None:
    bundle = told(params={"p": "t; DROP TABLE t"}, image="/a:1", result_table="${{ params.p }}")
    state, _, message = failure(serve(bundle))
    assert state == "failed"
    assert message.startswith("`result_table` of task t is refused: 't; DROP TABLE t' is not the name")


# --- submits whose answer or claim is lost ---------------------------------------------------------------------------


def test_a_submit_without_an_answer_is_watched_if_it_was_one(
    job: Job, serve: Serve, watch_until: Any, switch: Any, worker: Any, rows: Rows, monkeypatch: Any, tmp_path: Any
) -> None:
    bundle, count = job(f"echo x >> {tmp_path}/count; echo 5"), tmp_path / "count"
    submit = worker.launcher._jobs.submit

    def cut_off(*arguments: Any, **options: Any) -> None:
        from freshet.snowflake import SnowflakeUnreachableError

        submit(*arguments, **options)
        raise SnowflakeUnreachableError("The connection was cut off.")

    monkeypatch.setattr(worker.launcher._jobs, "submit", cut_off)
    assert serve(bundle) == []
    (outcome,) = watch_until(bundle)
    assert (outcome["s"], outcome["r"]) == ("succeeded", 5)
    assert count.read_text() == "x\n"


def test_a_submit_without_an_answer_is_looked_up_in_the_history(
    job: Job, serve: Serve, watch_until: Any, worker: Any, services: JobServices, monkeypatch: Any
) -> None:
    bundle = job("true")
    submit = worker.launcher._jobs.submit

    def over_and_gone(name: str, *arguments: Any, **options: Any) -> None:
        from freshet.snowflake import SnowflakeUnreachableError

        submit(name, *arguments, **options)
        until(lambda: status(services, name) is JobStatus.DONE)
        services.drop(name)
        raise SnowflakeUnreachableError("The connection was cut off.")

    monkeypatch.setattr(worker.launcher._jobs, "submit", over_and_gone)
    assert serve(bundle) == []
    (outcome,) = watch_until(bundle)
    assert outcome["s"] == "succeeded"


def test_a_submit_that_never_arrived_is_handed_back(job: Job, serve: Serve, worker: Any, monkeypatch: Any) -> None:
    def lost(*_arguments: Any, **_options: Any) -> None:
        from freshet.snowflake import SnowflakeUnreachableError

        raise SnowflakeUnreachableError("The connection was cut off.")

    worker.watch = None
    monkeypatch.setattr(worker.launcher._jobs, "submit", lost)
    (outcome,) = serve(job("true"))
    assert outcome["s"] == "handed_back"


@pytest.mark.parametrize("point", ["job.named", "job.submitted"])
def test_a_cancel_around_the_submit_leaves_no_container(
    point: str, job: Job, serve: Serve, watcher: Any, rows: Rows, services: JobServices
) -> None:
    bundle, names = job("sleep 1000"), []

    def cancel(reached: str) -> None:
        if reached == point:
            names.append(name_of(rows, bundle))
            rows.sql("delete from engine.bundle where id = %s", bundle)  # a cancel, folded

    with fault.armed(cancel):
        serve(bundle)
    watcher.turn()
    assert until(lambda: status(services, names[0]) is JobStatus.CANCELLED)


def test_a_claim_that_somebody_else_took_over_leaves_the_job_alone(
    job: Job, serve: Serve, watcher: Any, rows: Rows, services: JobServices
) -> None:
    first, names = job("sleep 1000"), []
    task = rows.one("select task_run_id from engine.bundle")

    def take_over(point: str) -> None:
        if point == "job.submitted":
            names.append(name_of(rows, first))
            rows.release(first)
            rows.bundle(task)

    with fault.armed(take_over):
        serve(first)
    watcher.turn()
    assert status(services, names[0]) in (JobStatus.PENDING, JobStatus.RUNNING)


def test_what_a_container_prints_after_its_timeout_is_kept_too(
    job: Job, watcher: Watcher, watch_until: Any, serve: Serve, rows: Rows
) -> None:
    bundle = job("trap 'echo saved; exit 0' TERM; echo working; while true; do sleep 0.05; done", timeout_s=0.5)
    serve(bundle)
    assert watch_until(bundle)[0]["s"] == "timed_out"
    # Folded, and to be tried again.
    rows.sql("delete from engine.report")
    rows.sql("""update engine.work_item set attempt = 2, error = '{"class": "timeout"}'""")
    until(lambda: (watcher.turn(), printed(rows).endswith("saved"))[1])
    assert [printed(rows).count(word) for word in ("working", "saved")] == [1, 1]
