"""Processes end to end: a real child, Postgres and Redis."""

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.worker.rows import SHIFT, Rows

from freshet.execution.supervisor import Supervisor

Work = Callable[..., int]
Serve = Callable[..., list[dict[str, Any]]]
DEADLINE = 30.0


def states(outcomes: list[dict[str, Any]]) -> list[str]:
    return [outcome["s"] for outcome in outcomes]


def effects(rows: Rows) -> list[str]:
    return sorted(row["value"] for row in rows.sql("select value from effect"))


def until(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < end, "the condition did not come true in time"
        threading.Event().wait(0.01)
    return found


def beside(test: Callable[[], None]) -> Callable[[], None]:
    """Run part of a test beside the worker; what it finds is raised in the end."""
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            test()
        except BaseException as error:  # noqa: BLE001  (an assertion's too)
            errors.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()

    def join() -> None:
        thread.join(DEADLINE)
        if errors:
            raise errors[0]

    return join


# --- results ---------------------------------------------------------------------------------------------------------

#: Locks of this test's own database: other tests wait for the same keys in theirs.
HERE = "database = (select oid from pg_database where datname = current_database())"


def test_a_bundle_is_worked_through_in_order(work: Work, serve: Serve, rows: Rows) -> None:
    values = [None, 1, "ä", {"a": [1.5, True]}, 2**63]
    bundle = work("echo", values)
    outcomes = serve(bundle)
    assert [outcome["r"] for outcome in outcomes] == values
    assert states(outcomes) == ["succeeded"] * 5
    assert not rows.exists(bundle)
    assert all(outcome["d"] >= 0 for outcome in outcomes)


def test_yields_become_rows(work: Work, serve: Serve, rows: Rows) -> None:
    first, second, nothing = serve(work("yield", [3, 2500, 0]))
    assert (first["n"], second["n"], nothing["n"]) == (3, 2500, 0)
    assert "r" not in first
    assert rows.sql("select value from engine.value where source = %s order by idx", first["i"]) == [
        {"value": {"n": 0}},
        {"value": {"n": 1}},
        {"value": {"n": 2}},
    ]
    assert rows.one("select count(*) from engine.value where source = %s", second["i"]) == 2500


def test_a_value_that_cannot_be_yielded_takes_all_back(work: Work, serve: Serve, rows: Rows) -> None:
    (outcome,) = serve(work("bad-yield", [0]))
    assert outcome["s"] == "failed"
    assert outcome["e"]["message"] == "Value 1 that task t yields can't be kept: it is nan, which JSON does not have."
    assert rows.one("select count(*) from engine.value where source = %s", outcome["i"]) == 0


def test_a_fan_in_is_a_sequence_over_pages(work: Work, serve: Serve, rows: Rows) -> None:
    document = {
        "name": "fan",
        "tasks": {
            "wide": {"process": "echo@1.0.0", "for_each": "1200"},
            "all": {"process": "sum@1.0.0", "after": ["wide"]},
        },
    }
    run = rows.run(rows.workflow(document))
    wide = rows.task(run, "wide", values=list(range(1200)), state="succeeded")
    rows.sql(
        "insert into engine.work_item (id, state, result, finished_at)"
        " select %s::bigint << 24 | n, 'succeeded', to_jsonb(n), now() from generate_series(0, 1199) n",
        wide,
    )
    (outcome,) = serve(rows.bundle(rows.task(run, "all", parents=["wide"])))
    assert outcome["r"] == {"len": 1200, "sum": sum(range(1200)), "last": 1199, "part": [1, 2]}


def test_the_payload_follows_the_parents(work: Work, serve: Serve, rows: Rows) -> None:
    document = {
        "name": "graph",
        "params": {"p": {"type": "integer", "default": 1}},
        "tasks": {
            "one": {"process": "echo@1.0.0"},
            "two": {"process": "echo@1.0.0", "run_if": "all_done"},
            "both": {"process": "echo@1.0.0", "after": ["one", "two"], "run_if": "all_done"},
            "single": {"process": "echo@1.0.0", "after": ["one"]},
            "given": {"process": "echo@1.0.0", "after": ["one"], "input": "{'x': tasks.one.result.a + params.p}"},
            "wrong": {"process": "echo@1.0.0", "after": ["one"], "input": "tasks.one.result.nothing.more"},
        },
        "finally": {"last": {"process": "echo@1.0.0"}},
    }
    run = rows.run(rows.workflow(document), params={"p": 41})
    one = rows.task(run, "one", state="succeeded")
    rows.result(one, {"a": 1})
    rows.task(run, "two", state="failed")

    def payload(task: str, *parents: str) -> dict[str, Any]:
        (outcome,) = serve(rows.bundle(rows.task(run, task, parents=parents)))
        return outcome

    assert payload("both", "one", "two")["r"] == {"one": {"a": 1}, "two": None}
    assert payload("single", "one")["r"] == {"a": 1}
    assert payload("given", "one")["r"] == {"x": 42}
    assert "`input` of task wrong can't be evaluated" in payload("wrong", "one")["e"]["message"]
    assert payload("last")["r"]["run_id"] == str(run)


def test_params_are_the_payload_of_a_task_without_parents(work: Work, serve: Serve, rows: Rows) -> None:
    document = {
        "name": "root",
        "params": {"p": {"type": "integer", "default": 1}},
        "tasks": {
            "t": {"process": "evaluate@1.0.0", "input": "'[context.workflow, context.task, context.item]'"},
            "u": {"process": "echo@1.0.0"},
        },
    }
    run = rows.run(rows.workflow(document), params={"p": 7})
    assert serve(rows.bundle(rows.task(run, "u")))[0]["r"] == {"p": 7}
    assert serve(rows.bundle(rows.task(run, "t")))[0]["r"] == ["root", "t", ""]


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("float('nan')", "The result of task t can't be kept: it is nan, which JSON does not have."),
        ("'a\\0b'", "The result of task t can't be kept: it is text with a NUL character, which Postgres can't keep."),
        (
            "'x' * (1 << 20)",
            "The result of task t can't be kept: it has 1,048,578 bytes as JSON, and the limit is 1,048,576.",
        ),
        ("{1}", "The result of task t can't be kept: it is of type set, which JSON does not have."),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("sys.exit(0)", "SystemExit: 0"),
        ("os._exit(0)", "The process ended its worker's child with exit code 0."),
        ("os.kill(os.getpid(), 11)", "The process ended its worker's child by signal SIGSEGV."),
        ("ctypes.string_at(0)", "The process ended its worker's child by signal SIGSEGV."),
        ("os.killpg(0, 9)", "The process ended its worker's child by signal SIGKILL."),
    ],
)
def test_an_item_fails_alone_with_a_sentence(work: Work, serve: Serve, expression: str, sentence: str) -> None:
    before, bad, after = serve(work("evaluate", ["1", expression, "3"]))
    assert (before["r"], after["r"]) == (1, 3)
    assert (bad["s"], bad["e"]["class"], bad["e"]["message"]) == ("failed", "user", sentence)


