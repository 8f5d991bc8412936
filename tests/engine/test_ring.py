"""Whatever happens because of time: due, overdue, dead, lost, flushed."""

from __future__ import annotations

import time
from typing import Any

from tests.engine.harness import PARTITIONS, Call, Engine, FailureError, process, sign_of_life

from freshet.bus import Heartbeat
from freshet.engine.dispatcher import BUSY_RING, CLAIM_RING, DOUBT_RING, longest_rest
from freshet.engine.pace import Pace
from freshet.engine.ring import Ring
from freshet.engine.witness import Judge
from freshet.storage.database import Database
from freshet.storage.engine_store import PartitionLocks

ALL = frozenset(PARTITIONS)


def beat(engine: Engine, worker: str) -> None:
    engine.bus.beat(sign_of_life(worker), expires_s=60)


def hold(engine: Engine, worker: str) -> None:
    """Its claim is on the one item of a run."""
    engine.apply({"name": "w", "tasks": {"a": process()}})
    engine.start("w")
    engine.fold()
    engine.claim(engine.published()[0], worker)


def silence_published(engine: Engine) -> None:
    engine.sql(
        "update engine.bundle set published_at = clock_timestamp() - interval '10 s' where published_at is not null"
    )


def test_an_idle_installation_has_an_idle_overview(engine: Engine) -> None:
    assert engine.store.overview(PARTITIONS).idle


def test_a_retry_waits_for_its_delay_and_is_then_published(engine: Engine) -> None:
    engine.apply({"name": "w", "tasks": {"a": process(retries={"limit": 1, "delay": "PT1H"})}})
    run = engine.start("w")
    engine.fold()

    def fail_first(call: Call) -> str:
        if call.attempt == 1:
            raise FailureError("once")
        return "done"

    engine.work(fail_first)
    engine.fold()
    engine.ring.ring(ALL)
    assert engine.store.release_due(limit=10) == []
    assert engine.published() == []
    assert 3500 < (engine.store.overview(PARTITIONS).due_in or 0) <= 3600
    engine.sql("update engine.bundle set due_at = clock_timestamp() - interval '1 s'")
    engine.ring.ring(ALL)
    assert len(engine.published()) == 1
    engine.drive(fail_first)
    assert engine.run_object(run)["state"] == "succeeded"


def test_a_claim_past_its_deadline_expires_only_the_item_in_hand(engine: Engine) -> None:
    engine.apply({"name": "w", "tasks": {"a": process(for_each="60", timeout="PT10S")}})
    run = engine.start("w")
    engine.fold()
    engine.work()
    engine.fold()
    bundle = max(engine.sql("select id, cardinality(items) as n from engine.bundle"), key=lambda row: row["n"])
    engine.claim(bundle["id"], "stuck")
    engine.sql("update engine.bundle set expires_at = clock_timestamp() - interval '1 s' where id = %s", bundle["id"])
    rung = engine.ring.ring(ALL)
    assert rung.partitions
    engine.drive()
    found = engine.run_object(run)["tasks"]["a"]["items"]
    assert (found["failed"], found["succeeded"]) == (1, 59)
    assert engine.one("select count(*) from engine.work_item where state = 'expired'") == 1


def test_a_worker_without_heartbeat_and_session_is_dead_at_the_second_look(engine: Engine) -> None:
    engine.apply({"name": "w", "tasks": {"a": process()}})
    run = engine.start("w")
    engine.fold()
    engine.claim(engine.published()[0], "gone")
    assert engine.ring.ring(ALL).dead == ()
    engine.seconds += 0.5
    assert engine.ring.ring(ALL).dead == ()
    engine.seconds += 0.5
    assert engine.ring.ring(ALL).dead == ("gone",)
    engine.drive(lambda call: "again")
    assert engine.run_object(run)["tasks"]["a"]["result"] == "again"


def test_a_worker_that_dies_after_a_long_rest_is_found_as_soon(engine: Engine) -> None:
    assert engine.ring.ring(ALL).overview.idle
    engine.seconds += 3600.0
    hold(engine, "gone")
    assert engine.ring.ring(ALL).dead == ()
    engine.seconds += 1.0
    assert engine.ring.ring(ALL).dead == ("gone",)


