"""The dispatcher's verbs, said of Postgres and of its twin: batches, the backlog, what time brings."""

from __future__ import annotations

from uuid import UUID

import orjson
import pytest
from tests.twins.backing import Backing, outcomes
from tests.twins.setting import (
    ALL,
    again,
    claim,
    fold,
    fresh,
    items_of,
    new_run,
    node_change,
    open_task,
    put,
    queue_items,
    run_change,
    scope_row,
    succeed,
    take,
)

from freshet.domain.model import INDEX_BITS
from freshet.storage.database import DataError


class BrokenError(Exception):
    pass


def test_a_success_is_counted_once_however_often_it_is_told(backing: Backing) -> None:
    node = open_task(backing, width=3)
    first = queue_items(backing, node, 2)
    claimed = claim(backing, first)
    put(backing, fresh=[fresh(node, 2, 1)], nodes=[node_change(node.id, mark=3)])
    put(backing, again=[again(node, [0, 1], [1, 1])])  # as no decision would: the same attempts twice
    twice = claim(backing, max(backing.tables().bundles))
    succeed(backing, claimed, {"x": 1})
    succeed(backing, twice, {"x": 2})
    taken = fold(backing)
    row = backing.tables().task_runs[node.id]
    assert (row.succeeded, row.attempts, row.busy_s, row.measured) == (2, 2, 1.0, 2)
    assert [each.succeeded for each in taken.nodes] == [2]
    assert backing.tables().items[node.id << INDEX_BITS].result == {"x": 1}
    facts = [fact for _, body in taken.announced for fact in orjson.loads(body)]
    assert [(fact["type"], len(fact["items"])) for fact in facts] == [("freshet.item.succeeded.v1", 2)]
    assert not backing.tables().reports


def test_what_did_not_succeed_goes_to_the_core_once(backing: Backing) -> None:
    node = open_task(backing, width=2)
    claimed = claim(backing, queue_items(backing, node, 2))
    put(backing, again=[again(node, [1], [1])])
    twin = claim(backing, max(backing.tables().bundles))
    error = {"class": "user", "message": "It broke."}
    backing.workers.finish(claimed.bundle, claimed.claim, outcomes(items_of(claimed), "failed", e=error, d=1.5))
    backing.workers.finish(twin.bundle, twin.claim, outcomes(items_of(twin), "failed", e=error))
    taken = fold(backing)
    told = [(row.item & 0xFFFFFF, row.outcome, row.seconds, row.error, row.bundle_id) for row in taken.outcomes]
    assert told == [(0, "failed", 1.5, error, claimed.bundle), (1, "failed", 1.5, error, claimed.bundle)]
    assert [(row.failures, row.losses, row.handbacks, row.worker) for row in taken.outcomes] == [(0, 0, 0, "w1")] * 2


def test_a_report_of_an_earlier_attempt_is_of_no_effect(backing: Backing) -> None:
    node = open_task(backing)
    claimed = claim(backing, queue_items(backing, node, 1))
    item = {"id": node.id << INDEX_BITS, "state": "queued", "attempt": 2, "failures": 1, "losses": 0, "handbacks": 0}
    put(backing, items=[item | {"error": {"class": "user"}}])
    succeed(backing, claimed, 5)
    taken = fold(backing)
    assert not taken.announced
    assert not taken.outcomes
    assert backing.tables().items[node.id << INDEX_BITS].state == "queued"


def test_a_batch_that_fails_leaves_nothing(backing: Backing) -> None:
    node = open_task(backing, width=3)
    claimed = claim(backing, queue_items(backing, node, 1))
    succeed(backing, claimed)
    backing.requests.cancel(UUID(node.run_id))
    before = backing.tables().dump()

    def write_and_break() -> None:
        with backing.store.batch() as batch:
            taken = take(batch)
            batch.cancel_bundles(node.run_id, spared=[])
            batch.open_scope([scope_row(UUID(node.run_id), "more")])
            batch.put({"fresh": [fresh(node, 1, 2)], "runs": [run_change(node.run_id, turn=9)]}, now=taken.now)
            raise BrokenError

    with pytest.raises(BrokenError):
        write_and_break()
    assert backing.tables().dump() == before
    assert len(fold(backing).requests) == 1


