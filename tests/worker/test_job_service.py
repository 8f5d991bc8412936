"""Job services: launched once per attempt, watched in bulk, reaped when nobody owns them."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.emulator.server import EmulatorProcess, fresh, shell, until
from tests.worker.rows import Rows
from tests.worker.test_process import Serve, logs, states

from freshet.bus import Bus, Message
from freshet.domain.errors import UnreachableError
from freshet.execution.job_service import job_name, job_prefix, run_of
from freshet.execution.supervisor import Supervisor
from freshet.execution.watcher import REAP_EVERY, Watcher
from freshet.runtime import fault
from freshet.runtime.settings import WorkerSettings
from freshet.snowflake import JobServices
from freshet.snowflake.text import is_job_name
from freshet.storage.database import Database
from freshet.storage.items import Items
from freshet.storage.reads import Reads
from freshet_worker.main import build

Job = Callable[..., int]

#: Seconds for which names are kept in these tests, short enough to see a job dropped.
KEEP = 0.1


@pytest.fixture
def pool(services: JobServices) -> Iterator[str]:
    name = fresh("POOL")
    services.execute(f"CREATE COMPUTE POOL {name} MIN_NODES = 4 MAX_NODES = 4 INSTANCE_FAMILY = CPU_X64_XS")
    yield name
    services.execute(f"ALTER COMPUTE POOL IF EXISTS {name} STOP ALL")


@pytest.fixture
def settings(database: str, redis: str, emulator: EmulatorProcess) -> WorkerSettings:
    return WorkerSettings(
        database_url=database,
        redis_url=redis,
        queues=("q",),
        snowflake_account="local",
        snowflake_host="127.0.0.1",
        snowflake_port=emulator.port,
        snowflake_protocol="http",
        snowflake_user="freshet",
        snowflake_password="freshet",
        snowflake_database="FRESHET",
        snowflake_schema="PUBLIC",
        eager_dispatch=False,  # what is reported is looked at here
        job_keep=KEEP,
    )


@pytest.fixture
def worker(settings: WorkerSettings) -> Iterator[Supervisor]:
    with served(settings) as worker:
        yield worker


@contextmanager
def served(settings: WorkerSettings) -> Iterator[Supervisor]:
    worker = build(settings)
    yield worker
    worker.close()
    worker.launcher._jobs.close()
    worker.store._database.close()
    worker.bus.close()


@pytest.fixture
def watcher(worker: Supervisor) -> Iterator[Watcher]:
    """The worker's watch, turned by the test."""
    watch, worker.watch = worker.watch, None
    yield watch
    watch.end()


@pytest.fixture
def job(rows: Rows, pool: str) -> Job:
    """A bundle of one job that runs a shell script."""

    def make(script: str, *, timeout_s: float | None = None, attempt: int = 1, **spec: Any) -> int:
        name = f"jobs{rows.one('select count(*) from engine.workflow')}"
        given = {"image": "/db/s/repo/shell:1", "compute_pool": pool, "command": ["sh", "-c", script], **spec}
        container = {name: value for name, value in given.items() if value is not None}
        params = {"p": {"type": "integer", "default": 1}}
        workflow = rows.workflow({"name": name, "params": params, "tasks": {"t": {"job_service": container}}})
        task = rows.task(rows.run(workflow, params={"p": 1}), kind="job_service")
        return rows.bundle(task, timeout_s=timeout_s, attempt=attempt)

    return make


@pytest.fixture
def watch_until(watcher: Watcher, rows: Rows) -> Callable[[int], list[dict[str, Any]]]:
    """Turn the watch until a bundle has ended; its outcomes."""

    def watch_until(bundle: int) -> list[dict[str, Any]]:
        def gone() -> bool:
            watcher.turn()
            return not rows.exists(bundle)

        until(gone)
        return rows.reports(bundle)

    return watch_until


def name_of(rows: Rows, bundle: int) -> str:
    return rows.one("select job_name from engine.bundle where id = %s", bundle)


def shown(services: JobServices, rows: Rows) -> list[str]:
    prefix = job_prefix(rows.one("select id from engine.installation"))
    return [each.name for each in services.list_jobs(prefix)]


def submitted(serve: Serve, worker: Supervisor, bus: Bus, bundle: int) -> None:
    bus.publish([Message(queue="q", bundle_id=bundle)])
    until(lambda: worker.once().did)