def test_a_flush_takes_the_heartbeats_and_nobody_is_judged_for_it(engine: Engine) -> None:
    hold(engine, "alive")
    beat(engine, "alive")
    engine.ring.ring(ALL)
    engine.bus.client.flushdb()
    for _ in range(9):
        engine.seconds += 1.0
        assert engine.ring.ring(ALL).dead == ()


def test_a_flush_that_another_dispatcher_has_seen_first_is_none_the_less_seen(engine: Engine) -> None:
    hold(engine, "alive")
    beat(engine, "alive")
    other = Ring(
        store=engine.store,
        bus=engine.bus,
        refill=engine.refill,
        pace=Pace(queue_depth=100, depths=engine.bus.depths),
        judge=Judge(clock=lambda: engine.seconds),
        clock=lambda: engine.seconds,
    )
    engine.seconds += engine.judge.patience.grace  # it has been there for a while, too
    for ring in (engine.ring, other):
        ring.ring(ALL)
    engine.bus.client.flushdb()
    assert engine.ring.ring(ALL).repaired == 0  # it finds Redis fresh; all is claimed
    for _ in range(9):
        assert other.ring(ALL).dead == ()  # no heartbeat and no session, and yet no verdict
        engine.seconds += 1.0


def test_a_worker_that_beats_without_a_session_is_dead_after_the_lease(engine: Engine) -> None:
    hold(engine, "cut-off")
    beat(engine, "cut-off")
    found = None
    while found is None and engine.seconds < 90.0:
        if engine.ring.ring(ALL).dead == ("cut-off",):
            found = engine.seconds
        engine.seconds += 2.0
    assert found is not None
    assert 60.0 <= found < 76.0


def test_while_claims_are_held_the_next_look_is_soon_and_sooner_when_a_worker_is_in_doubt(engine: Engine) -> None:
    engine.apply({"name": "w", "tasks": {"a": process()}})
    engine.start("w")
    engine.fold()
    assert longest_rest(engine.ring.ring(ALL)) == BUSY_RING
    engine.claim(engine.published()[0], "w")
    beat(engine, "w")
    assert longest_rest(engine.ring.ring(ALL)) == CLAIM_RING
    engine.bus.silence("w")
    in_doubt = engine.ring.ring(ALL)
    assert in_doubt.dead == ()
    assert longest_rest(in_doubt) == DOUBT_RING
    # Heartbeat, the look that misses it, and the look that decides, the latest there can be.
    assert 3.0 + CLAIM_RING + 0.8 + DOUBT_RING < 5.0
    engine.seconds += 1.0
    buried = engine.ring.ring(ALL)
    assert buried.dead == ("w",)
    assert not buried.doubted


def test_a_worker_with_a_heartbeat_keeps_its_claim(engine: Engine) -> None:
    hold(engine, "alive")
    beat(engine, "alive")
    for _ in range(5):
        assert engine.ring.ring(ALL).dead == ()
        engine.seconds += 2.0


def test_a_stopped_worker_whose_session_lives_keeps_its_claim_for_the_lease(engine: Engine) -> None:
    hold(engine, "stopped")
    engine.sql(
        "insert into engine.worker (id, state, lock_key, hostname, pid, queues)"
        " values ('stopped', 'busy', 77, 'h', 1, '{}')"
    )
    witness = engine.database.dedicated()
    witness.execute("select pg_advisory_lock(77)")
    engine.ring.ring(ALL)
    for _ in range(29):
        engine.seconds += 2.0
        assert engine.ring.ring(ALL).dead == ()
    engine.seconds += 2.0
    assert engine.ring.ring(ALL).dead == ("stopped",)
    witness.close()


def test_a_judge_that_was_stopped_itself_waits_before_it_judges() -> None:
    now = [0.0]
    judge = Judge(clock=lambda: now[0])
    judge.suspects(["w"], [])
    now[0] += 30.0
    assert judge.dead(judge.suspects(["w"], []), []) == []
    now[0] += 2.0
    assert judge.dead(judge.suspects(["w"], []), []) == []