def test_counters_that_cannot_be_are_refused_and_change_nothing(backing: Backing) -> None:
    node = open_task(backing, width=2)
    before = backing.tables().dump()
    for change in (
        node_change(node.id, failed=3),
        node_change(node.id, mark=3),
        node_change(node.id, succeeded=-1),
        node_change(node.id, state="succeeded"),
        node_change(node.id, total=16_777_217),
    ):
        with pytest.raises(DataError):
            put(backing, nodes=[node_change(node.id, skipped=1), change])
    with pytest.raises(DataError):
        put(backing, fresh=[fresh(node, 0, 1), fresh(node, 0, 1)])
    assert backing.tables().dump() == before


def test_a_batch_takes_the_oldest_and_says_that_there_is_more(backing: Backing) -> None:
    runs = [str(new_run(backing).run_id) for _ in range(3)]
    assert backing.store.runs_in_inbox(ALL, limit=2) == runs[:2]
    with backing.store.batch() as batch:
        taken = take(batch, limit=2)
    assert [run for run, _ in taken.requests] == runs[:2]
    assert taken.full
    assert sorted(run.id for run in taken.runs) == sorted(runs[:2])
    assert fold(backing).full is False
    with backing.store.batch() as batch:
        assert batch.take(ALL, limit=2) is None


def test_a_batch_may_be_about_some_runs_only(backing: Backing) -> None:
    runs = [str(new_run(backing).run_id) for _ in range(3)]
    with backing.store.batch() as batch:
        assert [run.id for run in take(batch, runs=runs[1:2]).runs] == runs[1:2]
    assert backing.store.runs_in_inbox(ALL, limit=9) == [runs[0], runs[2]]
    others = [partition for partition in ALL if partition != int(runs[0][-1], 16)]
    assert runs[0] not in backing.store.runs_in_inbox(others, limit=9)


def test_a_run_under_another_batch_s_lock_is_left_out(backing: Backing) -> None:
    first, second = (str(new_run(backing).run_id) for _ in range(2))
    with backing.beside() as store, backing.store.batch() as batch:
        take(batch, runs=[first])
        with store.batch() as other:
            assert [run.id for run in take(other).runs] == [second]


def test_the_backlog_goes_by_priority_then_turn_then_age(backing: Backing) -> None:
    node = open_task(backing, width=9)
    wanted = [(100, 2), (50, 9), (100, 1), (100, 1), (50, 3)]
    rows = [fresh(node, k, 1, priority=p, turn=t, published=False) for k, (p, t) in enumerate(wanted)]
    put(backing, nodes=[node_change(node.id, mark=5)], fresh=rows)
    keys = sorted(backing.tables().bundles)
    publish = backing.store.publish_backlog
    assert publish("other", room=9) == []
    assert publish("q", room=2) == [(50, 3, keys[4]), (50, 9, keys[1])]
    assert publish("q", room=2) == [(100, 1, keys[2]), (100, 1, keys[3])]
    assert publish("q", room=9) == [(100, 2, keys[0])]
    assert publish("q", room=9) == []


def test_a_pool_gets_no_more_bundles_than_it_has_places_and_the_urgent_first(backing: Backing) -> None:
    node = open_task(backing, width=9, kind="job_service")
    wanted = [(100, "XS"), (50, "XS"), (70, "S"), (100, None), (90, "S"), (80, "XS"), (60, "FREE")]
    rows = [
        fresh(node, k, 1, priority=p, turn=k, published=False, limit_key=pool) for k, (p, pool) in enumerate(wanted)
    ]
    put(backing, nodes=[node_change(node.id, mark=7)], fresh=rows)
    keys = sorted(backing.tables().bundles)
    limits = {"XS": 1, "S": 2}

    def publish(room: int = 9, queue: str = "q") -> tuple[list[int], bool]:
        found, waiting = backing.store.publish_limited(queue, room=room, limits=limits)
        return [key for key, _ in found], waiting

    assert publish(queue="other") == ([], False)
    assert publish(room=2) == ([keys[1], keys[6]], True)
    assert publish() == ([keys[2], keys[3], keys[4]], True)
    held = claim(backing, keys[1])
    assert publish() == ([], True)  # published, claimed or watched: the place is taken
    backing.workers.store_job_name(keys[1], held.claim, "J")
    backing.workers.watch(keys[1], held.claim)
    assert publish() == ([], True)
    backing.workers.finish_job(keys[1], "J", outcomes(items_of(held)))
    assert publish() == ([keys[5]], True)
    assert backing.store.publish_limited("q", room=9, limits={"XS": 2, "S": 2}) == ([(keys[0], 0)], False)


