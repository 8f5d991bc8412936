"""`commit="bundle"`: items of a bundle share transactions, and each still happens once."""

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from tests.worker.conftest import Serve
from tests.worker.rows import Rows
from tests.worker.test_process import beside, until

from freshet.execution.supervisor import Supervisor

Work = Callable[..., int]


def states(outcomes: list[dict[str, Any]]) -> list[str]:
    return [outcome["s"] for outcome in outcomes]


def effects(rows: Rows) -> list[str]:
    return [row["value"] for row in rows.sql("select value from effect order by value")]


def transactions(rows: Rows) -> int:
    # Subtransactions have ids of their own; what was committed at one time was committed together.
    return rows.one("select count(distinct body) from engine.report")


def test_items_that_write_share_one_commit(work: Work, serve: Serve, rows: Rows) -> None:
    assert states(serve(work("share", list(range(40))))) == ["succeeded"] * 40
    assert effects(rows) == sorted(str(each) for each in range(40))
    assert transactions(rows) == 1


def test_no_more_items_share_than_postgres_keeps_at_hand(work: Work, serve: Serve, rows: Rows) -> None:
    outcomes = serve(work("share", list(range(120))))
    assert [outcome["r"] for outcome in outcomes] == list(range(120))
    assert transactions(rows) == 3


def test_a_statement_is_prepared_for_those_that_share_and_for_nobody_after_them(
    work: Work, serve: Serve, rows: Rows
) -> None:
    count = "connection.execute('insert into public.effect select count(*) from pg_prepared_statements')"
    for given, prepared in [([*range(10, 15), count], "1"), ([*range(10, 15), count], "1"), ([count], "0")]:
        assert states(serve(work("share", given))) == ["succeeded"] * len(given)
        found = {row["value"] for row in rows.sql("delete from public.effect returning value")}
        assert found == {*map(str, given), prepared}


def test_items_that_do_not_write_keep_their_place_among_those_that_do(work: Work, serve: Serve, rows: Rows) -> None:
    outcomes = serve(work("share-some", [0, 2, 1, 4, 3, 6]))
    assert [outcome["r"] for outcome in outcomes] == [0, 2, 1, 4, 3, 6]
    assert effects(rows) == ["1", "3"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("raise ValueError('no')", "ValueError: no"),
        ("connection.execute('select 1/0')", "division by zero"),
        ("try: connection.execute('select 1/0')\nexcept Exception: pass", "the process went on"),
    ],
)
def test_what_a_failed_item_wrote_is_taken_back_and_nobody_elses(
    work: Work, serve: Serve, rows: Rows, bad: str, message: str
) -> None:
    outcomes = serve(work("share", [1, bad, 3]))
    assert states(outcomes) == ["succeeded", "failed", "succeeded"]
    assert message in outcomes[1]["e"]["message"]
    assert effects(rows) == ["1", "3"]
    # It could not be taken back alone: each was served again, by itself. From now on it could.
    assert transactions(rows) == 3
    rows.sql("truncate public.effect, engine.report")
    assert states(serve(work("share", [1, bad, 3]))) == ["succeeded", "failed", "succeeded"]
    assert effects(rows) == ["1", "3"]
    assert transactions(rows) == 1


def test_an_item_that_fails_before_others_have_written_costs_nobody_a_second_try(
    work: Work, serve: Serve, rows: Rows
) -> None:
    begun = "context.logger.info('begun')"
    outcomes = serve(work("share", [f"{begun}; connection.execute('select 1/0')", begun, begun]))
    assert states(outcomes) == ["failed", "succeeded", "succeeded"]
    logs = rows.sql("select string_agg(text, '') as text from log.attempt_log group by item")
    assert [row["text"].count("INFO") for row in logs] == [1, 1, 1]


def test_an_item_that_fails_without_having_written_costs_nobody_a_second_try(
    work: Work, serve: Serve, rows: Rows
) -> None:
    outcomes = serve(work("share-some", [1, "no number", 3]))
    assert states(outcomes) == ["succeeded", "failed", "succeeded"]
    assert transactions(rows) == 1


def test_an_item_that_takes_its_child_with_it_fails_alone(work: Work, serve: Serve, rows: Rows) -> None:
    outcomes = serve(work("share", [1, 2, "os._exit(3)", 4]))
    assert states(outcomes) == ["succeeded", "succeeded", "failed", "succeeded"]
    assert "with exit code 3" in outcomes[2]["e"]["message"]
    assert effects(rows) == ["1", "2", "4"]


