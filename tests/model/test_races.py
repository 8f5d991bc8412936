"""Pairs of verbs whose transactions overlap: A's comes first, whatever B has read meanwhile.

READ COMMITTED has B's statement go on with what A has committed in the rows that it waited for, and with the old
picture of all others. Each test lets B wait in that very place.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
from tests.engine.harness import PARTITIONS, Call, Engine, FailureError, process
from tests.model.interleaving import OpenDatabase, Second

from freshet.domain.errors import ClaimLostError
from freshet.engine.fold import Folded, Folder
from freshet.engine.pace import Pace
from freshet.runtime import fault
from freshet.storage.database import Database
from freshet.storage.engine_store import EngineStore
from freshet.storage.record import Recording
from freshet.storage.worker_store import JobLog, LogPart, WorkerStore

T = TypeVar("T")


@dataclass(kw_only=True)
class Race:
    """An engine, and two ways to its tables: `first` keeps its transaction open."""

    engine: Engine
    first: OpenDatabase
    second: Database

    @property
    def first_worker(self) -> WorkerStore:
        return WorkerStore(self.first)

    @property
    def second_worker(self) -> WorkerStore:
        return WorkerStore(self.second)

    @property
    def first_store(self) -> EngineStore:
        return EngineStore(self.first)

    @property
    def second_store(self) -> EngineStore:
        return EngineStore(self.second)

    def folder(self, database: Database) -> Folder:
        pace = Pace(queue_depth=100, depths=self.engine.bus.depths)
        return Folder(EngineStore(database), self.engine.bus, self.engine._workflow, pace, draw=lambda: 0.5)

    def fold(self, database: Database) -> Folded:
        return self.folder(database).fold(PARTITIONS)

    def then(self, call: Callable[[], T], *, waits: bool) -> T:
        """B's answer, after A has committed."""
        second = Second(self.second, call)
        assert second.waits(self.engine.database) == waits
        self.first.commit()
        return second.answer()


@pytest.fixture
def race(database: str, redis: str) -> Iterator[Race]:
    made = Race(engine=Engine(database, redis), first=OpenDatabase(database), second=Database(database, name="second"))
    yield made
    made.first.close()
    made.second.close()
    made.engine.close()


@dataclass(frozen=True, kw_only=True)
class Held:
    """A bundle in a worker's hands."""

    run: uuid.UUID
    bundle: int
    token: uuid.UUID
    body: list[dict[str, Any]]


def held(race: Race, *, width: int = 0, **more: Any) -> Held:
    """One run of a task whose bundle `w1` holds; a `width` above 2 makes it one of several items."""
    engine = race.engine
    if width:
        more["for_each"] = str(width)
    engine.apply({"name": "w", "tasks": {"a": process(**more)}})
    run = engine.start("w")
    engine.fold()
    if width:
        engine.work(lambda call: "probe")
        engine.fold()
    bundle = max(engine.sql("select id, cardinality(items) as n from engine.bundle"), key=lambda row: row["n"])["id"]
    claimed, token = engine.claim(bundle)
    items = claimed.document["bundle"]["items"]
    body = [{"i": item, "a": 1, "s": "succeeded", "r": "first", "d": 0.001} for item in items]
    return Held(run=run, bundle=bundle, token=token, body=body)


def overdue(race: Race) -> None:
    race.engine.sql("update engine.bundle set expires_at = clock_timestamp() - interval '1 s' where claim is not null")


def ended(race: Race, at: Held) -> dict[str, Any]:
    """The run's task, when all is over: each item ran to its end once, and nothing is left."""
    race.engine.drive(lambda call: f"again {call.attempt}")
    assert race.engine.sql("select * from engine.bundle") == race.engine.sql("select * from engine.report") == []
    return dict(race.engine.run_object(at.run)["tasks"]["a"])


def first_result(race: Race, at: Held) -> Any:
    return race.engine.one("select result from engine.work_item where id = %s", at.body[0]["i"])


def test_a_finish_wins_over_the_sweep_that_waits_for_it(race: Race) -> None:
    at = held(race)
    assert race.first_worker.finish(at.bundle, at.token, at.body)
    assert race.then(lambda: race.second_store.release_workers(["w1"]), waits=True) == []
    assert (ended(race, at)["attempts"], first_result(race, at)) == (1, "first")


def test_a_sweep_wins_over_the_finish_that_waits_for_it(race: Race) -> None:
    at = held(race)
    assert race.first_store.release_workers(["w1"])
    with pytest.raises(ClaimLostError):
        race.then(lambda: race.second_worker.finish(at.bundle, at.token, at.body), waits=True)
    assert (ended(race, at)["attempts"], first_result(race, at)) == (1, "again 1")


