"""Claims and their ends: the fence."""

from uuid import uuid4

import orjson
import psycopg
import pytest
from tests.worker.rows import SHIFT, Rows

from freshet.domain.errors import ClaimLostError
from freshet.storage.worker_store import Times, WorkerRow, WorkerStore


def outcomes(task: int, indexes: range, verdict: str = "succeeded") -> list[dict[str, object]]:
    return [{"i": task << SHIFT | index, "a": 1, "s": verdict, "r": index} for index in indexes]


def test_a_bundle_is_claimed_once(rows: Rows, store: WorkerStore) -> None:
    bundle = rows.bundle(rows.task(rows.run()))
    assert store.claim(bundle, "w1", uuid4()) is not None
    assert store.claim(bundle, "w2", uuid4()) is None


def test_a_due_or_missing_bundle_is_not_claimed(rows: Rows, store: WorkerStore) -> None:
    bundle = rows.bundle(rows.task(rows.run()))
    rows.sql("update engine.bundle set published_at = null, due_at = now() where id = %s", bundle)
    assert store.claim(bundle, "w1", uuid4()) is None
    assert store.claim(bundle + 1000, "w1", uuid4()) is None


def test_a_claim_brings_each_item_its_value(rows: Rows, store: WorkerStore) -> None:
    task = rows.task(rows.run(params={"p": 1}), values=["a", {"b": None}, None])
    claimed = store.claim(rows.bundle(task, [2, 0, 1]), "w1", uuid4())
    assert claimed is not None
    assert claimed.document["values"] == [None, "a", {"b": None}]
    assert claimed.document["run"]["params"] == {"p": 1}
    assert claimed.document["mapped"] is True


def test_a_claim_brings_indexes_and_results_of_items(rows: Rows, store: WorkerStore) -> None:
    run = rows.run()
    by_index = rows.task(run, "a", total=9, source_kind="index")
    claimed = store.claim(rows.bundle(by_index, [7, 8]), "w1", uuid4())
    assert claimed is not None
    assert claimed.document["values"] == [7, 8]
    rows.sql(
        "update engine.work_item set state = 'succeeded', result = '\"seven\"', finished_at = now() where id = %s",
        by_index << SHIFT | 7,
    )
    by_item = rows.task(run, "b", total=9, source_kind="item", source=by_index)
    claimed = store.claim(rows.bundle(by_item, [7, 8]), "w1", uuid4())
    assert claimed is not None
    assert claimed.document["values"] == ["seven", None]


def test_a_claim_brings_the_parents_and_the_element(rows: Rows, store: WorkerStore) -> None:
    run = rows.run()
    documents = rows.task(run, "documents", kind="map", values=["first", "second"])
    scope = documents << SHIFT | 1
    plain = rows.task(run, "documents.split", index_path="1", scope=scope, state="succeeded")
    rows.result(plain, {"x": 1})
    wide = rows.task(run, "documents.part", index_path="1", scope=scope, values=[1, 2, 3], state="succeeded")
    skipped = rows.task(run, "documents.gone", index_path="1", scope=scope, state="skipped", total=1)
    assert skipped
    rowed = rows.task(run, "documents.rows", index_path="1", scope=scope, state="succeeded")
    rows.sql(
        "insert into engine.work_item (id, state, row_count, finished_at) values (%s, 'succeeded', 5, now())",
        rowed << SHIFT,
    )
    task = rows.task(
        run,
        "documents.whole",
        index_path="1",
        scope=scope,
        parents=["documents.split", "documents.part", "documents.gone", "documents.rows"],
    )
    claimed = store.claim(rows.bundle(task), "w1", uuid4())
    assert claimed is not None
    assert claimed.document["element"] == "second"
    assert claimed.document["parents"] == {
        "split": {"state": "succeeded", "kind": "process", "value": {"x": 1}},
        "part": {"state": "succeeded", "kind": "process", "results": {"kind": "items", "task_run": wide, "total": 3}},
        "gone": {"state": "skipped", "kind": "process", "value": None},
        "rows": {
            "state": "succeeded",
            "kind": "process",
            "results": {"kind": "rows", "source": rowed << SHIFT, "total": 5},
        },
    }
    assert claimed.document["task"]["index_path"] == "1"


