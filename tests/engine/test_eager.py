"""A worker that decides what follows the end of its own task, on the real store."""

from __future__ import annotations

import uuid
from functools import cache
from itertools import pairwise
from typing import Any

import orjson
import psycopg
import pytest
from tests.engine.harness import Engine, document, process

from freshet.domain.errors import UnreachableError
from freshet.engine.eager import EagerDispatch
from freshet.runtime import fault
from freshet.storage.worker_store import Claimed, Fact

Onward = tuple[Claimed | None, list[Fact]] | None
OTHER = {"process": "q@1.0.0"}


class EagerWorker:
    """Serves p@1.0.0, and goes on by itself."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.noted: list[int] = []
        self.dispatch = EagerDispatch(
            engine.store, engine.bus, cache(engine._workflow), worker="w1", queues=("p@1.0.0", "python")
        )

    def claim(self) -> Claimed:
        """The oldest bundle that is published."""
        claimed, _ = self.engine.claim(self.engine.published()[0])
        assert claimed is not None
        return claimed

    def end(self, claimed: Claimed, *, result: Any = None, before: bool = False, **outcome: Any) -> Onward:
        """End its only item, with a report that is committed beforehand or with the decision."""
        item = claimed.document["bundle"]["items"][0]
        body = {"i": item, "a": 1, "s": "succeeded", "d": 0.5, "r": result, **outcome}
        if before:
            self.engine.workers.finish(claimed.bundle, claimed.claim, [body])
        bodies = [] if before else [orjson.dumps(body)]
        return self.dispatch.end(claimed, bodies, claim=uuid.uuid4(), note=self.noted.append)

    def go_on(self, claimed: Claimed | None) -> list[str]:
        """End what is claimed, and what follows, until nothing does; the tasks."""
        tasks = []
        while claimed is not None and self.dispatch.may_end(claimed):
            tasks.append(claimed.document["task"]["path"])
            onward = self.end(claimed, result=tasks[-1])
            assert onward is not None
            claimed = onward[0]
        return tasks


@pytest.fixture
def worker(engine: Engine) -> EagerWorker:
    return EagerWorker(engine)


def started(engine: Engine, **tasks: Any) -> uuid.UUID:
    engine.apply(document(**tasks))
    run = engine.start("w")
    engine.fold()
    return run


def test_a_chain_is_worked_through_without_a_dispatcher(engine: Engine, worker: EagerWorker) -> None:
    run = started(engine, a=process(), b=process(["a"]), c=process(["b"]))
    assert worker.go_on(worker.claim()) == ["a", "b", "c"]
    found = engine.run_object(run)
    assert found["state"] == "succeeded"
    assert {name: task["result"] for name, task in found["tasks"].items()} == {"a": "a", "b": "b", "c": "c"}
    assert engine.sql("select id from engine.bundle union all select id from engine.report") == []
    facts = [fact["type"].split(".")[1:3] for row in engine.sql("select body from engine.outbox order by id")
             for fact in row["body"]]  # fmt: skip
    assert facts == [
        ["run", "running"], ["task", "running"], ["item", "running"],
        ["item", "succeeded"], ["task", "succeeded"], ["task", "running"], ["item", "running"],
        ["item", "succeeded"], ["task", "succeeded"], ["task", "running"], ["item", "running"],
        ["item", "succeeded"], ["task", "succeeded"], ["run", "succeeded"],
    ]  # fmt: skip


def test_a_wide_chain_sees_what_the_end_of_a_task_matters_to(engine: Engine, worker: EagerWorker) -> None:
    names = [f"t{n:02d}" for n in range(20)]
    tasks: dict[str, Any] = {name: process([before]) for before, name in pairwise(names)}
    tasks |= {"both": process(["t03", "t19"]), "never": process(["t00"], run_if="any_failed")}
    run = started(engine, t00=process(), **tasks)
    assert worker.go_on(worker.claim()) == [*names, "both"]
    found = engine.run_object(run)
    assert (found["state"], found["tasks"]["never"]["state"]) == ("succeeded", "skipped")


def test_a_child_that_waits_for_another_parent_is_not_looked_at(engine: Engine, worker: EagerWorker) -> None:
    many = {f"t{n:02d}": process(["both"]) for n in range(16)}
    started(engine, a=process(), slow=OTHER, both=process(["a", "slow"]), **many)
    claimed = next(each for each in iter(worker.claim, None) if each.document["task"]["path"] == "a")
    with engine.store.batch() as batch:
        item = claimed.document["bundle"]["items"][0]
        body = orjson.dumps({"i": item, "a": 1, "s": "succeeded", "d": 0.5, "r": None})
        taken = batch.finish_and_take(claimed.document["bundle"], claimed.claim, [orjson.Fragment(body)])
    assert taken is not None
    assert [row.task for row in taken.nodes] == ["a"]


def test_what_follows_is_claimed_once_and_the_rest_is_published(engine: Engine, worker: EagerWorker) -> None:
    started(engine, a=process(), b=process(["a"]), c=process(["a"]), d={**OTHER, "after": ["a"]})
    claimed = worker.claim()
    engine.flush_queues()  # its own message
    onward = worker.end(claimed)
    assert onward is not None
    assert onward[0] is not None
    assert onward[0].document["task"]["path"] == "b"
    assert worker.noted == [onward[0].bundle]
    held = engine.sql("select worker, claim from engine.bundle where id = %s", onward[0].bundle)
    assert held == [{"worker": "w1", "claim": onward[0].claim}]
    assert [len(engine.bus.queued(queue)) for queue in ("p@1.0.0", "q@1.0.0")] == [1, 1]
    assert len(engine.published()) == 2


def test_what_the_worker_does_not_serve_is_published_for_others(engine: Engine, worker: EagerWorker) -> None:
    started(engine, a=process(), b={**OTHER, "after": ["a"]})
    onward = worker.end(worker.claim())
    assert onward is not None
    assert onward[0] is None
    assert engine.bus.queued("q@1.0.0") == set(engine.published())


def test_a_report_that_was_committed_before_is_decided_about(engine: Engine, worker: EagerWorker) -> None:
    started(engine, a=process(), b=process(["a"]))
    onward = worker.end(worker.claim(), before=True)
    assert onward is not None
    assert onward[0] is not None
    assert engine.sql("select id from engine.report") == []


@pytest.mark.parametrize("before", [False, True])
def test_a_failure_is_reported_and_left_to_the_dispatcher(engine: Engine, worker: EagerWorker, before: bool) -> None:
    run = started(engine, a=process(retries={"limit": 1, "delay": "PT0S"}), b=process(["a"]))
    error = {"class": "user", "message": "It broke."}
    onward = worker.end(worker.claim(), before=before, s="failed", e=error)
    assert onward == (None, [])
    assert engine.one("select count(*) from engine.report") == 1
    assert engine.bus.await_wake([f"dispatcher:{int(str(run)[-1], 16)}"], seconds=0.01) is not None
    engine.drive()
    assert engine.run_object(run)["tasks"]["a"]["attempts"] == 2


def test_what_a_dispatcher_holds_is_reported_and_left_to_it(engine: Engine, worker: EagerWorker, database: str) -> None:
    run = started(engine, a=process(), b=process(["a"]))
    claimed = worker.claim()
    with psycopg.connect(database) as holder:
        holder.execute("select from engine.run where id = %s for update", (run,))
        assert worker.end(claimed) == (None, [])
    assert engine.one("select count(*) from engine.report") == 1
    engine.drive()
    assert engine.run_object(run)["state"] == "succeeded"


@pytest.mark.parametrize(
    "after",
    [
        {"m": process(["a"], for_each="3")},
        {"m": {"after": ["a"], "for_each": "2", "tasks": {"x": process()}}},
        {"j": {"after": ["a"], "job_service": {"image": "/d/s/r/i:1", "compute_pool": "P"}}},
    ],
)
def test_maps_and_jobs_are_the_dispatchers(engine: Engine, worker: EagerWorker, after: dict[str, Any]) -> None:
    started(engine, a=process(), **after)
    assert not worker.dispatch.may_end(worker.claim())


def test_a_map_that_starts_behind_a_skipped_task_takes_the_decision_back(engine: Engine, worker: EagerWorker) -> None:
    never = process(["a"], run_if="any_failed")
    run = started(engine, a=process(), never=never, m=process(["never"], run_if="all_done", for_each="3"))
    claimed = worker.claim()
    assert worker.dispatch.may_end(claimed)
    assert worker.end(claimed) is None
    assert engine.sql("select claim from engine.bundle") == [{"claim": claimed.claim}]
    assert engine.sql("select id from engine.report") == []
    engine.workers.finish(
        claimed.bundle, claimed.claim, [{"i": claimed.document["bundle"]["items"][0], "a": 1, "s": "succeeded"}]
    )
    engine.drive()
    assert engine.run_object(run)["tasks"]["m"]["items"]["succeeded"] == 3


def test_more_than_a_queue_may_hold_is_the_dispatchers(engine: Engine, worker: EagerWorker) -> None:
    started(engine, a=process(), **{f"b{n}": process(["a"]) for n in range(9)})
    assert worker.end(worker.claim()) is None
    assert engine.one("select count(*) from engine.bundle") == 1


def test_a_claim_that_was_lost_changes_nothing(engine: Engine, worker: EagerWorker) -> None:
    started(engine, a=process(), b=process(["a"]))
    claimed = worker.claim()
    engine.store.release_workers(["w1"])
    assert worker.end(claimed) is None
    assert engine.sql("select body #>> '{0,s}' as s from engine.report") == [{"s": "lost"}]
    assert engine.one("select state from engine.work_item") == "queued"


def test_a_claim_that_another_holds_by_now_is_his(engine: Engine, worker: EagerWorker) -> None:
    started(engine, a=process(), b=process(["a"]))
    claimed = worker.claim()
    his = uuid.uuid4()
    engine.sql("update engine.bundle set claim = %s, worker = 'w2'", his)
    assert worker.end(claimed) is None
    assert engine.sql("select claim, worker from engine.bundle") == [{"claim": his, "worker": "w2"}]
    assert engine.one("select state from engine.work_item") == "queued"


def test_a_cancel_that_waits_ends_what_was_claimed_eagerly(engine: Engine, worker: EagerWorker) -> None:
    run = started(engine, a=process(), b=process(["a"]))
    claimed = worker.claim()
    engine.requests.cancel(run)
    onward = worker.end(claimed)
    assert onward is not None
    assert onward[0] is not None
    engine.drive()
    found = engine.run_object(run)
    assert (found["state"], found["tasks"]["b"]["state"]) == ("cancelled", "cancelled")
    assert worker.end(onward[0]) is None


def test_a_decision_that_cannot_be_committed_leaves_nothing(engine: Engine, worker: EagerWorker) -> None:
    started(engine, a=process(), b=process(["a"]))
    claimed = worker.claim()
    before = _rows(engine)

    def fail(point: str) -> None:
        if point == "eager.decided":
            raise UnreachableError("Postgres can't be reached.")

    with fault.armed(fail):
        assert worker.end(claimed) is None
    assert _rows(engine) == before
    assert worker.go_on(claimed) == ["a", "b"]


def test_a_run_that_waits_for_the_end_of_another_is_let_go(engine: Engine, worker: EagerWorker) -> None:
    engine.apply({**document(a=process()), "schedule": {"every": "PT1H", "overlap": "queue"}})
    first = engine.start("w")
    engine.fold()
    held = engine.start("w")
    engine.sql("update engine.run set held = true where id = %s", held)
    assert worker.go_on(worker.claim()) == ["a"]
    assert engine.run_object(first)["state"] == "succeeded"
    assert engine.bus.await_wake([f"dispatcher:{int(str(held)[-1], 16)}"], seconds=0.01) is not None
    engine.drive()
    assert engine.run_object(held)["state"] == "succeeded"


def _rows(engine: Engine) -> list[Any]:
    tables = ("run", "task_run", "work_item", "bundle", "report", "outbox")
    return [engine.sql(f"select to_jsonb(t) from engine.{table} t order by id") for table in tables]