def test_a_judge_that_has_just_begun_waits_before_it_judges() -> None:
    # A store may have come back a moment ago, and its workers may be on their way.
    now = [0.0]
    judge = Judge(clock=lambda: now[0])
    verdicts = []
    for _ in range(12):
        verdicts.append(judge.dead(judge.suspects(["w"], []), []))
        now[0] += 1.0
    assert verdicts[:10] == [[]] * 10
    assert verdicts[-1] == ["w"]


def test_nobody_is_judged_until_the_grace_after_an_outage() -> None:
    now = [0.0]
    judge = Judge(clock=lambda: now[0])
    judge.suspects(["w"], ["w"])
    judge.outage()
    verdicts = []
    for _ in range(12):
        now[0] += 1.0
        verdicts.append(judge.dead(judge.suspects(["w"], []), []))
    assert verdicts[:9] == [[]] * 9
    assert verdicts[-1] == ["w"]


def test_a_flush_publishes_every_unclaimed_bundle_again(engine: Engine) -> None:
    engine.apply({"name": "w", "tasks": {"a": process(for_each="20")}})
    run = engine.start("w")
    engine.ring.ring(ALL)
    engine.fold()
    before = engine.published()
    assert engine.bus.queued("p@1.0.0") == set(before)
    engine.bus.client.flushdb()
    engine.ring.ring(ALL)
    assert engine.bus.queued("p@1.0.0") == set(before)
    engine.drive()
    assert engine.run_object(run)["state"] == "succeeded"


def test_a_lost_message_is_published_again(engine: Engine) -> None:
    engine.apply({"name": "w", "tasks": {"a": process()}})
    engine.start("w")
    engine.fold()
    engine.flush_queues()
    silence_published(engine)
    engine.ring.ring(ALL)
    assert engine.bus.queued("p@1.0.0") == set(engine.published()) != set()


def test_a_message_that_waits_in_its_queue_is_not_published_twice(engine: Engine) -> None:
    engine.apply({"name": "w", "tasks": {"a": process()}})
    engine.start("w")
    engine.fold()
    silence_published(engine)
    assert engine.ring.ring(ALL).repaired == 0
    assert engine.bus.depths(["p@1.0.0"]) == {"p@1.0.0": 1}


def test_the_queue_holds_no_more_than_its_depth_and_the_backlog_follows(database: str, redis: str) -> None:
    engine = Engine(database, redis, queue_depth=3)
    engine.apply({"name": "w", "tasks": {f"t{i}": process() for i in range(10)}})
    run = engine.start("w")
    engine.fold()
    assert engine.bus.depths(["p@1.0.0"]) == {"p@1.0.0": 3}
    assert engine.store.overview(PARTITIONS).backlog == ["p@1.0.0"]
    engine.drive()
    assert engine.run_object(run)["state"] == "succeeded"
    engine.close()


def test_redis_holds_few_bundles_for_each_worker(engine: Engine) -> None:
    # What is in a queue goes as it came; runs take turns only in the backlog.
    engine.apply({"name": "w", "tasks": {f"t{i}": process() for i in range(30)}})
    engine.start("w")
    engine.fold()
    assert engine.bus.depths(["p@1.0.0"]) == {"p@1.0.0": 8}
    for number in range(4):
        beat(engine, f"w{number}")
    engine.ring.ring(ALL)
    assert engine.bus.depths(["p@1.0.0"]) == {"p@1.0.0": 12}


def test_a_full_queue_says_that_more_may_wait(database: str, redis: str) -> None:
    engine = Engine(database, redis, queue_depth=3)
    engine.apply({"name": "w", "tasks": {f"t{i}": process() for i in range(5)}})
    engine.start("w")
    engine.fold()
    assert engine.refill.refill(["p@1.0.0"]).more == {"p@1.0.0"}
    engine.flush_queues()
    engine.refill._pace.forget_lengths()
    refilled = engine.refill.refill(["p@1.0.0"])
    assert (refilled.published, refilled.more) == (2, frozenset())
    engine.close()