def test_a_claim_commits_its_fact(rows: Rows, store: WorkerStore) -> None:
    bundle = rows.bundle(rows.task(rows.run(), values=[0] * 3), [0, 2])
    claimed = store.claim(bundle, "w1", uuid4())
    assert claimed is not None
    (fact,) = rows.one("select body from engine.outbox where id = %s", claimed.fact[0])
    assert fact["type"] == "freshet.item.running.v1"
    assert fact["items"] == [[0, 1, None, None], [2, 1, None, None]]
    assert fact["claim"] == str(claimed.claim)


def test_a_claim_expires_after_the_sum_of_its_timeouts(rows: Rows, store: WorkerStore) -> None:
    bundle = rows.bundle(rows.task(rows.run(), values=[0] * 3), [0, 1, 2], timeout_s=2.5)
    store.claim(bundle, "w1", uuid4())
    assert (
        rows.one("select extract(epoch from expires_at - claimed_at)::float from engine.bundle where id = %s", bundle)
        == 12.5
    )


def test_finishing_goes_on_where_it_stopped_and_ends_with_the_last_item(rows: Rows, store: WorkerStore) -> None:
    task = rows.task(rows.run(), values=[0] * 5)
    bundle, claim = rows.bundle(task, range(5)), uuid4()
    store.claim(bundle, "w1", claim)
    assert store.finish(bundle, claim, outcomes(task, range(2))) is False
    assert store.finish(bundle, claim, outcomes(task, range(2, 4))) is False
    assert store.finish(bundle, claim, outcomes(task, range(4, 5))) is True
    assert not rows.exists(bundle)
    assert [outcome["r"] for outcome in rows.reports(bundle)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("indexes", [range(0), range(1, 2), range(1, 3), range(4)])
def test_outcomes_that_are_not_the_next_ones_change_nothing(rows: Rows, store: WorkerStore, indexes: range) -> None:
    task = rows.task(rows.run(), values=[0] * 3)
    bundle, claim = rows.bundle(task, range(3)), uuid4()
    store.claim(bundle, "w1", claim)
    with pytest.raises(ClaimLostError):
        store.finish(bundle, claim, outcomes(task, indexes))
    assert rows.reports() == []
    assert rows.one("select done from engine.bundle where id = %s", bundle) == 0


def test_a_late_finish_changes_nothing(rows: Rows, store: WorkerStore) -> None:
    task = rows.task(rows.run())
    bundle, claim = rows.bundle(task), uuid4()
    store.claim(bundle, "w1", claim)
    rows.release(bundle)
    with pytest.raises(ClaimLostError):
        store.finish(bundle, claim, outcomes(task, range(1)))
    assert [outcome["s"] for outcome in rows.reports()] == ["lost"]


def test_a_finish_under_another_claim_changes_nothing(rows: Rows, store: WorkerStore) -> None:
    task = rows.task(rows.run(), values=[0] * 2)
    bundle = rows.bundle(task, range(2))
    store.claim(bundle, "w1", uuid4())
    for indexes in (range(1), range(2)):
        with pytest.raises(ClaimLostError):
            store.finish(bundle, uuid4(), outcomes(task, indexes))
    assert rows.reports() == []


def test_a_watch_has_a_name_and_no_claimant(rows: Rows, store: WorkerStore) -> None:
    task = rows.task(rows.run(), kind="job_service")
    bundle, claim = rows.bundle(task, timeout_s=9), uuid4()
    store.claim(bundle, "w1", claim)
    with pytest.raises(ClaimLostError):
        store.watch(bundle, claim)  # no job name yet: nobody could find the job again
    store.store_job_name(bundle, claim, "FRESHET_1")
    outbox, _ = store.watch(bundle, claim)
    assert rows.one("select body -> 0 ->> 'type' from engine.outbox where id = %s", outbox) == "freshet.item.waiting.v1"
    (watch,) = store.watched()
    assert (watch["id"], watch["job_name"], watch["task"], watch["attempts"]) == (bundle, "FRESHET_1", "t", [1])
    assert store.claim(bundle, "w2", uuid4()) is None
    with pytest.raises(ClaimLostError):
        store.finish(bundle, claim, outcomes(task, range(1)))
    with pytest.raises(ClaimLostError):
        store.store_job_name(bundle, claim, "FRESHET_2")


def test_a_job_is_finished_once(rows: Rows, store: WorkerStore) -> None:
    task = rows.task(rows.run(), kind="job_service")
    bundle, claim = rows.bundle(task), uuid4()
    store.claim(bundle, "w1", claim)
    store.store_job_name(bundle, claim, "FRESHET_1")
    assert store.finish_job(bundle, "FRESHET_1", outcomes(task, range(1))) is False  # not submitted yet
    store.watch(bundle, claim)
    assert store.finish_job(bundle, "FRESHET_2", outcomes(task, range(1))) is False
    assert store.finish_job(bundle, "FRESHET_1", outcomes(task, range(1))) is True
    assert store.finish_job(bundle, "FRESHET_1", outcomes(task, range(1))) is False
    assert len(rows.reports()) == 1


def test_a_worker_registers_reports_its_times_and_comes_back(rows: Rows, store: WorkerStore) -> None:
    worker = WorkerRow(id="w1", lock_key=42, hostname="h", pid=1, queues=("a", "b"))
    started, fact = store.register(worker, Times(busy_s=0, idle_s=0.25, wall_s=0.25))
    assert b"freshet.worker.available.v1" in fact[1]
    report = store.report_times("w1", "busy", Times(busy_s=1.5, idle_s=0.5, wall_s=2.0), event="busy")
    assert report is not None
    assert b"freshet.worker.busy.v1" in report[1]
    again, fact = store.register(worker, Times(busy_s=1.5, idle_s=12.5, wall_s=14.0))
    assert again == started
    assert orjson.loads(fact[1])[0]["wall_s"] == 14.0  # as of now, not of its last report
    assert rows.one("select wall_s from engine.worker") == 14.0
    assert store.report_times("nobody", "busy", Times(busy_s=0, idle_s=0, wall_s=0), event="busy") is None


def test_the_witness_lock_lives_as_long_as_its_session(rows: Rows, store: WorkerStore) -> None:
    witness = store.witness(-(2**62) - 12345)
    assert witness.take()
    assert witness.holds()
    other = store.witness(-(2**62) - 12345)
    assert not other.take()
    assert not other.holds()
    rows.sql(
        "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted"
        " and database = (select oid from pg_database where datname = current_database())"
    )
    while not other.take():
        pass  # ends with pytest's timeout if the lock outlives its session
    while not witness.ended():
        pass
    other.close()
    witness.close()


def test_pages_hold_what_is_there_by_index(rows: Rows, store: WorkerStore) -> None:
    task = rows.task(rows.run(), values=[0] * 9)
    for index in (0, 2, 5):
        rows.result(task, index * 10, index)
    assert store.page("items", task, 0, 3) == {0: 0, 2: 20}
    assert store.page("items", task, 3, 100) == {5: 50}
    rows.values(77, list("abcdef"))
    assert store.page("rows", 77, 2, 2) == {2: "c", 3: "d"}


def test_the_role_of_user_code_may_do_nothing_in_the_engine_but_finish(rows: Rows, store: WorkerStore) -> None:
    task = rows.task(rows.run())
    bundle, claim = rows.bundle(task), uuid4()
    store.claim(bundle, "w1", claim)
    rows.sql("set role freshet_process")
    for text in (
        "select * from engine.bundle",
        "delete from engine.run",
        "select * from log.attempt_log",
        "select engine.finish(1, gen_random_uuid(), '[]')",
        "select engine.claim(1, 'w', gen_random_uuid())",
        "select * from public.freshet_migration",
        "create table engine.mine (a int)",
        "create schema mine",
    ):
        with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidSchemaName)):
            rows.sql(text)
    with pytest.raises(psycopg.Error) as refused:
        rows.sql(
            "select engine.finish_in_transaction(%s, %s, %s)",
            bundle,
            claim,
            psycopg.types.json.Jsonb(outcomes(task, range(1))),
        )
    assert refused.value.sqlstate == "FR002"
    with rows.session.transaction():
        rows.sql("select set_config('freshet.claim', %s, true)", str(claim))
        assert rows.one(
            "select engine.finish_in_transaction(%s, %s, %s)",
            bundle,
            claim,
            psycopg.types.json.Jsonb(outcomes(task, range(1))),
        )