def test_a_jobs_last_json_line_is_its_result_and_nothing_of_it_is_left(
    job: Job, watch_until: Any, serve: Serve, rows: Rows, watcher: Watcher, services: JobServices
) -> None:
    bundle = job('echo working; echo "{\\"payload\\": $FRESHET_PAYLOAD, \\"attempt\\": $FRESHET_ATTEMPT}"; echo bye')
    assert serve(bundle) == []
    name = name_of(rows, bundle)
    assert is_job_name(name)
    (outcome,) = watch_until(bundle)
    assert (outcome["s"], outcome["r"]) == ("succeeded", {"payload": {"p": 1}, "attempt": 1})
    assert logs(rows)[""].startswith("working\n")
    rows.sql("delete from engine.report")
    until(lambda: watcher.turn().reaped > 0)
    assert name not in shown(services, rows)


def test_a_failed_container_is_the_users_failure_with_its_last_lines(job: Job, watch_until: Any, serve: Serve) -> None:
    bundle = job("echo one; echo the reason; exit 3")
    serve(bundle)
    (outcome,) = watch_until(bundle)
    assert (outcome["s"], outcome["e"]["class"], outcome["e"]["exit_code"]) == ("failed", "user", 3)
    assert outcome["e"]["message"].startswith("The container ended with exit code 3")
    assert outcome["e"]["message"].endswith("one\nthe reason")


def test_args_and_env_are_rendered(job: Job, watch_until: Any, serve: Serve) -> None:
    bundle = job(
        'echo "[\\"$P\\", \\"$1\\"]"', args=["name", "--p=${{ params.p + 1 }}"], env={"P": "${{ run.trigger }}"}
    )
    serve(bundle)
    (outcome,) = watch_until(bundle)
    assert outcome["r"] == ["call", "--p=2"]


def test_a_wrong_expression_fails_the_item(job: Job, worker: Supervisor, serve: Serve, watcher: Watcher) -> None:
    (outcome,) = serve(job("true", env={"P": "${{ params.p / 0 }}"}))
    assert (outcome["s"], outcome["e"]["class"]) == ("failed", "user")


def test_a_pool_that_does_not_exist_fails_the_item(job: Job, serve: Serve, watcher: Watcher) -> None:
    (outcome,) = serve(job("true", compute_pool="NO_SUCH_POOL"))
    assert outcome["s"] == "failed"
    assert "Snowflake refused the job" in outcome["e"]["message"]


def test_a_new_claim_of_the_same_attempt_finds_the_job(
    job: Job, watch_until: Any, serve: Serve, rows: Rows, watcher: Watcher, services: JobServices, tmp_path: Any
) -> None:
    gate, count = tmp_path / "gate", tmp_path / "count"
    bundle = job(f"echo x >> {count}; while [ ! -e {gate} ]; do sleep 0.02; done; echo 5")
    serve(bundle)
    name, task = name_of(rows, bundle), rows.one("select task_run_id from engine.bundle")
    until(count.exists)
    # The worker died between submit and watch: the sweep reports, the fold makes a bundle of the same attempt.
    rows.release(bundle)
    watcher.turn()
    assert name in shown(services, rows)  # its report is not folded yet, so the job is somebody's
    again = rows.bundle(task)
    rows.sql("delete from engine.report")
    watcher.turn()
    assert name in shown(services, rows)
    serve(again)
    assert name_of(rows, again) == name
    gate.touch()
    (outcome,) = watch_until(again)
    assert outcome["r"] == 5
    assert count.read_text() == "x\n"


def test_a_job_that_nobody_owns_is_cancelled_and_dropped(
    job: Job, serve: Serve, rows: Rows, watcher: Watcher, services: JobServices
) -> None:
    bundle = job("sleep 1000")
    serve(bundle)
    name = name_of(rows, bundle)
    watcher.turn()
    rows.sql("delete from engine.bundle")  # a cancel, folded
    stranger = f"{job_prefix(rows.one('select id from engine.installation'))}NOT_OURS"

    def gone() -> bool:
        watcher.turn()
        return name not in shown(services, rows)

    until(gone)
    assert stranger not in shown(services, rows)