def test_many_deaths_in_one_bundle_cost_only_their_items(work: Work, serve: Serve) -> None:
    outcomes = serve(work("die-by-turns", ["die", 1, "die", "die", 4, "die"]))
    assert states(outcomes) == ["failed", "succeeded", "failed", "failed", "succeeded", "failed"]


def test_nested_json_that_postgres_refuses_fails_its_item_alone(work: Work, serve: Serve) -> None:
    deep = "eval('[' * 150 + ']' * 150) and None or {'k' * 300000: 1}"  # jsonb has no key beyond 268,435,455 bytes
    outcomes = serve(work("evaluate", ["1", deep, "3"]))
    assert [outcome.get("r") for outcome in outcomes][::2] == [1, 3]


# --- effects ---------------------------------------------------------------------------------------------------------


def test_what_is_written_is_committed_with_its_report(work: Work, serve: Serve, rows: Rows) -> None:
    outcomes = serve(work("odd", range(7)))
    assert states(outcomes) == ["succeeded"] * 7
    assert [outcome["r"] for outcome in outcomes] == list(range(7))
    assert effects(rows) == ["1", "3", "5"]


def test_what_a_failed_item_wrote_is_taken_back(work: Work, serve: Serve, rows: Rows) -> None:
    good, bad, last = serve(work("do", ["0", "1 / 0", "1"]))
    assert states([good, bad, last]) == ["succeeded", "failed", "succeeded"]
    assert effects(rows) == ["0", "1"]