def test_owner_and_role_use_what_the_other_creates(rows: Rows) -> None:
    rows.sql("create table made_by_owner (id serial, a int)")
    rows.sql("set role freshet_process")
    rows.sql("insert into made_by_owner (a) values (1)")
    rows.sql("create table made_by_process (id serial, a int)")
    rows.sql("set role none")
    # A superuser may do anything, so ask for the right itself.
    assert rows.one(
        "select has_table_privilege(relowner, 'made_by_process', 'insert') from pg_class"
        " where relname = 'made_by_owner'"
    )
    assert rows.one(
        "select array_to_string(relacl, ',') like '%%=arwd%%' from pg_class where relname = 'made_by_process'"
    )


@pytest.mark.parametrize("analysed", ["never", "when empty"])
def test_claim_and_finish_cost_the_same_whatever_the_width(rows: Rows, store: WorkerStore, analysed: str) -> None:
    run = rows.run()
    if analysed == "when empty":
        rows.sql("analyze")
    store.claim(rows.bundle(rows.task(run, "warm", values=[0]), [0]), "w", uuid4())  # plans made while tables are tiny
    touched = {}
    for width in (1_000, 100_000):
        task = rows.task(run, f"t{width}", total=width, source_kind="value")
        rows.sql("update engine.task_run set source = -id where id = %s", task)
        rows.sql("insert into engine.value select %s, n, '1' from generate_series(0, %s - 1) n", -task, width)
        rows.sql(
            "insert into engine.work_item (id) select %s::bigint << 24 | n from generate_series(0, %s - 1) n",
            task,
            width,
        )
        rows.sql(
            "insert into engine.bundle (run_id, partition, task_run_id, queue, priority, turn, items, attempts)"
            " select %s, 0, %s, 'q', 1, 0, array[%s::bigint << 24 | n], '{1}'"
            " from generate_series(1, %s / 10) n",
            run,
            task,
            task,
            width,
        )
        bundle, claim = rows.bundle(task, range(100, 200)), uuid4()
        claimed = buffers(rows, "select engine.claim(%s, 'w', %s)", bundle, claim)
        body = psycopg.types.json.Jsonb(outcomes(task, range(100, 200)))
        finished = buffers(rows, "select engine.finish(%s, %s, %s)", bundle, claim, body)
        touched[width] = claimed, finished
    assert touched[100_000][0] < touched[1_000][0] * 2
    assert touched[100_000][1] < touched[1_000][1] * 2