def test_a_sweep_that_waits_for_a_partial_finish_takes_back_only_the_rest(race: Race) -> None:
    at = held(race, width=12)
    assert not race.first_worker.finish(at.bundle, at.token, at.body[:2])
    partitions = race.then(lambda: race.second_store.release_workers(["w1"]), waits=True)
    assert len(partitions) == 1
    bodies = race.engine.sql("select body from engine.report order by id")
    assert [[told["i"] for told in row["body"]] for row in bodies] == [
        [told["i"] for told in at.body[:2]],
        [told["i"] for told in at.body[2:]],
    ]
    assert ended(race, at)["items"]["succeeded"] == 12
    assert first_result(race, at) == "first"


def test_a_partial_finish_that_waits_for_a_sweep_is_refused(race: Race) -> None:
    at = held(race, width=12)
    race.first_store.release_workers(["w1"])
    with pytest.raises(ClaimLostError):
        race.then(lambda: race.second_worker.finish(at.bundle, at.token, at.body[:2]), waits=True)
    assert ended(race, at)["items"]["succeeded"] == 12
    assert first_result(race, at) == "again 1"


def test_two_parts_of_one_bundle_are_counted_one_after_the_other(race: Race) -> None:
    at = held(race, width=12)
    race.first_worker.finish(at.bundle, at.token, at.body[:2])
    with pytest.raises(ClaimLostError):
        race.then(lambda: race.second_worker.finish(at.bundle, at.token, at.body[:2]), waits=True)
    assert race.engine.one("select done from engine.bundle where id = %s", at.bundle) == 2


def test_an_expiry_passes_over_a_bundle_that_is_being_finished(race: Race) -> None:
    at = held(race, timeout="PT10S", retries={"limit": 1})
    overdue(race)
    assert race.first_worker.finish(at.bundle, at.token, at.body)
    assert race.then(lambda: race.second_store.expire_bundles(limit=10), waits=False) == []
    assert race.second_store.expire_bundles(limit=10) == []
    assert (ended(race, at)["attempts"], first_result(race, at)) == (1, "first")


def test_a_finish_that_waits_for_an_expiry_is_refused(race: Race) -> None:
    at = held(race, timeout="PT10S", retries={"limit": 1})
    overdue(race)
    assert race.first_store.expire_bundles(limit=10)
    with pytest.raises(ClaimLostError):
        race.then(lambda: race.second_worker.finish(at.bundle, at.token, at.body), waits=True)
    assert (ended(race, at)["attempts"], first_result(race, at)) == (2, "again 2")


def test_a_cancel_that_waits_for_a_finish_leaves_what_it_committed(race: Race) -> None:
    at = held(race)
    race.engine.requests.cancel(at.run)
    assert race.first_worker.finish(at.bundle, at.token, at.body)
    race.then(lambda: race.fold(race.second), waits=True)
    assert ended(race, at)["state"] == "succeeded"
    assert race.engine.run_object(at.run)["state"] == "cancelled"


def test_a_failure_that_a_cancel_waited_for_is_not_tried_again(race: Race) -> None:
    at = held(race, retries={"limit": 3})
    race.engine.requests.cancel(at.run)
    race.first_worker.finish(at.bundle, at.token, [{**at.body[0], "s": "failed", "r": None, "e": {"class": "user"}}])
    race.then(lambda: race.fold(race.second), waits=True)
    race.engine.fold()
    assert race.engine.sql("select * from engine.bundle") == []
    assert race.engine.run_object(at.run)["state"] == "cancelled"
    assert race.engine.run_object(at.run)["tasks"]["a"]["attempts"] == 1


def test_what_is_finished_while_a_cancel_is_being_folded_wins_over_it(race: Race) -> None:
    at = held(race, retries={"limit": 1})
    race.engine.requests.cancel(at.run)

    def finish(point: str) -> None:
        if point == "fold.taken":
            race.second_worker.finish(at.bundle, at.token, at.body)

    with fault.armed(finish):
        race.engine.folder.fold(PARTITIONS)
    assert ended(race, at)["state"] == "succeeded"
    assert first_result(race, at) == "first"


def test_a_finish_that_waits_for_a_cancel_is_refused(race: Race) -> None:
    at = held(race)
    race.engine.requests.cancel(at.run)
    race.fold(race.first)
    with pytest.raises(ClaimLostError):
        race.then(lambda: race.second_worker.finish(at.bundle, at.token, at.body), waits=True)
    assert ended(race, at)["state"] == "cancelled"