def test_an_item_that_overruns_its_timeout_fails_alone(work: Work, serve: Serve, rows: Rows) -> None:
    outcomes = serve(work("share", [1, 2, "time.sleep(3600)", 4], timeout_s=0.5))
    assert states(outcomes) == ["succeeded", "succeeded", "timed_out", "succeeded"]
    assert effects(rows) == ["1", "2", "4"]


def test_the_time_of_each_item_is_its_own(work: Work, serve: Serve) -> None:
    # Together they take longer than one may.
    assert states(serve(work("share", ["time.sleep(0.1)"] * 8, timeout_s=0.5))) == ["succeeded"] * 8


def test_what_only_the_commit_refuses_fails_the_item_that_wrote_it(work: Work, serve: Serve, rows: Rows) -> None:
    rows.sql("create table public.once (value int unique deferrable initially deferred)")
    rows.sql("grant insert on public.once to freshet_process")
    again = "connection.execute('insert into public.once values (7)')"
    outcomes = serve(work("share", [1, again, again, 4]))
    assert states(outcomes) == ["succeeded", "succeeded", "failed", "succeeded"]
    assert "duplicate key" in outcomes[2]["e"]["message"]
    assert rows.one("select count(*) from once") == 1
    assert effects(rows) == sorted(["1", again, "4"])


@pytest.mark.parametrize("end", ["commit", "rollback", "commit; begin", "commit; begin; select 1/0"])
def test_an_item_that_ends_the_transaction_fails_all_that_shared_it_and_no_other(
    work: Work, serve: Serve, end: str
) -> None:
    outcomes = serve(work("share", [1, f"connection.execute({end!r})", 3]))
    assert states(outcomes) == ["ended_transaction", "ended_transaction", "succeeded"]
    assert "What it committed stays" in outcomes[0]["e"]["message"]


def test_nothing_of_a_lost_bundle_is_committed(work: Work, serve: Serve, rows: Rows) -> None:
    bundle = work("share", [1, "connection.execute('select pg_advisory_xact_lock(4713)')", 3])
    rows.sql("select pg_advisory_lock(4713)")

    def lose() -> None:
        other = Rows(rows.url)
        until(lambda: other.one("select count(*) from pg_locks where locktype = 'advisory' and not granted") == 1)
        other.sql("delete from engine.bundle where id = %s", bundle)
        other.close()
        rows.sql("select pg_advisory_unlock(4713)")

    join = beside(lose)
    assert serve(bundle) == []
    join()
    assert effects(rows) == []


def test_a_commit_that_outlives_its_child_counts(work: Work, serve: Serve, rows: Rows, worker: Supervisor) -> None:
    # The second item waits for the test, which has locked the bundle's row by the time that all three commit.
    bundle = work("share", [1, "connection.execute('select pg_advisory_xact_lock(4714)')", 3])
    rows.sql("select pg_advisory_lock(4714)")
    here = "datname = current_database()"
    advisory = f"select count(*) from pg_stat_activity where wait_event = 'advisory' and {here}"
    committing = f"select max(pid) from pg_stat_activity where wait_event = 'transactionid' and {here}"

    def kill() -> None:
        other, third = Rows(rows.url), Rows(rows.url)
        until(lambda: third.one(advisory))
        with other.session.transaction():
            other.sql("select id from engine.bundle where id = %s for update", bundle)
            rows.sql("select pg_advisory_unlock(4714)")
            session = until(lambda: third.one(committing))
            os.kill(worker.nursery.child().pid, signal.SIGKILL)
            # Postgres looks for a client's end once a second: until then the dead child's session may still commit,
            # and the next child waits behind it.
            until(lambda: third.one(advisory) or third.one(committing) != session)
        other.close()
        third.close()

    join = beside(kill)
    assert states(serve(bundle)) == ["succeeded"] * 3
    join()
    assert effects(rows) == sorted(["1", "connection.execute('select pg_advisory_xact_lock(4714)')", "3"])


def test_values_that_are_yielded_are_committed_with_the_rest(work: Work, serve: Serve, rows: Rows) -> None:
    outcomes = serve(work("share-yield", [2, 3]))
    assert [outcome["n"] for outcome in outcomes] == [2, 3]
    assert rows.one("select count(*) from engine.value where value ? 'shared'") == 5


def test_what_is_printed_is_kept_by_item_also_when_it_is_printed_again(work: Work, serve: Serve, rows: Rows) -> None:
    serve(work("share", ["print('one')", "print('two'); os._exit(3)", "print('three')"]))
    logs = {
        row["item"]: row["text"]
        for row in rows.sql(
            "select item, string_agg(text, '' order by part) as text from log.attempt_log group by item"
        )
    }
    assert logs == {"0": "one\none\n", "1": "two\ntwo\n", "2": "three\n"}