@pytest.mark.parametrize("end", ["commit", "rollback", "commit; begin", "COMMIT AND CHAIN", "end; select 1; begin"])
def test_ending_the_transaction_fails_the_item_at_once(work: Work, serve: Serve, rows: Rows, end: str) -> None:
    first, bad, last = serve(work("do", ["0", f"connection.execute({end!r})\nconnection.execute('select 1')", "1"]))
    assert states([first, bad, last]) == ["succeeded", "ended_transaction", "succeeded"]
    assert "What it committed stays" in bad["e"]["message"]
    assert len(effects(rows)) == (2 if end == "rollback" else 3)


def test_an_ended_transaction_fails_although_the_process_hides_it(work: Work, serve: Serve, rows: Rows) -> None:
    hidden = "try:\n  connection.execute('commit')\n  connection.execute('select 1')\nexcept Exception: pass"
    (outcome,) = serve(work("do", [hidden]))
    assert outcome["s"] == "ended_transaction"


@pytest.mark.parametrize(
    "call",
    [
        "connection.commit()",
        "connection.rollback()",
        "connection.close()",
        "connection.__enter__()",
        "setattr(connection, 'autocommit', True)",
    ],
)
def test_ending_the_transaction_by_methods_is_refused(work: Work, serve: Serve, rows: Rows, call: str) -> None:
    (outcome,) = serve(work("do", [call]))
    assert outcome["s"] == "failed"
    assert effects(rows) == []
    (caught,) = serve(work("do", [f"try:\n  {call}\nexcept Exception: pass"]))[-1:]
    assert caught["s"] == "succeeded"
    assert len(effects(rows)) == 1


def test_a_transaction_block_is_a_savepoint(work: Work, serve: Serve, rows: Rows) -> None:
    inner = (
        "with connection.transaction(): connection.execute(\"insert into effect values ('kept')\")\n"
        "try:\n"
        "  with connection.transaction():\n"
        "    connection.execute(\"insert into effect values ('gone')\")\n"
        "    raise ValueError\n"
        "except ValueError: pass"
    )
    (outcome,) = serve(work("do", [inner]))
    assert outcome["s"] == "succeeded"
    assert "gone" not in effects(rows)
    assert "kept" in effects(rows)


def test_every_way_to_a_statement_begins_the_transaction(work: Work, serve: Serve, rows: Rows) -> None:
    ways = [
        "connection.cursor().execute(\"insert into effect values ('cursor')\")",
        "connection.cursor().executemany('insert into effect values (%s)', [('many',), ('many',)])",
        "list(connection.cursor().stream(\"insert into effect values ('stream') returning 1\"))",
        "connection.cursor('named').execute('select 1').fetchall()",
        "exec(\"with connection.pipeline(): connection.execute('insert into effect values (1)')\", locals())",
        "exec(\"with connection.transaction(): connection.execute('insert into effect values (2)')\", locals())",
        "exec(\"with connection.cursor().copy('copy effect from stdin') as c: c.write_row(['copy'])\", locals())",
    ]
    texts = [f"[(connection := context.connection), {way}] and None" for way in ways]
    outcomes = serve(work("evaluate", texts))
    assert [outcome.get("e") for outcome in outcomes] == [None] * len(ways)
    assert effects(rows) == ["1", "2", "copy", "cursor", "many", "many", "stream"]


def test_an_error_that_the_process_swallowed_fails_the_item(work: Work, serve: Serve, rows: Rows) -> None:
    (outcome,) = serve(work("do", ["try: connection.execute('select 1/0')\nexcept Exception: pass"]))
    assert outcome["s"] == "failed"
    assert "the process went on" in outcome["e"]["message"]
    assert effects(rows) == []


def test_a_deferred_constraint_that_fails_at_commit_fails_the_item(work: Work, serve: Serve, rows: Rows) -> None:
    rows.sql("create table strict (a int unique deferrable initially deferred)")
    good, bad = serve(work("do", ["connection.execute('insert into strict values (1)')"] * 2))
    assert states([good, bad]) == ["succeeded", "failed"]
    assert "duplicate key" in bad["e"]["message"]
    assert len(effects(rows)) == 1


def test_serializable_transactions_commit(work: Work, serve: Serve) -> None:
    text = "connection.execute('set transaction isolation level serializable'), connection.execute('select 1')"
    text = f"[connection := context.connection, {text}] and 1"
    assert states(serve(work("evaluate", ["1", text, text]))) == ["succeeded"] * 3