def test_a_backlog_goes_by_priority_and_then_round_robin_over_runs(database: str, redis: str) -> None:
    engine = Engine(database, redis, queue_depth=1)
    tasks = {f"t{i}": process() for i in range(4)}
    engine.apply({"name": "late", "priority": 100, "tasks": tasks})
    engine.apply({"name": "urgent", "priority": 1, "tasks": {"u": process()}})
    first, second, urgent = engine.start("late"), engine.start("late"), engine.start("urgent")
    engine.fold()
    order = []
    for _ in range(9):
        row = engine.sql("select id, run_id from engine.bundle where published_at is not null and claim is null")[0]
        order.append(row["run_id"])
        engine.work(bundles=[row["id"]])
        engine.flush_queues()
        engine.refill._pace.forget_lengths()
        engine.refill.refill(["p@1.0.0"])
    assert urgent in order[:2]
    late = [run for run in order if run != urgent]
    assert {late[0], late[1]} == {late[2], late[3]} == {first, second}
    engine.close()


def test_a_pool_has_no_more_jobs_under_way_than_places_and_the_urgent_go_first(database: str, redis: str) -> None:
    engine = Engine(database, redis, pool_limits={"XS": 1})
    job = {"job_service": {"image": "/a/b/c:1", "compute_pool": "xs"}}
    free = {"job_service": {"image": "/a/b/c:1", "compute_pool": "other"}}
    engine.apply({"name": "late", "priority": 100, "tasks": {"a": job, "b": job, "free": free}})
    engine.apply({"name": "urgent", "priority": 1, "tasks": {"u": job}})
    late, urgent = engine.start("late"), engine.start("urgent")
    engine.fold()

    def under_way() -> list[Any]:
        found = "select id, run_id from engine.bundle where limit_key = 'XS' and published_at is not null"
        return [(row["run_id"], row["id"]) for row in engine.sql(found)]

    assert engine.published() != [bundle for _, bundle in under_way()]  # nobody counts the places of the other pool
    task = engine.run_object(late)["tasks"]["a"]
    assert task["note"] == "No place is free in compute pool XS (FRESHET_POOL_LIMITS)."
    order = []
    for _ in range(3):
        assert engine.refill.refill(["job_service"]).published == 0
        ((run, bundle),) = under_way()
        order.append(run)
        engine.work(bundles=[bundle])
        assert engine.refill.refill(["job_service"]).more == ({"job_service"} if len(order) < 2 else frozenset())
    assert order == [urgent, late, late]
    engine.close()


def test_two_dispatchers_share_the_partitions_and_one_takes_over_from_the_other(database: str) -> None:
    one = PartitionLocks(Database(database, name="one"))
    two = PartitionLocks(Database(database, name="two"))
    assert one.take(PARTITIONS, wanted=8) | two.take(PARTITIONS, wanted=16) == set(PARTITIONS)
    assert not one.held & two.held
    one.close()
    deadline = time.monotonic() + 10
    # A backend lets its locks go when it sees that its client has gone.
    while two.held != set(PARTITIONS) and time.monotonic() < deadline:
        two.take(PARTITIONS, wanted=16)
    assert two.held == set(PARTITIONS)
    two.close()


def test_a_run_that_one_dispatcher_holds_is_left_alone_by_another(engine: Engine, database: str, redis: str) -> None:
    other = Engine(database, redis)
    engine.apply({"name": "w", "tasks": {"a": process(), "b": process(["a"])}})
    run = engine.start("w")
    with engine.store.batch() as batch:
        taken = batch.take(PARTITIONS, limit=10)
        assert taken is not None
        assert [row.id for row in taken.runs] == [str(run)]
        assert other.folder.fold(PARTITIONS).runs == 0
    other.close()


def test_a_cancel_tells_the_worker_to_stop(engine: Engine) -> None:
    engine.apply({"name": "w", "tasks": {"a": process()}})
    run = engine.start("w")
    engine.fold()
    bundle = engine.published()[0]
    engine.claim(bundle, "w1")
    engine.requests.cancel(run)
    engine.fold()
    heartbeat = Heartbeat(
        worker="w1", state="busy", busy_s=0, idle_s=0, wall_s=0, pid=1, hostname="h", queues=(), started_at=""
    )
    assert engine.bus.beat(heartbeat, expires_s=1) == [bundle]
    assert engine.run_object(run)["state"] == "cancelled"
