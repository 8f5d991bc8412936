"""The worker's verbs, said of Postgres and of its twin: claims, the ends of bundles, watches."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID, uuid4

import orjson
import pytest
from tests.twins.backing import Backing, outcomes, turn
from tests.twins.setting import (
    again,
    bundle_row,
    claim,
    fold,
    items_of,
    new_run,
    open_task,
    put,
    queue_items,
    run_change,
    succeed,
)

from freshet.domain.errors import ClaimLostError, NotFoundError, TransactionEndedError
from freshet.domain.model import INDEX_BITS
from freshet.storage.session import TransactionOwnedError
from freshet.storage.worker_store import JobLog, KeptLog, LogPart, Times, WorkerRow


def test_a_bundle_is_claimed_by_one_and_by_that_one_again(backing: Backing) -> None:
    bundle = queue_items(backing, open_task(backing), 1)
    token = uuid4()
    first, again = (backing.workers.claim(bundle, "w1", token) for _ in range(2))
    assert first is not None
    assert again is not None
    assert first.document["bundle"] == again.document["bundle"]
    assert backing.workers.claim(bundle, "w1", uuid4()) is None
    assert backing.workers.claim(bundle, "w2", token) is None
    facts = [orjson.loads(row.body)[0]["type"] for row in backing.tables().outbox.values()]
    assert facts == ["freshet.item.running.v1"] * 2


def test_what_is_due_later_and_what_is_gone_cannot_be_claimed(backing: Backing) -> None:
    node = open_task(backing)
    queue_items(backing, node, 1)
    put(
        backing,
        again=[
            {
                "run_id": node.run_id,
                "task_run_id": node.id,
                "queue": "q",
                "priority": 1,
                "turn": 1,
                "timeout_s": None,
                "items": [node.id << INDEX_BITS],
                "attempts": [2],
                "delay_s": 60.0,
                "published": True,
            }
        ],
    )
    later = next(row for row in backing.tables().bundles.values() if row.due_at is not None)
    assert later.published_at is None
    assert backing.workers.claim(later.id, "w1", uuid4()) is None
    assert backing.workers.claim(10**9, "w1", uuid4()) is None


def test_a_claim_says_what_the_work_needs(backing: Backing) -> None:
    node = open_task(backing, width=[{"a": 1}, None, "x"], params={"n": [1, 2]})
    claimed = claim(backing, queue_items(backing, node, 3, timeout_s=10.0))
    document = claimed.document
    assert document["values"] == [{"a": 1}, None, "x"]
    assert document["mapped"] is True
    assert document["parents"] is None
    assert document["element"] is None
    assert document["run"]["params"] == {"n": [1, 2]}
    assert document["task"] == {"path": "t", "index_path": "", "scope": None, "kind": "process"}
    assert items_of(claimed) == [(node.id << INDEX_BITS | index, 1) for index in range(3)]
    row = bundle_row(backing, claimed.bundle)
    assert row.expires_at is not None
    assert row.claimed_at is not None
    assert (row.expires_at - row.claimed_at).total_seconds() == 35.0
    fact = orjson.loads(claimed.fact[1])[0]
    assert fact["items"] == [[0, 1, None, None], [1, 1, None, None], [2, 1, None, None]]
    assert fact["claim"] == str(claimed.claim)


def test_reports_of_a_bundle_form_a_prefix(backing: Backing) -> None:
    claimed = claim(backing, queue_items(backing, open_task(backing, width=4), 4))
    bundle, token, items = claimed.bundle, claimed.claim, items_of(claimed)
    finish = backing.workers.finish
    assert finish(bundle, token, outcomes(items[:1])) is False
    assert backing.workers.progress(bundle, token) == 1
    for wrong in ([], items[:1], items[2:3], items[1:][::-1], [*items[1:], items[0]]):
        with pytest.raises(ClaimLostError):
            finish(bundle, token, outcomes(wrong))
    assert bundle_row(backing, bundle).done == 1
    assert finish(bundle, token, outcomes(items[1:])) is True
    assert backing.workers.progress(bundle, token) is None
    assert [len(row.body) for row in backing.tables().reports.values()] == [1, 3]
    with pytest.raises(ClaimLostError):
        finish(bundle, token, outcomes(items[3:]))


def test_who_has_lost_the_claim_changes_nothing(backing: Backing) -> None:
    bundle = queue_items(backing, open_task(backing), 1)
    claimed = claim(backing, bundle)
    assert backing.store.release_workers(["w1"]) == [bundle_row_partition(claimed)]
    before = backing.tables().dump()
    for act in (
        lambda: backing.workers.finish(bundle, claimed.claim, outcomes(items_of(claimed))),
        lambda: backing.workers.release(bundle, claimed.claim, items_of(claimed)),
        lambda: backing.workers.store_job_name(bundle, claimed.claim, "J"),
        lambda: backing.workers.watch(bundle, claimed.claim),
    ):
        with pytest.raises(ClaimLostError):
            act()
    assert backing.tables().dump() == before


def bundle_row_partition(claimed: object) -> int:
    return int(claimed.document["bundle"]["partition"])  # type: ignore[attr-defined]


def test_a_hand_back_says_what_it_was(backing: Backing) -> None:
    claimed = claim(backing, queue_items(backing, open_task(backing, width=3), 3))
    items = items_of(claimed)
    backing.workers.finish(claimed.bundle, claimed.claim, outcomes(items[:1]))
    assert backing.workers.release(claimed.bundle, claimed.claim, items[1:], "handed_back") is True
    (_, report) = backing.tables().reports.values()
    assert [outcome["s"] for outcome in report.body] == ["handed_back", "handed_back"]


def watching(backing: Backing, job: str = "JOB") -> JobLog:
    """A job that is watched, and whose log it is."""
    claimed = claim(backing, queue_items(backing, open_task(backing, kind="job_service"), 1))
    backing.workers.store_job_name(claimed.bundle, claimed.claim, job)
    backing.workers.watch(claimed.bundle, claimed.claim)
    (watch,) = [each for each in backing.workers.watched() if each["id"] == claimed.bundle]
    run, task = watch["run_id"], watch["task"]
    return JobLog(bundle=claimed.bundle, job=job, run_id=run, task=task, item="", attempt=1, claim=UUID(int=7))


def part(number: int, text: str) -> LogPart:
    return LogPart(item="", attempt=1, number=number, text=text)


def test_a_jobs_log_grows_part_by_part_and_each_is_written_by_one_watcher(backing: Backing) -> None:
    where, workers = watching(backing), backing.workers
    assert workers.kept_log(where, window=9, gap="GAP") == KeptLog(parts=0, size=0, tail="")
    assert workers.write_job_log(where, [part(0, "one\n"), part(1, "GAP")])
    assert not workers.write_job_log(where, [part(0, "one\n")])  # another watcher that had read the same
    assert not workers.write_job_log(where, [part(1, "two\n")])
    assert workers.write_job_log(where, [part(2, "na\0ve 😀")])
    assert workers.kept_log(where, window=99, gap="GAP") == KeptLog(
        parts=3, size=19, tail="one\nna\N{REPLACEMENT CHARACTER}ve 😀"
    )
    # Whole parts from the end, until the window is reached.
    assert workers.kept_log(where, window=11, gap="GAP") == KeptLog(
        parts=3, size=19, tail="na\N{REPLACEMENT CHARACTER}ve 😀"
    )


def test_the_log_of_another_job_or_of_a_watch_that_is_over_is_not_touched(backing: Backing) -> None:
    where, workers = watching(backing), backing.workers
    other = watching(backing, "OTHER")
    assert workers.write_job_log(where, [part(0, "text")])
    assert workers.kept_log(other, window=9, gap="") == KeptLog(parts=0, size=0, tail="")
    assert workers.kept_log(replace(where, job="OTHER"), window=9, gap="") is None
    assert workers.finish_job(where.bundle, "JOB", [{"i": 1, "a": 1, "s": "lost"}])
    assert workers.kept_log(where, window=9, gap="") is None
    assert not workers.write_job_log(where, [part(1, "late")])


@pytest.mark.parametrize(("width", "item"), [(None, ""), (3, "2")])
def test_what_a_cancelled_job_prints_on_its_way_out_is_added_once(
    backing: Backing, width: int | None, item: str
) -> None:
    node, workers = open_task(backing, kind="job_service", width=width), backing.workers
    queue_items(backing, node, width or 1)
    where = JobLog(bundle=None, job="J", run_id=UUID(node.run_id), task="t", item=item, attempt=1, claim=UUID(int=7))
    assert workers.stopped(where) is None  # it goes on
    key = node.id << INDEX_BITS | int(item or 0)
    counters = {"failures": 0, "losses": 0, "handbacks": 0, "error": None}
    put(backing, items=[{"id": key, "state": "cancelled", "attempt": 1, **counters}])
    (run,) = backing.tables().runs.values()
    assert workers.stopped(where) == (run.workflow, run.version)
    for other in (replace(where, attempt=2), replace(where, item="1"), replace(where, task="u")):
        assert workers.stopped(other) is None
    assert workers.kept_log(where, window=9, gap="") == KeptLog(parts=0, size=0, tail="")
    lines = [LogPart(item=item, attempt=1, number=number, text=text) for number, text in enumerate(("one\n", "two\n"))]
    assert workers.write_job_log(where, lines[:1])
    assert not workers.write_job_log(where, lines[:1])  # another watcher that had read the same
    assert workers.write_job_log(where, lines[1:])
    assert workers.kept_log(where, window=9, gap="") == KeptLog(parts=2, size=8, tail="one\ntwo\n")


def test_what_a_job_waits_for_is_noted_with_its_watch(backing: Backing) -> None:
    where, workers = watching(backing), backing.workers
    workers.note_waits([(where.bundle, "no room"), (10**9, "nobody")])
    assert [watch["waits_for"] for watch in workers.watched()] == ["no room"]
    workers.note_waits([(where.bundle, None)])
    assert [watch["waits_for"] for watch in workers.watched()] == [None]


def test_a_payload_is_kept_for_whoever_holds_the_named_attempt_under_one_key(backing: Backing) -> None:
    node = open_task(backing, kind="job_service")
    claimed = claim(backing, queue_items(backing, node, 1))
    workers, bundle, token = backing.workers, claimed.bundle, claimed.claim
    with pytest.raises(ClaimLostError):
        workers.store_payload(bundle, token, "JOB", b"1")  # nobody could tell whose it is
    workers.store_job_name(bundle, token, "JOB")
    key = workers.store_payload(bundle, token, "JOB", b"1")
    assert workers.store_payload(bundle, token, "JOB", b"1") == key
    with pytest.raises(ClaimLostError):
        workers.store_payload(bundle, uuid4(), "JOB", b"2")
    # Handed back, the attempt is in another bundle, which has no name yet; the container may run all the same.
    workers.release(bundle, token, items_of(claimed), "handed_back")
    item = items_of(claimed)[0][0] & ((1 << INDEX_BITS) - 1)
    done = put(backing, again=[again(node, [item], [1])])
    held = claim(backing, done.bundles[0][0])
    workers.store_job_name(held.bundle, held.claim, "JOB")
    assert workers.store_payload(held.bundle, held.claim, "JOB", b"1") == key


def test_a_watch_needs_its_name_and_is_ended_by_it_once(backing: Backing) -> None:
    node = open_task(backing, kind="job_service")
    claimed = claim(backing, queue_items(backing, node, 1, timeout_s=1.0))
    workers, bundle, token = backing.workers, claimed.bundle, claimed.claim
    with pytest.raises(ClaimLostError):
        workers.watch(bundle, token)
    workers.store_job_name(bundle, token, "JOB")
    assert orjson.loads(workers.watch(bundle, token)[1])[0]["type"] == "freshet.item.waiting.v1"
    row = bundle_row(backing, bundle)
    assert (row.claim, row.worker, row.claimed_at, row.expires_at) == (None, None, None, None)
    assert row.submitted_at is not None
    (watch,) = workers.watched()
    assert (watch["job_name"], watch["task"], watch["items"]) == ("JOB", "t", [node.id << INDEX_BITS])
    assert [owner["attempt"] for owner in workers.job_owners([UUID(node.run_id)])] == [1]
    assert workers.claim(bundle, "w2", uuid4()) is None
    assert backing.store.expire_bundles(limit=10) == []
    assert workers.finish_job(bundle, "OTHER", outcomes(items_of(claimed))) is False
    assert workers.finish_job(bundle, "JOB", outcomes(items_of(claimed))) is True
    assert workers.finish_job(bundle, "JOB", outcomes(items_of(claimed))) is False
    assert [owner["attempt"] for owner in workers.job_owners([UUID(node.run_id)])] == [1]
    fold(backing)
    assert workers.job_owners([UUID(node.run_id)]) == []


def test_effects_values_and_report_commit_together(backing: Backing) -> None:
    node = open_task(backing)
    claimed = claim(backing, queue_items(backing, node, 1))
    session, ((item, attempt),) = backing.session(), items_of(claimed)
    session.open_turn(turn(claimed.bundle, claimed.claim))
    assert not session.begun
    backing.write(session, "one")
    assert session.begun
    session.put_values(item, 0, b'[1, "two"]')
    session.put_values(item, 2, b"[null]")
    assert not backing.tables().effects
    assert not backing.tables().values
    session.finish(orjson.dumps([{"i": item, "a": attempt, "s": "succeeded", "n": 3}]))
    fold(backing)
    assert [effect.value for effect in backing.tables().effects.values()] == ["one"]
    assert backing.workers.page("rows", item, 1, 5) == {1: "two", 2: None}
    assert backing.workers.page("items", node.id, 0, 5) == {0: [1, "two", None]}
    parent = backing.workers.parents(UUID(node.run_id), "", ["t", "unknown"])
    rows = {"kind": "rows", "source": item, "total": 3}
    assert parent == {"t": {"state": "running", "kind": "process", "results": rows}}
    session.close()


def test_a_lost_claim_takes_its_effects_along(backing: Backing) -> None:
    claimed = claim(backing, queue_items(backing, open_task(backing), 1))
    session, ((item, attempt),) = backing.session(), items_of(claimed)
    session.open_turn(turn(claimed.bundle, claimed.claim))
    backing.write(session, "one")
    backing.store.release_workers(["w1"])
    with pytest.raises(ClaimLostError):
        session.finish(orjson.dumps([{"i": item, "a": attempt, "s": "succeeded"}]))
    assert not backing.tables().effects
    with pytest.raises(TransactionOwnedError):
        backing.write(session, "two")
    session.close()


def test_what_was_abandoned_is_gone(backing: Backing) -> None:
    claimed = claim(backing, queue_items(backing, open_task(backing), 1))
    session, ((item, attempt),) = backing.session(), items_of(claimed)
    session.open_turn(turn(claimed.bundle, claimed.claim))
    backing.write(session, "first try")
    session.abandon()
    session.open_turn(turn(claimed.bundle, claimed.claim))
    backing.write(session, "second try")
    session.finish(orjson.dumps([{"i": item, "a": attempt, "s": "succeeded"}]))
    assert [effect.value for effect in backing.tables().effects.values()] == ["second try"]
    session.close()


def test_what_a_process_commits_itself_stays_and_ends_its_turn(backing: Backing) -> None:
    claimed = claim(backing, queue_items(backing, open_task(backing), 1))
    session = backing.session()
    session.open_turn(turn(claimed.bundle, claimed.claim))
    backing.write(session, "mine")
    with pytest.raises(TransactionEndedError):
        backing.commit_by_hand(session)
    assert session.ended
    with pytest.raises(TransactionEndedError):
        backing.write(session, "more")
    session.abandon()
    assert [effect.value for effect in backing.tables().effects.values()] == ["mine"]
    assert succeed(backing, claimed) is True
    session.close()


def test_a_worker_registers_once_and_reports_its_totals(backing: Backing) -> None:
    workers, row = backing.workers, WorkerRow(id="w1", lock_key=7, hostname="h", pid=1, queues=("a", "b"))
    started, fact = workers.register(row, Times(busy_s=0.0, idle_s=0.5, wall_s=0.5))
    told = orjson.loads(fact[1])[0]
    assert told["wall_s"] == 0.5
    again, fact = workers.register(row, Times(busy_s=0.0, idle_s=1.5, wall_s=1.5))
    assert started == again
    assert orjson.loads(fact[1])[0]["wall_s"] == 1.5  # as of now
    assert backing.tables().workers["w1"].wall_s == 1.5
    assert (told["type"], told["worker"], told["queues"]) == ("freshet.worker.available.v1", "w1", ["a", "b"])
    times = Times(busy_s=1.0, idle_s=2.0, wall_s=3.0)
    assert workers.report_times("nobody", "busy", times, event="busy") is None
    reported = workers.report_times("w1", "draining", times, event="draining")
    assert reported is not None
    assert orjson.loads(reported[1])[0]["busy_s"] == 1.0
    assert backing.tables().workers["w1"].state == "draining"


def test_a_witness_holds_its_lock_until_its_session_ends(backing: Backing) -> None:
    workers, store = backing.workers, backing.store
    at_start = Times(busy_s=0.0, idle_s=0.0, wall_s=0.0)
    workers.register(WorkerRow(id="w1", lock_key=7_001, hostname="h", pid=1, queues=()), at_start)
    first, second = workers.witness(7_001), workers.witness(7_001)
    assert store.witnessed(["w1"]) == set()
    assert first.take()
    assert first.take()  # as often as it likes
    assert not second.take()
    assert (first.holds(), second.holds()) == (True, False)
    assert store.witnessed(["w1", "w2"]) == {"w1"}
    first.close()
    assert first.ended()
    assert not second.ended()
    assert backing.until(second.take)
    assert store.witnessed(["w1"]) == {"w1"}
    second.close()
    assert backing.until(lambda: not store.witnessed(["w1"]))


def test_partitions_are_held_by_one_session(backing: Backing) -> None:
    first, second = backing.locks("one"), backing.locks("two")
    assert first.take(range(16), wanted=3) == {0, 1, 2}
    assert second.take(range(16), wanted=16) == set(range(3, 16))
    assert first.take(range(16), wanted=16) == {0, 1, 2}
    second.release([5, 6, 1])
    assert 5 not in second.held
    assert first.take([4, 5, 6], wanted=1) == {0, 1, 2, 5}
    first.close()
    assert first.held == set()
    assert backing.until(lambda: second.take([0, 1], wanted=2) >= {0, 1})
    second.check()
    assert 0 in second.held
    second.close()


def test_logs_and_processes_are_written_and_a_missing_document_is_named(backing: Backing) -> None:
    backing.workers.write_logs(uuid4(), "t", uuid4(), [LogPart(item="0", attempt=1, number=0, text="a\0b")])
    backing.workers.declare([("p", "1.0.0"), ("q", "1.0.0")])
    backing.workers.declare([("p", "1.0.0")])
    assert backing.workers.installation()
    with pytest.raises(NotFoundError, match="w has no version 9"):
        backing.workers.document("w", 9)


def test_a_run_that_is_only_turned_stays_as_it_is(backing: Backing) -> None:
    run = new_run(backing).run_id
    put(backing, runs=[run_change(run, turn=5)])
    row = backing.tables().runs[str(run)]
    assert (row.state, row.turn, row.started_at, row.finished_at) == ("pending", 5, None, None)