def test_a_submit_that_comes_after_the_end_of_its_job_launches_nothing(
    job: Job, serve: Serve, settings: WorkerSettings, rows: Rows, services: JobServices, bus: Bus, tmp_path: Any
) -> None:
    count = tmp_path / "count"
    first = job(f"echo x >> {count}")
    task = rows.one("select task_run_id from engine.bundle")
    outcomes: list[Any] = []

    def stand_still(point: str) -> None:
        """Until the attempt is lost, taken over, ended, and nobody's any more."""
        if point != "job.named" or outcomes:
            return
        outcomes.append(None)
        rows.release(first)
        rows.sql("delete from engine.report")
        second = rows.bundle(task)
        with served(settings.model_copy(update={"job_keep": 600.0})) as other:
            other.watch, watcher = None, other.watch
            submitted(serve, other, bus, second)
            until(lambda: [watcher.turn(), not rows.exists(second)][1])
            outcomes[:] = rows.reports(second)
            rows.sql("delete from engine.report")
            watcher.turn()
            watcher.end()

    with fault.armed(stand_still):
        serve(first)
    assert states(outcomes) == ["succeeded"]
    assert count.read_text() == "x\n"


def alive(pid_file: Any) -> bool:
    """Whether the container's process is there."""
    try:
        os.kill(int(pid_file.read_text()), 0)
    except ProcessLookupError:
        return False
    return True


def over(services: JobServices, name: str) -> bool:
    """Whether the emulator knows of no container of a job that is there or may come."""
    past = services.history(name)
    return past is not None and past.status.is_terminal


def test_a_cancel_between_claim_and_submit_leaves_no_container(
    job: Job, settings: WorkerSettings, serve: Serve, rows: Rows, services: JobServices, bus: Bus, tmp_path: Any
) -> None:
    pid = tmp_path / "pid"
    bundle = job(f"echo $$ > {pid}; exec sleep 1000")
    names: list[str] = []

    def cancel(point: str) -> None:
        if point == "job.named":
            names.append(name_of(rows, bundle))
            rows.sql("delete from engine.bundle where id = %s", bundle)

    # Names are kept for long here, so that nobody looks for jobs that nobody owns unless he is told to.
    with fault.armed(cancel), served(settings.model_copy(update={"job_keep": 600.0})) as other:
        submitted(serve, other, bus, bundle)
        until(lambda: over(services, names[0]))
        assert not (pid.exists() and alive(pid))


@pytest.mark.parametrize("status", ["PENDING", "RUNNING"])
def test_a_cancel_of_a_job_in_flight_leaves_no_container(
    job: Job, serve: Serve, watcher: Watcher, rows: Rows, services: JobServices, tmp_path: Any, status: str
) -> None:
    pool, pid = fresh("POOL"), tmp_path / "pid"
    services.execute(f"CREATE COMPUTE POOL {pool} MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = CPU_X64_XS")
    if status == "PENDING":
        services.submit(fresh(), pool, shell("sleep 1000"), "takes the only node")
    bundle = job(f"echo $$ > {pid}; exec sleep 1000", compute_pool=pool)
    serve(bundle)
    name = name_of(rows, bundle)
    until(lambda: pid.exists() == (status == "RUNNING"))
    assert services.describe(name).status == status  # type: ignore[union-attr]
    rows.sql("delete from engine.bundle where id = %s", bundle)  # a cancel, folded
    until(lambda: [watcher.turn(), over(services, name)][1])
    assert not (pid.exists() and alive(pid))
    services.execute(f"ALTER COMPUTE POOL {pool} STOP ALL")
    assert pid.exists() == (status == "RUNNING")


def test_a_job_of_a_new_attempt_is_another_job(job: Job, serve: Serve, rows: Rows, watcher: Watcher) -> None:
    first = job("sleep 1000")
    serve(first)
    name, task = name_of(rows, first), rows.one("select task_run_id from engine.bundle")
    second = rows.bundle(task, attempt=2)
    serve(second)
    assert name_of(rows, second) == name.removesuffix("_1") + "_2"


@pytest.mark.parametrize("names", [["main"], ["worker", "main"]])
def test_what_the_first_container_prints_after_a_cancel_is_kept_too(
    job: Job, watcher: Watcher, serve: Serve, rows: Rows, names: list[str]
) -> None:
    script = "trap 'echo saved; exit 0' TERM; echo working; while true; do sleep 0.05; done"
    containers = [
        {
            "name": name,
            "image": "/db/s/repo/shell:1",
            "command": ["sh", "-c", script if name == names[0] else "sleep 60"],
        }
        for name in names
    ]
    bundle = job("", image=None, command=None, spec={"containers": containers})
    serve(bundle)

    def until_last(line: str) -> None:
        until(lambda: (watcher.turn(), logs(rows).get("", "").endswith(line))[1])

    until_last("working")
    # A cancel, folded.
    rows.sql("delete from engine.bundle")
    rows.sql("update engine.work_item set state = 'cancelled', finished_at = now()")
    until_last("saved")
    watcher._reaper._over.clear()  # as another watcher would see it
    watcher.turn()
    assert [logs(rows)[""].count(word) for word in ("working", "saved")] == [1, 1]