def test_nothing_is_left_in_the_session_for_the_next_item(work: Work, serve: Serve, rows: Rows) -> None:
    assert [outcome["r"] for outcome in serve(work("session", [1, 2, 3]))] == ["freshet_process"] * 3
    assert rows.one(f"select count(*) from pg_locks where locktype = 'advisory' and objid = 99 and {HERE}") == 0


def test_user_code_may_do_nothing_in_the_engine(work: Work, serve: Serve) -> None:
    text = "context.connection.execute('delete from engine.report')"
    (outcome,) = serve(work("evaluate", [text]))
    assert "permission denied for table report" in outcome["e"]["message"]


def test_a_lost_claim_takes_the_effect_back(work: Work, serve: Serve, rows: Rows) -> None:
    bundle = work("hold", ["1"])
    rows.sql("select pg_advisory_lock(4711)")

    def lose() -> None:
        with Rows(rows.url).session as other:
            beside_rows = Rows(rows.url)
            until(
                lambda: beside_rows.one(f"select count(*) from pg_locks where objid = 4711 and not granted and {HERE}")
            )
            beside_rows.release(bundle)
            beside_rows.close()
            other.rollback()
        rows.sql("select pg_advisory_unlock(4711)")

    join = beside(lose)
    serve(bundle)
    join()
    assert effects(rows) == []
    assert states(rows.reports(bundle)) == ["lost"]


# --- time ------------------------------------------------------------------------------------------------------------


def test_a_try_that_hangs_in_c_code_expires_and_the_rest_goes_on(work: Work, serve: Serve, rows: Rows) -> None:
    (hung,) = serve(work("hang", [0], timeout_s=0.3))
    assert (hung["s"], hung["e"]["class"]) == ("timed_out", "timeout")
    assert hung["d"] >= 0.3
    assert effects(rows) == []
    texts = ["1", "ctypes.PyDLL(None).sleep(1000)", "re.match('(a+)+$', 'a' * 60 + 'b')", "4"]
    outcomes = serve(work("evaluate", texts, timeout_s=0.5))[-4:]
    assert states(outcomes) == ["succeeded", "timed_out", "timed_out", "succeeded"]


def test_a_timeout_kills_what_the_process_started(work: Work, serve: Serve) -> None:
    text = (
        "__import__('subprocess').Popen(['sleep', '1000']).pid and print(os.getpgid(0), flush=True) or time.sleep(1000)"
    )
    (outcome,) = serve(work("evaluate", [text], timeout_s=1.0))
    assert outcome["s"] == "timed_out"


def test_isolation_gives_each_item_a_fresh_child(work: Work, serve: Serve) -> None:
    fresh = [outcome["r"] for outcome in serve(work("pid", [1, 2, 3]))]
    assert len(set(fresh)) == 3
    warm = [outcome["r"] for outcome in serve(work("warm-pid", [1, 2, 3]))[-3:]]
    assert len(set(warm)) == 1


def test_an_item_that_writes_is_not_fenced_off_by_one_of_another_child(work: Work, serve: Serve, rows: Rows) -> None:
    # The first item's outcome is known to the supervisor and not committed when the second one's child commits.
    outcomes = serve(work("insert-apart", [None, "apart", None, "again"]))
    assert states(outcomes) == ["succeeded"] * 4
    assert rows.one("select array_agg(value order by value) from effect") == ["again", "apart"]


def test_an_item_that_writes_after_one_that_killed_its_child_commits(work: Work, serve: Serve, rows: Rows) -> None:
    text = "context.connection.execute(\"insert into public.effect values ('after')\") and 1"
    assert states(serve(work("evaluate", ["__import__('os')._exit(3)", text]))) == ["failed", "succeeded"]
    assert rows.one("select array_agg(value) from effect") == ["after"]


def test_outcomes_are_committed_while_the_bundle_goes_on(work: Work, serve: Serve, rows: Rows) -> None:
    bundle = work("evaluate", ["1", "2", "context.connection.execute('select pg_advisory_xact_lock(4712)') and 3"])
    rows.sql("select pg_advisory_lock(4712)")

    def look() -> None:
        other = Rows(rows.url)
        until(lambda: other.one("select coalesce(max(done), 0) from engine.bundle where id = %s", bundle) == 2)
        assert [outcome["r"] for outcome in other.reports(bundle)] == [1, 2]
        other.close()
        rows.sql("select pg_advisory_unlock(4712)")

    join = beside(look)
    assert [outcome["r"] for outcome in serve(bundle)][:2] == [1, 2]
    join()