def test_only_what_nobody_holds_joins_the_backlog_again(backing: Backing) -> None:
    node = open_task(backing, width=9, kind="job_service")
    put(backing, nodes=[node_change(node.id, mark=4)], fresh=[fresh(node, k, 1) for k in range(4)])
    free, held, watched, also = sorted(backing.tables().bundles)
    claim(backing, held)
    job = claim(backing, watched)
    backing.workers.store_job_name(watched, job.claim, "J")
    backing.workers.watch(watched, job.claim)
    store = backing.store
    assert store.published_before("q", age=5.0, limit=9) == []
    backing.age(6.0)
    assert store.published_before("q", age=5.0, limit=9) == [free, also]
    assert store.published_before("q", age=5.0, limit=1) == [free]
    assert store.unpublish([free, held, watched, 10**9]) == 1
    assert store.unpublish_all() == 1
    assert store.unpublish_all() == 0
    assert store.publish_backlog("q", room=9) == [(100, 1, free), (100, 1, also)]


def test_due_bundles_join_the_backlog(backing: Backing) -> None:
    node = open_task(backing, width=3)
    queue_items(backing, node, 2)
    put(backing, again=[again(node, [0], [2], delay_s=30.0), again(node, [1], [2], delay_s=90.0, queue="r")])
    assert backing.store.release_due(limit=9) == []
    backing.age(60.0)
    assert backing.store.release_due(limit=9) == ["q"]
    assert backing.store.overview(ALL).backlog == ["q"]
    backing.age(60.0)
    assert backing.store.release_due(limit=9) == ["r"]


def test_a_claim_past_its_deadline_is_ended_with_a_report(backing: Backing) -> None:
    node = open_task(backing, width=3)
    claimed = claim(backing, queue_items(backing, node, 3, timeout_s=10.0))
    backing.workers.finish(claimed.bundle, claimed.claim, outcomes(items_of(claimed)[:1]))
    backing.age(34.0)
    assert backing.store.expire_bundles(limit=9) == []
    backing.age(2.0)
    partition = int(node.run_id[-1], 16)
    assert backing.store.expire_bundles(limit=9) == [(partition, "w1", claimed.bundle)]
    taken = fold(backing)
    assert [(row.item & 0xFFFFFF, row.outcome, row.charged) for row in taken.outcomes] == [
        (1, "timed_out", True),
        (2, "lost", False),
    ]
    assert backing.tables().task_runs[node.id].succeeded == 1


def test_a_dead_worker_s_single_is_charged_and_its_bundle_of_several_is_not(backing: Backing) -> None:
    node = open_task(backing, width=4)
    several = claim(backing, queue_items(backing, node, 2))
    put(backing, nodes=[node_change(node.id, mark=3)], fresh=[fresh(node, 2, 1)])
    single = claim(backing, max(backing.tables().bundles))
    assert backing.store.claimed_workers() == ["w1"]
    assert len(backing.store.release_workers(["w1", "w2"])) == 2
    assert backing.store.claimed_workers() == []
    taken = fold(backing)
    told = [(row.item & 0xFFFFFF, row.bundle_id, row.charged) for row in taken.outcomes]
    assert told == [(0, several.bundle, False), (1, several.bundle, False), (2, single.bundle, True)]


def test_a_cancel_ends_what_is_in_flight_but_for_the_spared(backing: Backing) -> None:
    node = open_task(backing, width=4)
    with backing.store.batch() as batch:
        (last,) = batch.open_scope([scope_row(UUID(node.run_id), "last")])
    put(backing, nodes=[node_change(last.id, total=1)])
    held = claim(backing, queue_items(backing, node, 2))
    put(backing, nodes=[node_change(node.id, mark=3), node_change(last.id, mark=1)], fresh=[fresh(node, 2, 1)])
    queued = max(backing.tables().bundles)
    put(backing, fresh=[fresh(last, 0, 1)])
    with backing.store.batch() as batch:
        assert batch.cancel_bundles(node.run_id, spared=["last"]) == [("w1", held.bundle), (None, queued)]
    assert [row.task_run_id for row in backing.tables().bundles.values()] == [last.id]
    told = [(row.item & 0xFFFFFF, row.outcome, row.charged) for row in fold(backing).outcomes]
    assert told == [(0, "cancelled", True), (1, "cancelled", False), (2, "cancelled", False)]


