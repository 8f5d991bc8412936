"""Scripts on Snowflake: begun once per attempt, watched in bulk, aborted when nobody owns them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.emulator.server import EmulatorProcess, fresh, until
from tests.worker.rows import Rows
from tests.worker.test_job_service import served
from tests.worker.test_process import Serve, logs

from freshet.bus import Bus, Message
from freshet.execution.query import query_tag, run_of_tag, tag_prefix
from freshet.execution.query_watch import REAP_EVERY, QueryWatcher
from freshet.execution.supervisor import Supervisor
from freshet.runtime.settings import WorkerSettings
from freshet.snowflake import JobServices, Place, Queries, QueryRow, SnowflakeUnreachableError

Script = Callable[..., int]
WAIT = "SELECT SYSTEM$WAIT(600)"


@pytest.fixture
def queries(emulator: EmulatorProcess) -> Iterator[Queries]:
    found = Queries(emulator.settings())
    yield found
    found.close()


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
    )


@pytest.fixture
def worker(settings: WorkerSettings) -> Iterator[Supervisor]:
    with watched_by_hand(settings) as worker:
        yield worker


@contextmanager
def watched_by_hand(settings: WorkerSettings) -> Iterator[Supervisor]:
    with served(settings) as worker:
        worker.watch, watches = None, list(worker.query_watches)
        worker.query_watches.clear()
        worker.by_hand = watches  # type: ignore[attr-defined]
        yield worker
        for watch in watches:
            watch.end()
        for launcher in worker.query_launchers.values():
            launcher._queries.close()


@pytest.fixture
def watcher(worker: Supervisor) -> QueryWatcher:
    """The worker's watch of the account, turned by the test."""
    (watch,) = (each for each in worker.by_hand if each._connection == "snowflake")
    return watch


@pytest.fixture
def script(rows: Rows) -> Script:
    """A bundle of one script."""

    def make(text: str, *, payload: Any = None, timeout_s: float | None = None, attempt: int = 1, **place: Any) -> int:
        name = f"queries{rows.one('select count(*) from engine.workflow')}"
        spec = {"on": "snowflake", "text": text, **place}
        document = {
            "name": name,
            "params": {"p": {"type": "object", "default": {}}},
            "tasks": {"t": {"sql": spec, **({"timeout": timeout_s} if timeout_s else {})}},
        }
        run = rows.run(rows.workflow(document), params={"p": payload})
        return rows.bundle(rows.task(run, kind="sql"), timeout_s=timeout_s, attempt=attempt)

    return make


@pytest.fixture
def outcome_of(serve: Serve, watcher: QueryWatcher, rows: Rows) -> Callable[[int], dict[str, Any]]:
    """Serve a bundle and turn the watch until it has ended; its one outcome."""

    def outcome_of(bundle: int) -> dict[str, Any]:
        serve(bundle)
        return ended(watcher, rows, bundle)

    return outcome_of


def ended(watcher: QueryWatcher, rows: Rows, bundle: int) -> dict[str, Any]:
    def gone() -> bool:
        watcher.turn()
        return not rows.exists(bundle)

    until(gone)
    (outcome,) = rows.reports(bundle)
    return outcome


def tag_of(rows: Rows, bundle: int) -> str:
    return rows.one("select job_name from engine.bundle where id = %s", bundle)


def shown(queries: Queries, tag: str) -> list[QueryRow]:
    return queries.tagged([tag])


def test_the_last_statements_rows_are_the_result_of_a_script_of_several(
    script: Script, outcome_of: Any, rows: Rows
) -> None:
    table = fresh()
    text = f"""
        CREATE TEMPORARY TABLE {table} (i INT, t VARCHAR); -- one ; more
        INSERT INTO {table} SELECT 1, :payload:p:word::VARCHAR UNION ALL SELECT 2, 'a;b';
        SELECT i, t, 1.5::NUMBER(10,2) AS n, 3::NUMBER(10,2) AS whole, TRUE AS b, NULL AS nothing,
            '2026-03-01'::DATE AS d,
            '2026-03-01 10:20:30'::TIMESTAMP_NTZ AS at, :payload:p AS v, ARRAY_CONSTRUCT(1, 'x') AS a,
            TO_BINARY('00FF', 'HEX') AS x, ':payload' AS "Quoted"
        FROM {table} ORDER BY i
    """
    outcome = outcome_of(script(text, payload={"word": "it's \\ \n ü"}))
    common = {"n": 1.5, "whole": 3, "b": True, "nothing": None, "d": "2026-03-01", "at": "2026-03-01T10:20:30"}
    common |= {"v": {"word": "it's \\ \n ü"}, "a": [1, "x"], "x": "00FF", "Quoted": ":payload"}
    assert outcome["s"] == "succeeded", outcome
    assert outcome["r"] == [{"i": 1, "t": "it's \\ \n ü", **common}, {"i": 2, "t": "a;b", **common}]
    assert "QUERY_TAG freshet/" in logs(rows)[""]
    assert logs(rows)[""].count("SUCCESS: ") == 3  # each statement's id is kept