def test_a_child_that_dies_idle_charges_nobody(work: Work, serve: Serve, worker: Supervisor) -> None:
    serve(work("echo", [1]))
    os.kill(worker.nursery.child().pid, signal.SIGKILL)
    until(lambda: not worker.nursery.child().alive)
    assert states(serve(work("echo", [2]))[-1:]) == ["succeeded"]


# --- logs ------------------------------------------------------------------------------------------------------------


def logs(rows: Rows) -> dict[str, str]:
    found = rows.sql("select item, string_agg(text, '' order by part) as text from log.attempt_log group by item")
    return {row["item"]: row["text"] for row in found}


def test_what_is_printed_is_kept_by_item(work: Work, serve: Serve, rows: Rows) -> None:
    serve(work("say", ["a", "b"]))
    for item, payload in (("0", "a"), ("1", "b")):
        assert logs(rows)[item].splitlines() == [
            f"from print {payload}",
            f"INFO from logger payload='{payload}'",
            "from C",
            "from a program",
        ]


def test_a_log_is_capped_with_a_visible_mark(work: Work, serve: Serve, rows: Rows) -> None:
    serve(work("shout", [3_000_000, 5]))
    mark = "\n[Freshet: the log of this attempt is cut here, at 1,048,576 bytes]\n"
    assert logs(rows)["0"] == "x" * 1_048_576 + mark
    assert logs(rows)["1"] == "x" * 5


def test_a_traceback_stands_in_the_log_and_in_short_in_the_report(work: Work, serve: Serve, rows: Rows) -> None:
    (outcome,) = serve(work("evaluate", ["{}['missing']"]))
    assert outcome["e"]["message"] == "KeyError: 'missing'"
    assert outcome["e"]["type"] == "KeyError"
    assert "sample_processes.py" in outcome["e"]["traceback"]
    assert "KeyError: 'missing'" in logs(rows)["0"]


def test_the_log_of_a_killed_child_is_kept_with_nul_shown(work: Work, serve: Serve, rows: Rows) -> None:
    serve(work("evaluate", ["print('last\\0words') or os._exit(3)"]))
    assert logs(rows)["0"] == "last\N{REPLACEMENT CHARACTER}words\n"


# --- what can't be served --------------------------------------------------------------------------------------------


def test_an_unknown_process_is_handed_back(work: Work, serve: Serve) -> None:
    outcomes = serve(work("nobody", [1, 2]))
    assert states(outcomes) == ["handed_back"] * 2
    assert outcomes[0]["e"]["message"] == "This worker does not have the process nobody@1.0.0."


def test_a_message_without_a_bundle_is_dropped(work: Work, serve: Serve, worker: Supervisor, bus: Any) -> None:
    from freshet.bus import Message

    bus.publish([Message(queue="q", bundle_id=10**12)])
    assert worker.once().did == 0
    assert states(serve(work("echo", [1]))) == ["succeeded"]


def test_a_draining_worker_returns_what_it_has_not_begun(
    work: Work, serve: Serve, rows: Rows, worker: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = work("hold", ["1", "2", "3"])
    rows.sql("select pg_advisory_lock(4711)")
    told, child = threading.Event(), worker.nursery.child()
    tell = child.tell

    def tell_and_say(what: bytes) -> None:
        tell(what)
        told.set()

    monkeypatch.setattr(child, "tell", tell_and_say)

    def drain() -> None:
        other = Rows(rows.url)
        until(lambda: other.one(f"select count(*) from pg_locks where objid = 4711 and not granted and {HERE}"))
        other.close()
        worker.stop()
        assert told.wait(60)
        rows.sql("select pg_advisory_unlock(4711)")

    join = beside(drain)
    outcomes = serve(bundle)
    join()
    assert states(outcomes)[0] == "succeeded"
    assert states(outcomes)[-1] == "returned"
    assert effects(rows) == [str(n + 1) for n in range(states(outcomes).count("succeeded"))]
    assert all(outcome["i"] & (2**SHIFT - 1) == index for index, outcome in enumerate(outcomes))