def test_a_container_that_runs_too_long_is_cancelled(
    job: Job, watch_until: Any, serve: Serve, services: JobServices, rows: Rows, watcher: Watcher
) -> None:
    bundle = job("echo begun; sleep 1000", timeout_s=0.5)
    serve(bundle)
    name = name_of(rows, bundle)
    (outcome,) = watch_until(bundle)
    assert (outcome["s"], outcome["e"]["class"]) == ("timed_out", "timeout")
    rows.sql("delete from engine.report")

    def gone() -> bool:
        watcher.turn()
        return name not in shown(services, rows)

    until(gone)


def test_a_container_runs_too_long_also_if_the_databases_clock_was_put_back(
    job: Job, watch_until: Any, serve: Serve, rows: Rows
) -> None:
    bundle = job("echo begun; sleep 1000", timeout_s=0.5)
    serve(bundle)
    rows.sql("update engine.bundle set submitted_at = submitted_at + interval '1 hour'")
    (outcome,) = watch_until(bundle)
    assert outcome["s"] == "timed_out"


def test_a_job_that_does_not_start_is_the_platforms_failure(
    job: Job, watch_until: Any, serve: Serve, emulator: EmulatorProcess
) -> None:
    emulator.fault(kind="stuck_pending", times=1)
    bundle = job("true", start_timeout="PT0.1S")
    outcomes = serve(bundle) or watch_until(bundle)
    assert outcomes[0]["s"] == "lost"
    assert outcomes[0]["x"] is True
    assert outcomes[0]["e"]["class"] == "capacity"


def test_a_job_dropped_behind_our_back_is_a_loss(
    job: Job, watch_until: Any, serve: Serve, rows: Rows, services: JobServices
) -> None:
    bundle = job("sleep 1000")
    serve(bundle)
    services.drop(name_of(rows, bundle))
    (outcome,) = watch_until(bundle)
    assert (outcome["s"], outcome["x"]) == ("lost", True)


def test_an_outage_of_snowflake_hands_the_submit_back_and_fails_nothing(
    job: Job, serve: Serve, worker: Supervisor, watcher: Watcher, rows: Rows
) -> None:
    worker.launcher._jobs = _Unreachable()
    (outcome,) = serve(job("true"))
    assert outcome["s"] == "handed_back"
    assert "e" in outcome


class _Unreachable:
    """Snowflake, away."""

    def submit(self, *_arguments: object, **_options: object) -> None:
        from freshet.snowflake import SnowflakeUnreachableError

        raise SnowflakeUnreachableError("Snowflake can't be reached.")

    is_ours = history = submit

    def close(self) -> None: ...


def test_a_submit_makes_room_in_its_queue_and_says_so(job: Job, serve: Serve, watcher: Watcher, bus: Bus) -> None:
    serve(job("sleep 1000"))
    woken = bus.await_wake([f"dispatcher:{partition}" for partition in range(16)], seconds=1.0)
    assert woken is not None


