"""Everything that a version writes where another version may read it: `python -m tests.upgrade.writing DIRECTORY`.

The code of an earlier version can run it as well, so it uses only what both have; see tests/golden/README.md.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
from tests.engine.harness import PARTITIONS, Call, Engine, FailureError

from freshet.bus import Bus, Heartbeat, Message
from freshet.definition import normalise
from freshet.events import EVENT_TYPES, describe
from freshet.events.catalogue import noun_and_state
from freshet.execution.contract import Item, Outcome, failed
from freshet.execution.job_service import job_name
from freshet.storage.worker_store import Times, WorkerRow

Json = Any
QUEUE = "p@1.0.0"
RUN = uuid.UUID("0192f0c1-7b1a-7c3d-8e4f-5a6b7c8d9e0f")
JOB = {"image": "/db/schema/repo/job:1", "compute_pool": "XS", "args": ["--day=${{ run.scheduled_for }}"], "env": {}}
RETRY = {"limit": 1, "delay": "PT0S", "factor": 2, "jitter": 0.2}

#: Every kind of task, of fan-out and of payload.
WORKFLOW = {
    "name": "all",
    "schedule": {"every": "PT59M", "catch_up": "latest", "overlap": "skip"},
    "triggers": [{"event": "com.example.arrived", "when": "event.data.n > 1", "params": {"n": "event.data.n"}}],
    "params": {"n": {"type": "integer", "default": 4}, "day": {"type": "string", "default": "today"}},
    "priority": 7,
    "tasks": {
        "list": {"process": QUEUE},
        "index": {"process": QUEUE, "for_each": "2"},
        "each": {"process": QUEUE, "after": ["list"], "for_each": "tasks.list.result"},
        "again": {"process": QUEUE, "after": ["each"], "for_each": "tasks.each.result"},
        "join": {"process": QUEUE, "after": ["each", "list"]},
        "retried": {"process": QUEUE, "retries": RETRY, "timeout": "PT1H"},
        "bad": {"process": QUEUE, "on_failure": "continue"},
        "expired": {"process": QUEUE, "timeout": "PT1H", "on_failure": "continue"},
        "unserved": {"process": QUEUE},
        "skipped": {"process": QUEUE, "after": ["list"], "run_if": "any_failed"},
        "job": {"job_service": JOB, "timeout": "PT1H"},
        "query": {"sql": {"on": "postgres", "text": "select :payload"}, "input": "{'n': params.n}"},
        "script": {"python": {"text": "print(1)"}},
        "documents": {
            "after": ["list"],
            "for_each": "tasks.list.result",
            "tasks": {
                "split": {"process": QUEUE},
                "part": {"process": QUEUE, "after": ["split"], "for_each": "tasks.split.result"},
                "whole": {"process": QUEUE, "after": ["part"]},
            },
            "result": "whole",
        },
    },
    "finally": {"stats": {"process": QUEUE}},
}


def written(database_url: str, redis_url: str) -> dict[str, Json]:
    """Documents by the name of their golden file."""
    engine = Engine(database_url, redis_url)
    try:
        return _written(engine, Bus(redis_url))
    finally:
        engine.close()


def _written(engine: Engine, bus: Bus) -> dict[str, Json]:
    claims: dict[str, Json] = {}
    run = _run_all(engine, claims)
    _cancel_one(engine)
    _live_a_worker(engine)
    reports = _reports(engine)
    facts = _facts(engine)
    return {
        "workflow": normalise(WORKFLOW),
        "claims": claims,
        "reports": reports,
        "facts": facts,
        "events": {name: describe(fact) for name, fact in facts.items()},
        "run": orjson.loads(orjson.dumps(engine.run_object(run), default=str)),
        "message": _message(bus),
        "heartbeat": _heartbeat(bus),
        "jobs": _jobs(),
    }


# --- a run in which everything happens ------------------------------------------------------------------------------


def _run_all(engine: Engine, claims: dict[str, Json]) -> uuid.UUID:
    engine.apply(WORKFLOW)
    run = engine.start("all", n=4, day="today")
    special = {"expired": _expire, "unserved": _hand_back, "job": _submit}
    for _ in range(60):
        engine.fold()
        bundles = engine.sql(
            "select b.id, t.task from engine.bundle b join engine.task_run t on t.id = b.task_run_id"
            " where b.claim is null and b.submitted_at is null order by b.id"
        )
        for row in bundles:
            engine.sql("update engine.bundle set due_at = null where id = %s", row["id"])
            claimed, token = engine.claim(row["id"])
            claims.setdefault(row["task"], {**claimed.document})
            special.pop(row["task"], _finish)(engine, claimed, token)
        if not bundles and engine.run_object(run)["state"] != "running":
            return run
    raise AssertionError("the run does not end")


def _behave(call: Call) -> Json:
    if call.task == "bad" or (call.task == "retried" and call.attempt == 1):
        raise FailureError("it is bad")
    return [1, 2] if call.task in {"list", "documents.split"} else {"task": call.task}


def _finish(engine: Engine, claimed: Json, token: uuid.UUID) -> None:
    from tests.engine.harness import _calls, _outcome

    outcomes = [_outcome(call, key, _behave) for key, call in _calls(claimed)]
    engine.workers.finish(claimed.bundle, token, outcomes)


def _expire(engine: Engine, claimed: Json, token: uuid.UUID) -> None:
    engine.sql("update engine.bundle set expires_at = clock_timestamp() - interval '1 s' where id = %s", claimed.bundle)
    engine.store.expire_bundles(limit=10)


def _hand_back(engine: Engine, claimed: Json, token: uuid.UUID) -> None:
    bundle = claimed.document["bundle"]
    rest = list(zip(bundle["items"], bundle["attempts"], strict=True))
    engine.workers.release(claimed.bundle, token, rest, "handed_back")


def _submit(engine: Engine, claimed: Json, token: uuid.UUID) -> None:
    bundle = claimed.document["bundle"]
    engine.workers.store_job_name(claimed.bundle, token, "FRESHET_X_1")
    engine.workers.watch(claimed.bundle, token)
    outcome = {"i": bundle["items"][0], "a": bundle["attempts"][0], "s": "succeeded", "r": {"rows": 1}, "d": 1.5}
    engine.workers.finish_job(claimed.bundle, "FRESHET_X_1", [outcome])


def _cancel_one(engine: Engine) -> None:
    """One item of it runs, one is queued, one is not yet there."""
    tasks = {"a": {"process": QUEUE}, "b": {"process": QUEUE}, "c": {"process": QUEUE, "after": ["a"]}}
    engine.apply({"name": "cancelled", "tasks": tasks})
    engine.flush_queues()  # what was done before left messages, and a queue holds few
    engine.refill._pace.forget_lengths()
    run = engine.start("cancelled")
    engine.fold()
    engine.claim(engine.published()[0])
    engine.requests.cancel(run)
    engine.fold()


def _live_a_worker(engine: Engine) -> None:
    row = WorkerRow(id="host-1-abc", lock_key=7, hostname="host", pid=1, queues=(QUEUE, "python"))
    engine.workers.register(row, Times(busy_s=0.0, idle_s=0.0, wall_s=0.0))
    for state in ("busy", "draining", "offline"):
        engine.workers.report_times("host-1-abc", state, Times(busy_s=1.5, idle_s=2.5, wall_s=4.0), event=state)


# --- what is written ------------------------------------------------------------------------------------------------


def _facts(engine: Engine) -> dict[str, Json]:
    """One fact of each type, in its short form."""
    found: dict[str, Json] = {}
    for row in engine.sql("select body from engine.outbox order by id"):
        for fact in row["body"]:
            found.setdefault(fact["type"], fact)
    ended = found["freshet.run.succeeded.v1"]
    for name in EVENT_TYPES:  # those whose shape is that of another state's
        noun, state = noun_and_state(name)
        if name not in found and (noun, state) in _ALIKE:
            found[name] = {**(ended if noun == "run" else found[_ALIKE[noun, state]]), "type": name}
    return {name: found[name] for name in sorted(found)}


_ALIKE = {
    ("run", "pending"): "freshet.run.succeeded.v1",
    ("run", "skipped"): "freshet.run.succeeded.v1",
    ("run", "failed"): "freshet.run.succeeded.v1",
    ("item", "skipped"): "freshet.item.cancelled.v1",
    ("task", "failed"): "freshet.task.succeeded.v1",
}


def _reports(engine: Engine) -> dict[str, Json]:
    """One outcome of each status, as a worker writes it and as the engine's functions do."""
    item = Item(key=7 << 24 | 3, attempt=2, index="3", payload=None)
    bad = failed("it is bad", type="ValueError")
    of_worker = {
        "succeeded": Outcome(status="succeeded", result=orjson.dumps({"n": 1})),
        "yielded": Outcome(status="succeeded", rows=3),
        "failed": bad,
        "timed_out": failed("too long", kind="timeout", status="timed_out"),
        "ended_transaction": failed("COMMIT", kind="transaction_ended", status="ended_transaction"),
        "lost": Outcome(status="lost", error={"class": "platform", "message": "gone"}, job_ended=True),
        "returned": Outcome(status="returned"),
    }
    documents = {f"worker {name}": _plain(outcome.document(item, 0.25)) for name, outcome in of_worker.items()}
    return documents | dict(_outside_reports(engine))