def test_parking_ends_a_run_with_all_that_it_has(backing: Backing) -> None:
    node = open_task(backing, width=4)
    claimed = claim(backing, queue_items(backing, node, 2))
    backing.workers.finish(claimed.bundle, claimed.claim, outcomes(items_of(claimed)[:1]))
    backing.requests.cancel(UUID(node.run_id))
    ((_, body),) = backing.store.park(node.run_id, "It broke.", {"type": "freshet.run.failed.v1"})
    (fact,) = orjson.loads(body)
    error = {"class": "internal", "message": "It broke."}
    assert (fact["type"], fact["run_id"], fact["error"]) == ("freshet.run.failed.v1", node.run_id, error)
    assert fact["at"] == fact["finished_at"]
    tables = backing.tables()
    assert [len(rows) for rows in (tables.bundles, tables.reports, tables.requests)] == [0, 0, 0]
    row = tables.task_runs[node.id]
    assert (row.state, row.mark, row.cancelled) == ("cancelled", 4, 4)
    assert [parked.error for parked in tables.parked.values()] == ["It broke."]
    assert backing.store.park(node.run_id, "Again.", {"type": "freshet.run.failed.v1"}) == []


def test_the_overview_says_what_waits(backing: Backing) -> None:
    store = backing.store
    assert store.overview(ALL).idle
    node = open_task(backing, width=9)
    assert store.overview(ALL).idle
    put(backing, nodes=[node_change(node.id, mark=2)], fresh=[fresh(node, 0, 1, published=False), fresh(node, 1, 1)])
    seen = store.overview(ALL)
    assert (seen.backlog, seen.published, seen.claimed, seen.age) == (["q"], ["q"], False, None)
    claimed = claim(backing, max(backing.tables().bundles))
    assert store.overview(ALL).claimed
    succeed(backing, claimed)
    own = int(node.run_id[-1], 16)
    assert store.overview([own]).own_age is not None
    elsewhere = store.overview([(own + 1) % 16])
    assert elsewhere.own_age is None
    assert elsewhere.age is not None
    put(backing, again=[again(node, [0], [2], delay_s=50.0)])
    due_in = store.overview(ALL).due_in
    assert due_in is not None
    assert 40.0 < due_in < 50.0 or due_in == pytest.approx(50.0, abs=0.1)


def test_the_end_of_the_last_run_that_goes_on_starts_the_oldest_held_one(backing: Backing) -> None:
    going, second = new_run(backing).run_id, new_run(backing).run_id
    held = [new_run(backing, held=True).run_id for _ in range(2)]
    fold(backing)
    done = put(backing, runs=[run_change(going, state="succeeded")])
    assert done.released == []
    done = put(backing, runs=[run_change(second, state="failed", error={"class": "user", "message": "m"})])
    assert done.released == [held[0].int & 0xF]
    runs = backing.tables().runs
    assert [runs[str(run)].held for run in held] == [False, True]
    assert [run for run, _ in fold(backing).requests] == [str(held[0])]


def test_a_parent_s_small_result_travels_with_its_fact(backing: Backing) -> None:
    node = open_task(backing)
    claimed = claim(backing, queue_items(backing, node, 1))
    succeed(backing, claimed, {"small": True})
    fold(backing)
    fact = {"type": "freshet.task.succeeded.v1", "result_of": node.id}
    done = put(backing, facts=[{"run_id": node.run_id, "body": [fact, {"type": "other"}]}])
    ((_, body),) = done.announced
    told = {"type": "freshet.task.succeeded.v1", "result": {"small": True}}
    assert orjson.loads(body) == [told, {"type": "other"}]
    assert backing.workers.parents(UUID(node.run_id), "", ["t"])["t"]["value"] == {"small": True}