def unclaimed(race: Race, **more: Any) -> tuple[uuid.UUID, int]:
    race.engine.apply({"name": "w", "tasks": {"a": process(**more)}})
    run = race.engine.start("w")
    race.engine.fold()
    return run, race.engine.published()[0]


def test_of_two_that_claim_at_once_one_gets_the_bundle(race: Race) -> None:
    _, bundle = unclaimed(race)
    token = uuid.uuid4()
    assert race.first_worker.claim(bundle, "w1", token) is not None
    assert race.then(lambda: race.second_worker.claim(bundle, "w2", uuid.uuid4()), waits=True) is None
    assert race.engine.one("select claim from engine.bundle") == token


def test_a_claim_that_waits_for_a_cancel_gets_nothing(race: Race) -> None:
    run, bundle = unclaimed(race)
    race.engine.requests.cancel(run)
    race.fold(race.first)
    assert race.then(lambda: race.second_worker.claim(bundle, "w1", uuid.uuid4()), waits=True) is None
    race.engine.fold()
    assert race.engine.run_object(run)["tasks"]["a"]["attempts"] == 0


def test_a_cancel_that_waits_for_a_claim_takes_it_away_and_stops_the_worker(race: Race) -> None:
    run, bundle = unclaimed(race)
    token = uuid.uuid4()
    race.engine.requests.cancel(run)
    race.first_worker.claim(bundle, "w1", token)
    race.then(lambda: race.fold(race.second), waits=True)
    assert race.engine.one("select worker from engine.report") == "w1"
    with pytest.raises(ClaimLostError):
        race.second_worker.finish(bundle, token, [])
    race.engine.fold()
    assert race.engine.run_object(run)["tasks"]["a"]["attempts"] == 1


def test_of_two_sweeps_at_once_one_takes_the_bundle(race: Race) -> None:
    at = held(race)
    assert len(race.first_store.release_workers(["w1"])) == 1
    assert race.then(lambda: race.second_store.release_workers(["w1"]), waits=True) == []
    assert len(race.engine.sql("select * from engine.report")) == 1
    assert ended(race, at)["attempts"] == 1


def test_a_claim_during_a_sweep_gets_nothing(race: Race) -> None:
    at = held(race)
    race.first_store.release_workers(["w1"])
    assert race.then(lambda: race.second_worker.claim(at.bundle, "w2", uuid.uuid4()), waits=False) is None
    assert ended(race, at)["attempts"] == 1


def test_two_folds_at_once_count_a_report_once(race: Race) -> None:
    engine = race.engine
    engine.apply({"name": "w", "tasks": {"a": process(for_each="2"), "b": process(["a"])}})
    run = engine.start("w")
    engine.fold()
    engine.work()
    assert race.fold(race.first).runs == 1
    assert race.then(lambda: race.fold(race.second), waits=False).runs == 0
    engine.drive()
    assert engine.run_object(run)["tasks"]["a"]["items"]["succeeded"] == 2
    assert engine.run_object(run)["state"] == "succeeded"


def test_a_fold_that_comes_to_a_run_later_decides_by_what_the_other_has_committed(race: Race) -> None:
    """The second has read the inbox when the first commits: it sees the counters of then, not those of its start."""
    engine = race.engine
    engine.apply({"name": "w", "tasks": {"a": process(), "b": process(), "c": process(["a", "b"])}})
    run = engine.start("w")
    engine.fold()
    one, two = engine.published()
    engine.work(bundles=[one])
    blocker = race.second.dedicated()
    blocker.autocommit = False
    blocker.execute("lock table engine.request in access exclusive mode")
    # Between its look at the inbox and its lock on the run stands a look at the requests, where it is made to wait.
    second = Second(race.second, lambda: race.fold(race.second))
    assert second.waits(engine.database)
    engine.work(bundles=[two])
    blocker.commit()
    second.answer()
    blocker.close()
    engine.drive()
    assert engine.run_object(run)["state"] == "succeeded"
    assert engine.run_object(run)["tasks"]["c"]["attempts"] == 1