def _plain(document: Json) -> Json:
    result = document.get("r")
    if isinstance(result, bytes):
        document = {**document, "r": orjson.loads(result)}
    return orjson.loads(orjson.dumps(document, default=str))


def _outside_reports(engine: Engine) -> Iterator[tuple[str, Json]]:
    """What sweeps write in a worker's stead."""
    engine.apply({"name": "ends", "tasks": {"a": {"process": QUEUE}, "b": {"process": QUEUE, "timeout": "PT1S"}}})
    engine.start("ends")
    engine.fold()
    for number, bundle in enumerate(engine.published()):
        engine.claim(bundle, f"gone-{number}")
    engine.sql("update engine.bundle set expires_at = clock_timestamp() - interval '1 s' where timeout_s is not null")
    engine.store.expire_bundles(limit=10)
    engine.store.release_workers(["gone-0", "gone-1"])
    for row in engine.sql("select body from engine.report order by id"):
        yield f"engine {row['body'][0]['s']}", row["body"][0]
    while engine.folder.fold(PARTITIONS).runs:
        pass


def _message(bus: Bus) -> Json:
    """A message as Redis holds it: the list's element, and the job's hash but for what is compressed or a time."""
    bus.publish([Message(queue="golden", bundle_id=4711)])
    client: Any = bus.client
    fields = {name.decode(): text for name, text in client.hgetall("rq:job:bundle-4711").items()}
    (element,) = client.lrange("rq:queue:golden", 0, -1)
    texts = {name: text.hex() if name == "data" else text.decode() for name, text in fields.items()}
    return {"element": element.decode(), "fields": texts}


def _heartbeat(bus: Bus) -> Json:
    beat = Heartbeat(
        worker="golden",
        state="busy",
        busy_s=1.5,
        idle_s=2.5,
        wall_s=4.0,
        pid=1,
        hostname="host",
        queues=(QUEUE, "python"),
        started_at="2026-01-01T00:00:00+00:00",
        bundle=4711,
    )
    bus.beat(beat, expires_s=60)
    client: Any = bus.client
    return orjson.loads(client.get("freshet:worker:golden"))


def _jobs() -> Json:
    """Names of jobs: whoever claims an attempt again has to find the same."""
    long = "installation-with-a-long-name"
    places = [("i", "job", "", 1), ("i", "job", "17", 2), ("i", "documents.part", "3.17", 1), (long, "job", "", 12)]
    return [
        {
            "installation": installation,
            "run": str(RUN),
            "task": task,
            "index": index,
            "attempt": attempt,
            "name": job_name(installation, RUN, task, index, attempt),
        }
        for installation, task, index, attempt in places
    ]


def main(directory: Path, database_url: str, redis_url: str) -> None:
    """Write the golden files of the version that runs this."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, document in written(database_url, redis_url).items():
        text = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
        (directory / f"{name}.json").write_bytes(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