def test_a_failed_statement_is_named_with_its_line_and_snowflakes_message(script: Script, outcome_of: Any) -> None:
    outcome = outcome_of(script("SELECT 1;\n\n-- here\nSELECT nothing\nFROM nowhere;\nSELECT 2"))
    assert (outcome["s"], outcome["e"]["class"]) == ("failed", "user")
    message = outcome["e"]["message"]
    assert message.startswith("The statement 2 on line 4 of the script failed:"), message
    assert "NOWHERE" in message
    assert "\n" not in message
    assert outcome["e"]["query_id"]
    outcome = outcome_of(script("SELECT 1 / 0"))
    assert outcome["e"]["message"].startswith("The statement on line 1 of the script failed: Division by zero")


def test_a_session_begins_where_the_task_says(script: Script, outcome_of: Any, services: JobServices) -> None:
    database, warehouse = fresh("DB"), fresh("WH")
    services.execute(f"CREATE WAREHOUSE {warehouse}")
    services.execute(f"CREATE DATABASE {database}")
    services.execute(f"CREATE SCHEMA {database}.WORK")
    services.execute("USE DATABASE FRESHET")
    text = "SELECT CURRENT_DATABASE() AS d, CURRENT_SCHEMA() AS s, CURRENT_WAREHOUSE() AS w, CURRENT_ROLE() AS r"
    place = {"database": database, "schema": "WORK", "warehouse": warehouse, "role": "ANALYST"}
    outcome = outcome_of(script(text, **place))
    assert outcome["r"] == [{"d": database, "s": "WORK", "w": warehouse, "r": "ANALYST"}]
    assert outcome_of(script(text))["r"][0] | {"w": None, "r": None} == {
        "d": "FRESHET", "s": "PUBLIC", "w": None, "r": None,
    }  # fmt: skip


def test_a_change_has_a_row_of_counts(script: Script, outcome_of: Any, services: JobServices) -> None:
    table = fresh()
    services.execute(f"CREATE TABLE {table} (i INT)")
    assert outcome_of(script(f"INSERT INTO {table} VALUES (1), (2)"))["r"] == [{"number of rows inserted": 2}]


def test_rows_beyond_the_limit_fail_in_a_sentence(script: Script, outcome_of: Any) -> None:
    text = "SELECT REPEAT('x', 1000) AS t FROM TABLE(GENERATOR(ROWCOUNT => 3000))"
    outcome = outcome_of(script(text))
    assert outcome["s"] == "failed"
    assert "they have more than 1,048,576 bytes as JSON" in outcome["e"]["message"]


def test_a_script_at_work_holds_no_worker(script: Script, serve: Serve, rows: Rows, watcher: QueryWatcher) -> None:
    first, second = script(WAIT), script(WAIT)
    serve(first)
    serve(second)
    assert rows.one("select count(*) from engine.bundle where submitted_at is not null and claim is null") == 2
    assert watcher.turn().in_flight == 2


def test_a_new_claim_of_the_same_attempt_finds_the_script(
    script: Script, serve: Serve, rows: Rows, watcher: QueryWatcher, queries: Queries
) -> None:
    bundle = script("SELECT SYSTEM$WAIT(2)")
    serve(bundle)
    tag, task = tag_of(rows, bundle), rows.one("select task_run_id from engine.bundle")
    # The worker died between submit and watch: the sweep reports, the fold makes a bundle of the same attempt.
    rows.release(bundle)
    watcher.turn()
    again = rows.bundle(task)
    rows.sql("delete from engine.report")
    watcher.turn()
    serve(again)
    assert ended(watcher, rows, again)["s"] == "succeeded"
    assert len(shown(queries, tag)) == 1


def test_a_new_attempt_is_another_query(script: Script, serve: Serve, rows: Rows, watcher: QueryWatcher) -> None:
    first = script(WAIT)
    serve(first)
    tag, task = tag_of(rows, first), rows.one("select task_run_id from engine.bundle")
    second = rows.bundle(task, attempt=2)
    serve(second)
    assert tag_of(rows, second) == tag.removesuffix("/1") + "/2"