def buffers(rows: Rows, text: str, *values: object) -> int:
    (plan,) = rows.one("explain (analyze, buffers, format json) " + text, *values)
    return int(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])


def test_an_owner_who_is_no_superuser_migrates_and_becomes_the_role(empty_database: str, postgres_url: str) -> None:
    from urllib.parse import urlsplit, urlunsplit

    from freshet.domain.errors import FreshetError
    from freshet.storage import migrate
    from freshet.storage.session import ProcessSession, Turn

    owner = f"owner_{uuid4().hex[:12]}"
    parts = urlsplit(empty_database)
    place = parts.netloc.rpartition("@")[2]
    mine = urlunsplit(parts._replace(netloc=f"{owner}:secret@{place}"))
    with psycopg.connect(empty_database, autocommit=True) as admin:
        admin.execute(f"create role {owner} login password 'secret'")
        admin.execute(f"alter database {admin.info.dbname} owner to {owner}")
        admin.execute(
            "do $$ begin create role freshet_process nologin; exception when duplicate_object then null; end $$"
        )
        with pytest.raises(FreshetError, match="freshet_process"):
            migrate(mine)
        admin.execute(f"grant freshet_process to {owner}")
        try:
            migrate(mine)
            migrate(mine)
            session = ProcessSession(mine)
            session.open_turn(Turn(bundle=1, claim=uuid4(), before_begin=lambda: None))
            assert session.connection.execute("select current_user::text").fetchone() == ("freshet_process",)
            session.connection.execute("create table made_by_process (a int)")
            session.close()
        finally:
            admin.execute(f"reassign owned by {owner} to current_user")
            admin.execute(f"drop owned by {owner}")
            admin.execute(f"drop role {owner}")