def test_many_jobs_cost_one_status_query_a_turn(
    job: Job, serve: Serve, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        serve(job("sleep 1000"))
    statements: list[str] = []
    execute = watcher._jobs._session.execute

    def counted(sql: str, parameters: Any = None) -> Any:
        statements.append(sql)
        return execute(sql, parameters)

    monkeypatch.setattr(watcher._jobs._session, "execute", counted)
    assert watcher.turn().in_flight == 3
    assert len([sql for sql in statements if sql.startswith("SHOW JOB SERVICES")]) == 1
    assert {sql.split("(")[0] for sql in statements[1:]} == {"SELECT SYSTEM$GET_SERVICE_LOGS"}
    statements.clear()
    assert watcher.turn().in_flight == 3
    assert len(statements) == 1  # their logs were read a moment ago


def printed(rows: Rows) -> str:
    """The log of the one attempt."""
    return "".join(row["text"] for row in rows.sql("select text from log.attempt_log order by part"))


def test_what_a_job_prints_is_there_while_it_runs(
    job: Job, serve: Serve, watcher: Watcher, watch_until: Any, rows: Rows, tmp_path: Any
) -> None:
    gate = tmp_path / "gate"
    bundle = job(f"echo begun; while [ ! -e {gate} ]; do sleep 0.02; done; echo over")
    serve(bundle)
    until(lambda: [watcher.turn(), printed(rows) == "begun"][1])
    assert rows.exists(bundle)
    gate.touch()
    watch_until(bundle)
    assert printed(rows) == "begun\nover"


def test_a_watcher_that_has_lost_the_watch_is_in_no_hurry(
    job: Job, serve: Serve, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(job("echo begun; sleep 1000"))
    until(lambda: [watcher.turn(), watcher._tail.danger_in() < float("inf")][1])
    monkeypatch.setattr(watcher._candidate, "campaign", lambda: False)
    assert not watcher.turn().leads
    assert watcher._tail.danger_in() == float("inf")


#: A job that prints 1,000 numbered lines, 130 KB in all: more than Snowflake shows of it at once.
LINES = "".join(f"line {number:04} {'x' * 119}\n" for number in range(1, 1001))


def test_a_job_that_prints_more_than_a_window_has_each_line_once_also_after_a_take_over(
    job: Job, serve: Serve, watcher: Watcher, watch_until: Any, rows: Rows, settings: WorkerSettings, tmp_path: Any
) -> None:
    gates = tmp_path / "gates"
    gates.mkdir()
    script = (
        f"for n in $(seq 1 100 901); do seq -f 'line %04g {'x' * 119}' $n $((n + 99));"
        f" while [ ! -e {gates}/$n ]; do sleep 0.02; done; done"
    )
    bundle = job(script)
    serve(bundle)

    def followed(watch: Watcher, first: int) -> None:
        watch._tail._paces.clear()  # time passes
        until(lambda: [watch.turn(), watch._tail._paces.clear(), f"line {first + 99:04}" in printed(rows)][2])
        (gates / str(first)).touch()

    for first in range(1, 501, 100):
        followed(watcher, first)
    watcher._candidate.resign()
    with served(settings) as other:
        other.watch, second = None, other.watch
        assert second.turn().leads
        for first in range(501, 1001, 100):
            followed(second, first)
        until(lambda: [second.turn(), not rows.exists(bundle)][1])
        second.end()
    assert printed(rows) == LINES.removesuffix("\n")


def test_a_pending_job_says_what_it_waits_for_at_one_statement_about_pools(
    job: Job,
    serve: Serve,
    watcher: Watcher,
    services: JobServices,
    rows: Rows,
    engine_database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = fresh("POOL")
    services.execute(f"CREATE COMPUTE POOL {pool} MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = CPU_X64_XS")
    runs, waits, also = (job("sleep 1000", compute_pool=pool) for _ in range(3))
    for bundle in (runs, waits, also):
        serve(bundle)
    statements: list[str] = []
    execute = watcher._jobs._session.execute

    def counted(sql: str, parameters: Any = None) -> Any:
        statements.append(sql)
        return execute(sql, parameters)

    monkeypatch.setattr(watcher._jobs._session, "execute", counted)
    reasons = "select waits_for from engine.bundle where id = %s"
    expected = f"Unschedulable due to insufficient resources; compute pool {pool} is ACTIVE, 1 of 1 node at work."
    until(lambda: [watcher.turn(), rows.one(reasons, waits) == expected][1])
    assert (rows.one(reasons, runs), rows.one(reasons, also)) == (None, expected)
    run = rows.one("select run_id from engine.bundle where id = %s", waits)
    (item,) = Items(engine_database).page(run, "t").rows
    assert (item["state"], item["note"]) == ("waiting", expected)
    assert Reads(engine_database).run_object(run)["tasks"]["t"]["note"] == expected
    statements.clear()
    watcher.turn()
    assert statements.count("SHOW COMPUTE POOLS") == 1
    services.cancel(name_of(rows, runs))
    until(lambda: [watcher.turn(), rows.one(reasons, waits) is None][1])
    services.execute(f"ALTER COMPUTE POOL {pool} STOP ALL")


def test_a_job_in_a_suspended_pool_says_that_nobody_will_resume_it(
    job: Job, serve: Serve, watcher: Watcher, services: JobServices, rows: Rows
) -> None:
    pool = fresh("POOL")
    services.execute(
        f"CREATE COMPUTE POOL {pool} MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = CPU_X64_XS"
        " AUTO_RESUME = FALSE INITIALLY_SUSPENDED = TRUE"
    )
    bundle = job("sleep 1000", compute_pool=pool)
    serve(bundle)
    watcher.turn()
    assert rows.one("select waits_for from engine.bundle where id = %s", bundle) == (
        f"Compute pool {pool} is SUSPENDED and does not resume by itself: run ALTER COMPUTE POOL {pool} RESUME."
    )
    services.execute(f"ALTER COMPUTE POOL {pool} STOP ALL")


@pytest.mark.parametrize("kind", ["http_503", "drop_connection", "forget_session", "expire_token"])
def test_an_error_of_a_poll_fails_no_task(
    job: Job, serve: Serve, watcher: Watcher, emulator: EmulatorProcess, rows: Rows, watch_until: Any, kind: str
) -> None:
    bundle = job("sleep 0.3; echo 5")
    serve(bundle)
    emulator.fault(kind=kind, statement="SHOW JOB SERVICES", times=2)
    turns = 0

    def over() -> bool:
        nonlocal turns
        turns += 1
        with suppress(UnreachableError):
            watcher.turn()
        return not rows.exists(bundle)

    until(over)
    (outcome,) = rows.reports(bundle)
    assert (outcome["s"], outcome["r"]) == ("succeeded", 5)


def test_logs_that_are_refused_while_a_job_runs_fail_nothing(
    job: Job, serve: Serve, watcher: Watcher, emulator: EmulatorProcess, rows: Rows, watch_until: Any
) -> None:
    bundle = job("sleep 0.5; echo 5")
    serve(bundle)
    emulator.fault(kind="logs_gone", job=name_of(rows, bundle), times=1)
    until(lambda: [watcher.turn(), bool(watcher._tail._paces)][1])
    (outcome,) = watch_until(bundle)
    assert (outcome["s"], outcome["r"]) == ("succeeded", 5)


def test_a_neighbour_whose_name_only_looks_alike_is_left_alone(
    job: Job, serve: Serve, watcher: Watcher, rows: Rows, services: JobServices, pool: str
) -> None:
    # `_` is a wildcard of LIKE: FRESHET_AB_… would also fetch FRESHETXABX….
    prefix = job_prefix(rows.one("select id from engine.installation"))
    alike = prefix.replace("_", "X") + f"{uuid4().hex.upper()}_ABCDEFGH_1"
    services.submit(alike, pool, shell("sleep 1000"), "somebody else's")
    mine = f"{prefix}{uuid4().hex.upper()}_ABCDEFGH_1"
    services.submit(mine, pool, shell("sleep 1000"), "ours, and nobody's")
    serve(job("sleep 1000"))
    until(lambda: [watcher.turn(), mine not in shown(services, rows)][1])
    assert services.describe(alike) is not None
    assert not services.describe(alike).status.is_terminal
    services.drop(alike)


def test_an_idle_watch_asks_snowflake_nothing(watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "_look_every", REAP_EVERY)  # that of a watch that keeps names for long
    watcher.turn()
    monkeypatch.setattr(watcher, "_jobs", None)
    assert watcher.turn().in_flight == 0


def test_the_thread_ends_jobs_by_itself(job: Job, worker: Supervisor, serve: Serve, rows: Rows) -> None:
    bundle = job("echo 1")
    serve(bundle)
    until(lambda: not rows.exists(bundle))
    assert states(rows.reports(bundle)) == ["succeeded"]


@given(st.text(min_size=1, max_size=40), st.uuids(), st.text(max_size=200), st.text(max_size=200), st.integers(1, 9999))
def test_job_names_are_names_and_tell_their_run(
    installation: str, run: UUID, task: str, index: str, attempt: int
) -> None:
    if not installation.isascii() or not installation.replace("_", "a").isalnum():
        installation = "ABC123"
    name = job_name(installation, run, task, index, attempt)
    assert is_job_name(name)
    assert name.startswith(job_prefix(installation))
    assert run_of(name, job_prefix(installation)) == run
    assert name != job_name(installation, uuid4(), task, index, attempt)
    assert name != job_name(installation, run, task + "x", index, attempt)