def test_a_script_that_runs_too_long_is_aborted(
    script: Script, serve: Serve, rows: Rows, watcher: QueryWatcher, queries: Queries
) -> None:
    bundle = script(f"SELECT 1; {WAIT}; SELECT 2")
    serve(bundle)
    rows.sql("update engine.bundle set timeout_s = 0.5")  # so that Snowflake does not end it by itself
    tag = tag_of(rows, bundle)
    outcome = ended(watcher, rows, bundle)
    assert (outcome["s"], outcome["e"]["class"]) == ("timed_out", "timeout")
    assert "timeout of 0.5 s" in outcome["e"]["message"]
    until(lambda: not any(row.running for row in shown(queries, tag)))
    assert len(shown(queries, tag)) == 3  # the script, and two of its three statements


def test_a_script_runs_too_long_also_if_the_databases_clock_was_put_back(
    script: Script, serve: Serve, rows: Rows, watcher: QueryWatcher
) -> None:
    bundle = script(WAIT, timeout_s=0.5)
    serve(bundle)
    rows.sql("update engine.bundle set submitted_at = submitted_at + interval '1 hour'")
    assert ended(watcher, rows, bundle)["s"] == "timed_out"


def test_snowflakes_own_end_of_a_script_that_takes_too_long_is_a_timeout(
    script: Script, serve: Serve, rows: Rows, watcher: QueryWatcher, queries: Queries
) -> None:
    bundle = script(WAIT, timeout_s=1.0)
    serve(bundle)
    tag = tag_of(rows, bundle)
    until(lambda: all(row.failed for row in shown(queries, tag)))  # although no watcher was there
    assert ended(watcher, rows, bundle)["s"] == "timed_out"


def test_a_script_whose_run_was_cancelled_is_aborted(
    script: Script, serve: Serve, rows: Rows, watcher: QueryWatcher, queries: Queries
) -> None:
    bundle = script(f"SELECT 1; {WAIT}")
    serve(bundle)
    tag = tag_of(rows, bundle)
    until(lambda: len(shown(queries, tag)) == 3)
    watcher.turn()
    rows.sql("delete from engine.bundle where id = %s", bundle)  # a cancel, folded
    assert watcher.turn().reaped > 0
    until(lambda: not any(row.running for row in shown(queries, tag)))


def test_a_script_that_somebody_owns_is_not_reaped(
    script: Script, serve: Serve, rows: Rows, watcher: QueryWatcher, queries: Queries
) -> None:
    bundle = script(WAIT)
    serve(bundle)
    tag = tag_of(rows, bundle)
    watcher.turn()
    rows.release(bundle)  # its report is not folded yet
    watcher.turn()
    assert shown(queries, tag)[0].running


def test_a_script_that_the_history_does_not_know_is_a_loss(
    script: Script, serve: Serve, rows: Rows, watcher: QueryWatcher
) -> None:
    bundle = script(WAIT)
    serve(bundle)
    rows.sql("update engine.bundle set job_name = 'freshet/nobody/knows'")
    watcher.turn()
    assert rows.exists(bundle)  # it may not be shown yet
    rows.sql("update engine.bundle set submitted_at = submitted_at - interval '61 s'")
    outcome = ended(watcher, rows, bundle)
    assert (outcome["s"], outcome["x"], outcome["e"]["class"]) == ("lost", True, "platform")