def test_a_finish_during_a_fold_of_its_run_is_left_for_the_next_one(race: Race) -> None:
    engine = race.engine
    engine.apply({"name": "w", "tasks": {"a": process(), "b": process(), "c": process(["a", "b"])}})
    run = engine.start("w")
    engine.fold()
    one, two = engine.published()
    engine.work(bundles=[one])
    race.fold(race.first)
    race.then(lambda: engine.work(bundles=[two]), waits=False)
    assert len(engine.sql("select * from engine.report")) == 1
    engine.drive()
    assert engine.run_object(run)["tasks"]["c"]["attempts"] == 1


def test_two_that_release_what_is_due_release_it_once(race: Race) -> None:
    def fail_first(call: Call) -> str:
        if call.attempt == 1:
            raise FailureError("once")
        return "done"

    run, _ = unclaimed(race, retries={"limit": 1, "delay": "PT1H"})
    race.engine.work(fail_first)
    race.engine.fold()
    race.engine.sql("update engine.bundle set due_at = clock_timestamp() - interval '1 s'")
    assert len(race.first_store.release_due(limit=10)) == 1
    assert race.then(lambda: race.second_store.release_due(limit=10), waits=False) == []
    race.engine.drive(fail_first)
    assert race.engine.run_object(run)["tasks"]["a"]["attempts"] == 2


def test_two_refills_at_once_publish_a_bundle_once(race: Race) -> None:
    unclaimed(race, for_each="4")
    race.engine.store.unpublish_all()
    count = race.engine.one("select count(*) from engine.bundle")
    assert len(race.first_store.publish_backlog("p@1.0.0", room=10)) == count > 1
    assert race.then(lambda: race.second_store.publish_backlog("p@1.0.0", room=10), waits=False) == []


def test_two_refills_at_once_give_a_place_in_a_pool_away_once(race: Race) -> None:
    unclaimed(race, for_each="4")
    race.engine.sql("update engine.bundle set published_at = null, limit_key = 'XS'")
    # Of two queues: else both would choose the same bundle, and its row would be the guard.
    race.engine.sql("update engine.bundle set queue = 'other' where id = (select max(id) from engine.bundle)")
    limits = {"XS": 1}
    assert len(race.first_store.publish_limited("p@1.0.0", room=10, limits=limits)[0]) == 1
    second = race.second_store
    assert race.then(lambda: second.publish_limited("other", room=10, limits=limits), waits=True) == ([], True)


def test_two_watchers_that_read_the_same_lines_write_them_once(race: Race) -> None:
    run, bundle = unclaimed(race)
    race.engine.sql("update engine.bundle set job_name = 'J', submitted_at = now()")
    where = JobLog(bundle=bundle, job="J", run_id=run, task="a", item="", attempt=1, claim=uuid.uuid4())
    parts = [LogPart(item="", attempt=1, number=0, text="one\n")]
    assert race.first_worker.write_job_log(where, parts)
    assert race.then(lambda: race.second_worker.write_job_log(where, parts), waits=True) is False
    assert race.engine.sql("select text from log.attempt_log") == [{"text": "one\n"}]


def test_two_runs_that_end_at_once_start_the_held_one_once(race: Race) -> None:
    """Each sees the other go on; the second looks again after the first one's commit."""
    engine = race.engine
    engine.apply({"name": "w", "tasks": {"a": process()}})
    runs = [engine.start("w"), engine.start("w")]
    engine.fold()
    waiting = hold(engine)
    first, second = engine.sql("select id, run_id from engine.bundle order by id")
    engine.work(bundles=[first["id"]])
    race.fold(race.first)
    engine.work(bundles=[second["id"]])
    race.then(lambda: race.fold(race.second), waits=True)
    assert [engine.run_object(run)["state"] for run in runs] == ["succeeded", "succeeded"]
    assert engine.sql("select run_id, kind from engine.request") == [{"run_id": waiting, "kind": "start"}]


def hold(engine: Engine) -> uuid.UUID:
    """A run that waits for the others of its workflow."""
    run = engine.start("w")
    engine.sql("delete from engine.request where run_id = %s", run)
    engine.sql("update engine.run set held = true where id = %s", run)
    return run


def test_facts_that_two_recorders_have_in_hand_are_logged_once(race: Race) -> None:
    unclaimed(race)
    race.engine.drive()
    ids = [row["id"] for row in race.engine.sql("select id from engine.outbox order by id")]
    one = Recording(race.first).record(ids)
    assert one.entries == len(ids) > 3
    assert race.then(lambda: Recording(race.second).record(ids), waits=True).entries == 0
    assert race.engine.one("select count(*) from log.run") == 1
    assert race.engine.one("select count(*) from log.attempt") == 1
    assert race.engine.one("select count(*) from log.event") == one.facts
