"""What the previous version wrote is understood today, and what is written today has all that it had.

tests/golden/<version> holds what `python -m tests.upgrade.writing` wrote with the code of that version.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from psycopg.types.json import Jsonb
from tests.engine.harness import Engine
from tests.house.measure import ROOT
from tests.upgrade.shape import losses
from tests.upgrade.writing import QUEUE, written

from freshet.bus import Bus, QueueWorker
from freshet.definition import compile_workflow, normalise
from freshet.events import EVENT_TYPES, describe, event_id
from freshet.execution.job_service import job_name, job_prefix, run_of
from freshet.execution.payload import Preparation
from freshet.storage.record import Recording
from freshet.storage.worker_store import Claimed
from freshet_api.live_feed import Entry
from freshet_api.server_sent_events import _events_of

GOLDEN = ROOT / "tests" / "golden"
VERSIONS = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())
FILES = ("claims", "events", "facts", "heartbeat", "jobs", "message", "reports", "run", "workflow")
#: Files that hold one document per name; the names are compared, and the documents one by one.
BY_NAME = {"claims", "events", "facts", "reports"}

pytestmark = [pytest.mark.parametrize("version", VERSIONS)]


def golden(version: str, name: str) -> Any:
    return orjson.loads((GOLDEN / version / f"{name}.json").read_bytes())


@pytest.fixture
def engine(database: str, redis: str) -> Iterator[Engine]:
    made = Engine(database, redis)
    yield made
    made.close()


# --- today's shape --------------------------------------------------------------------------------------------------


def test_what_is_written_today_has_lost_and_retyped_nothing(version: str, database: str, redis: str) -> None:
    today = written(database, redis)
    found = [loss for name in FILES for loss in losses(golden(version, name), today[name], name)]
    assert found == []


def test_a_lost_and_a_retyped_member_are_seen_and_a_new_one_may_come(version: str) -> None:
    old = golden(version, "claims")
    new = copy.deepcopy(old)
    new["join"]["bundle"]["colour"] = "red"
    assert list(losses(old, new)) == []
    del new["join"]["bundle"]["attempts"]
    new["join"]["bundle"]["done"] = "0"
    assert sorted(losses(old, new)) == [".join.bundle.attempts is gone", ".join.bundle.done: number became str"]


def test_every_type_of_event_has_its_golden_file(version: str) -> None:
    assert set(golden(version, "events")) <= set(EVENT_TYPES)
    if version == VERSIONS[-1]:
        assert set(golden(version, "events")) == set(EVENT_TYPES)


# --- today's understanding ------------------------------------------------------------------------------------------


def test_the_facts_of_the_previous_version_are_recorded_and_described_as_they_were(
    version: str, engine: Engine
) -> None:
    facts = list(golden(version, "facts").values())
    for fact in facts:
        engine.sql("insert into engine.outbox (run_id, body) values (%s, %s)", fact.get("run_id"), Jsonb([fact]))
    recorded = Recording(engine.database).sweep(older_than_s=0)
    assert (recorded.facts, recorded.parked) == (len(facts), 0)
    assert engine.sql("select * from engine.parked") == []
    assert engine.one("select count(*) from log.event") == len(facts)
    assert engine.one("select count(*) from log.attempt") > 0
    assert engine.one("select count(*) from log.task") > 0
    assert engine.one("select count(*) from log.worker_time") > 0
    events = golden(version, "events")
    for fact in facts:
        assert event_id(fact) == events[fact["type"]]["id"]  # a replay makes the same id
        assert describe(fact) == events[fact["type"]]


def test_the_messages_of_the_previous_version_name_their_bundles(version: str, redis: str) -> None:
    message = golden(version, "message")
    bus = Bus(redis)
    client: Any = bus.client
    fields = {
        name: bytes.fromhex(text) if name == "data" else text.encode() for name, text in message["fields"].items()
    }
    client.hset("rq:job:bundle-4711", mapping=fields)
    client.rpush("rq:queue:golden", message["element"])
    assert bus.queued("golden") == {4711}
    worker = QueueWorker(redis, name="golden", queues=("golden",), stop=lambda bundle: None)
    assert worker.pop() == 4711
    bus.close()


def test_the_heartbeats_of_the_previous_version_are_heard(version: str, redis: str) -> None:
    bus = Bus(redis)
    body = golden(version, "heartbeat")
    bus.client.set("freshet:worker:golden", orjson.dumps(body))
    (heard,) = bus.heartbeats().values()
    assert (heard.worker, heard.bundle, heard.queues) == ("golden", 4711, tuple(body["queues"]))
    bus.client.set("freshet:worker:golden", orjson.dumps({**body, "colour": "red"}))
    assert set(bus.heartbeats()) == {"golden"}  # a later version's, too
    bus.close()


def test_facts_of_a_later_version_do_not_break_the_live_feed(version: str) -> None:
    known = golden(version, "facts")["freshet.run.succeeded.v1"]
    later = [
        {**known, "type": name} for name in ("freshet.run.paused.v1", "freshet.pool.grown.v1", "freshet.run.failed.v2")
    ]
    entry = Entry(id="1-1", body=orjson.dumps([later[0], known, *later[1:]]))
    for run in (None, uuid.UUID(known["run_id"])):
        (event,) = _events_of(entry, run)
        assert b"event: freshet.run.succeeded.v1" in event
        assert event.startswith(b"id: 1-1")


def test_the_claims_of_the_previous_versions_schema_can_be_worked_on(version: str) -> None:
    workflow = compile_workflow(golden(version, "workflow"))
    payloads = {}
    for task, document in golden(version, "claims").items():
        claimed = Claimed(claim=uuid.uuid4(), document=document, fact=(1, b"[]"))
        preparation = Preparation(claimed, workflow, NoStore(), lambda run: {"run_id": str(run)})
        items = preparation.items()
        assert [item.key for item in items] == document["bundle"]["items"]
        assert [item.refused for item in items] == [None] * len(items)
        payloads[task] = [item.payload for item in items]
    assert payloads["index"] == [0]
    assert payloads["each"] == [1]
    assert payloads["again"] == [{"task": "each"}]
    assert payloads["query"] == [{"n": 4}]
    assert payloads["documents.split"][0] == 1
    assert payloads["join"][0]["list"] == [1, 2]
    assert payloads["join"][0]["each"].total == 2
    assert set(payloads["stats"][0]) == {"run_id"}


class NoStore:
    def page(self, *_: Any) -> dict[int, Any]:
        raise AssertionError("nothing has to be read")

    def parents(self, *_: Any) -> dict[str, Any]:
        raise AssertionError("nothing has to be read")


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("worker succeeded", "succeeded"),
        ("worker yielded", "succeeded"),
        ("worker failed", "failed"),
        ("worker timed_out", "expired"),
        ("worker ended_transaction", "failed"),
        ("worker returned", "queued"),
        ("worker lost", "queued"),
        ("engine lost", "queued"),
        ("engine timed_out", "expired"),
    ],
)
def test_the_reports_of_the_previous_version_are_folded(version: str, engine: Engine, status: str, state: str) -> None:
    engine.apply({"name": "w", "tasks": {"a": {"process": QUEUE}}})
    engine.start("w")
    engine.fold()
    claimed, _ = engine.claim(engine.published()[0])
    bundle = claimed.document["bundle"]
    outcome = {**golden(version, "reports")[status], "i": bundle["items"][0], "a": bundle["attempts"][0]}
    engine.sql("delete from engine.bundle where id = %s", bundle["id"])
    engine.sql(
        "insert into engine.report (partition, run_id, task_run_id, bundle_id, worker, claimed_at, body)"
        " values (%s, %s, %s, %s, 'w1', now(), %s)",
        bundle["partition"],
        bundle["run_id"],
        bundle["task_run_id"],
        bundle["id"],
        Jsonb([outcome]),
    )
    engine.fold()
    assert engine.one("select state from engine.work_item") == state
    assert engine.sql("select * from engine.parked") == []


def test_the_stored_workflows_of_the_previous_version_compile_to_the_same_document(version: str) -> None:
    stored = golden(version, "workflow")
    assert compile_workflow(stored).name == "all"
    again = normalise(stored)
    assert list(losses(stored, again)) == []
    assert compile_workflow(again) == compile_workflow(stored)


def test_the_names_of_jobs_are_the_same_in_every_version(version: str) -> None:
    for job in golden(version, "jobs"):
        place = (job["task"], job["index"], job["attempt"])
        assert job_name(job["installation"], uuid.UUID(job["run"]), *place) == job["name"]
        assert run_of(job["name"], job_prefix(job["installation"])) == uuid.UUID(job["run"])


def test_the_files_are_all_there(version: str) -> None:
    assert {Path(path).stem for path in (GOLDEN / version).iterdir()} == set(FILES)