def test_a_failure_inside_snowflake_charges_no_retry(
    script: Script, serve: Serve, rows: Rows, watcher: QueryWatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = script("SELECT 1")
    serve(bundle)
    tagged = watcher._queries.tagged

    def failing(tags: Any) -> list[QueryRow]:
        from dataclasses import replace

        return [
            replace(row, status="FAILED_WITH_INCIDENT", code=603, message="Processing aborted") for row in tagged(tags)
        ]

    monkeypatch.setattr(watcher._queries, "tagged", failing)
    outcome = ended(watcher, rows, bundle)
    assert (outcome["s"], outcome["x"]) == ("lost", True)


def test_an_outage_of_snowflake_hands_the_script_back_and_fails_nothing(
    script: Script, serve: Serve, worker: Supervisor
) -> None:
    worker.query_launchers["snowflake"]._queries = _Unreachable()
    (outcome,) = serve(script("SELECT 1"))
    assert outcome["s"] == "handed_back"


class _Unreachable:
    def tagged(self, *_: object) -> None:
        raise SnowflakeUnreachableError("Snowflake can't be reached.")

    def close(self) -> None: ...


def test_many_scripts_cost_one_question_a_turn(
    script: Script, serve: Serve, watcher: QueryWatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        serve(script(WAIT))
    watcher.turn()
    statements: list[str] = []
    execute = watcher._queries._session.execute
    monkeypatch.setattr(
        watcher._queries._session, "execute", lambda sql, parameters=None: [statements.append(sql), execute(sql)][1]
    )
    assert watcher.turn().in_flight == 3
    assert len(statements) == 1


def test_an_idle_watch_asks_snowflake_nothing(watcher: QueryWatcher, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(watcher._queries, "_session", None)
        assert watcher.turn().in_flight == 0
        watcher._reaped_at, watcher._worked_at = watcher._reaped_at - REAP_EVERY, float("-inf")
        assert watcher.turn().in_flight == 0


def test_what_workers_left_behind_that_are_all_gone_is_aborted_a_minute_after_the_start(
    watcher: QueryWatcher, rows: Rows, queries: Queries
) -> None:
    tag = query_tag(rows.one("select id from engine.installation"), uuid4(), "t", "", 1)
    queries.start(WAIT, tag, Place(), several=False)
    stranger = query_tag("OTHER", uuid4(), "t", "", 1)
    queries.start(WAIT, stranger, Place(), several=False)
    assert watcher.turn().reaped == 0
    watcher._reaped_at -= REAP_EVERY
    assert watcher.turn().reaped >= 1  # and what other tests have left
    until(lambda: not shown(queries, tag)[0].running)
    assert shown(queries, stranger)[0].running


def test_a_worker_without_the_connection_hands_the_script_back(script: Script, serve: Serve) -> None:
    (outcome,) = serve(script("SELECT 1", on="elsewhere"))
    assert outcome["s"] == "handed_back"
    assert "no connection elsewhere" in outcome["e"]["message"]


def test_the_thread_ends_scripts_by_itself(settings: WorkerSettings, script: Script, rows: Rows, bus: Bus) -> None:
    with served(settings) as worker:
        worker.watch = None
        bundle = script("SELECT 7 AS seven")
        bus.publish([Message(queue="q", bundle_id=bundle)])
        until(lambda: worker.once().did)
        until(lambda: not rows.exists(bundle))
        assert [outcome["r"] for outcome in rows.reports(bundle)] == [[{"seven": 7}]]
        for launcher in worker.query_launchers.values():
            launcher._queries.close()


def test_named_connections_are_a_snowflake_account_or_a_postgres_server(
    settings: WorkerSettings, emulator: EmulatorProcess, empty_database: str, script: Script, rows: Rows, bus: Bus,
    tmp_path: Path,
) -> None:  # fmt: skip
    file = tmp_path / "connections.toml"
    file.write_text(
        f"""
        [reporting]
        account = "local"
        host = "127.0.0.1"
        port = {emulator.port}
        protocol = "http"
        user = "freshet"
        password = "freshet"
        database = "FRESHET"
        schema = "PUBLIC"
        role = "REPORTER"

        [crm]
        url = "{empty_database}"
        """
    )
    alone = settings.model_copy(update={"connections": str(file), "snowflake_account": None})
    with watched_by_hand_without_jobs(alone) as (worker, watches):
        assert {"sql", "sql@reporting", "sql@crm"} <= set(worker.queue_worker.queue_names())
        (watch,) = watches
        there = script("SELECT CURRENT_ROLE() AS role", on="reporting")
        text = "create table t (v jsonb); insert into t values (:payload); select v -> 'p' as v from t"
        other = script(text, on="crm", payload={"a": 1})
        for bundle in (there, other):
            bus.publish([Message(queue="q", bundle_id=bundle)])
            until(lambda: worker.once().did)
        assert ended(watch, rows, there)["r"] == [{"role": "REPORTER"}]
        assert [outcome["r"] for outcome in rows.reports(other)] == [[{"v": {"a": 1}}]]


@contextmanager
def watched_by_hand_without_jobs(settings: WorkerSettings) -> Iterator[tuple[Supervisor, list[QueryWatcher]]]:
    from freshet_worker.main import build

    worker = build(settings)
    watches = list(worker.query_watches)
    worker.query_watches.clear()
    yield worker, watches
    worker.close()
    for watch in watches:
        watch.end()
    for launcher in worker.query_launchers.values():
        launcher._queries.close()
    worker.store._database.close()
    worker.bus.close()


@given(st.uuids(), st.integers(1, 9999))
def test_a_tag_tells_its_run(run: UUID, attempt: int) -> None:
    tag = query_tag("ABC", run, "documents.part", "3.17", attempt)
    assert run_of_tag(tag, tag_prefix("ABC")) == run
    assert run_of_tag(tag, tag_prefix("AB")) is None
    assert run_of_tag("freshet/ABC/x", tag_prefix("ABC")) is None
    assert tag != query_tag("ABC", uuid4(), "documents.part", "3.17", attempt)
