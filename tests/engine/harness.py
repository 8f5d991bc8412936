"""The real store and the dispatcher's real passes, with a pretend worker: every step is called, nothing waits."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from freshet.bus import Bus, Heartbeat
from freshet.definition import compile_workflow, digest, normalise
from freshet.domain.model import Trigger, Workflow
from freshet.engine.fold import Folded, Folder
from freshet.engine.pace import Pace
from freshet.engine.refill import Refill
from freshet.engine.ring import Ring
from freshet.engine.witness import Judge
from freshet.storage.database import Database, Row
from freshet.storage.definitions import Definition, Definitions
from freshet.storage.engine_store import OPTIONS, EngineStore
from freshet.storage.reads import Reads
from freshet.storage.requests import NewRun, Requests
from freshet.storage.worker_store import WorkerStore

PARTITIONS = tuple(range(16))


@dataclass(frozen=True)
class Call:
    """One try, as the pretend worker sees it."""

    task: str
    index_path: str
    index: int
    attempt: int
    value: Any
    parents: Mapping[str, Any]


Behaviour = Callable[[Call], Any]


def document(**tasks: Any) -> dict[str, Any]:
    """Workflow `w` of these tasks."""
    return {"name": "w", "params": {"n": {"type": "integer", "default": 3}}, "tasks": tasks}


def process(after: list[str] | None = None, **more: Any) -> dict[str, Any]:
    """A task of the process that the pretend worker serves."""
    return {"process": "p@1.0.0", **({"after": after} if after else {}), **more}


def sign_of_life(worker: str) -> Heartbeat:
    """The heartbeat of a pretend worker."""
    return Heartbeat(
        worker=worker,
        state="busy",
        busy_s=0,
        idle_s=0,
        wall_s=0,
        pid=1,
        hostname="h",
        queues=("p@1.0.0",),
        started_at="",
    )


class FailureError(Exception):
    """Raised by a behaviour: the try fails."""


class Engine:
    """One installation in a test's hands."""

    def __init__(
        self,
        database_url: str,
        redis_url: str,
        *,
        queue_depth: int = 100,
        pool_limits: Mapping[str, int] | None = None,
    ) -> None:
        self.database = Database(database_url, name="dispatcher", options=OPTIONS)
        self.bus = Bus(redis_url)
        self.store = EngineStore(self.database)
        self.definitions = Definitions(self.database)
        self.requests = Requests(self.database)
        self.workers = WorkerStore(self.database)
        self.reads = Reads(self.database)
        self.seconds = 0.0
        pace = Pace(queue_depth=queue_depth, depths=self.bus.depths, pool_limits=pool_limits)
        self.refill = Refill(self.store, self.bus, pace)
        self.folder = Folder(self.store, self.bus, self._workflow, pace, draw=lambda: 0.5)
        self.judge = Judge(clock=lambda: self.seconds)
        self.seconds += self.judge.patience.grace  # it has been there for a while
        self.ring = Ring(
            store=self.store,
            bus=self.bus,
            refill=self.refill,
            pace=pace,
            judge=self.judge,
            clock=lambda: self.seconds,
        )
        self.bus.fresh()  # as if a dispatcher had been here before

    def close(self) -> None:
        self.database.close()
        self.bus.close()

    def _workflow(self, name: str, version: int) -> Workflow:
        return compile_workflow(self.definitions.get(name, version)["document"])

    def apply(self, document: Mapping[str, Any]) -> None:
        stored = normalise(document)
        definition = Definition(name=stored["name"], document=stored, digest=digest(stored))
        self.definitions.put(definition, lambda schedule, anchor, now: now)

    def start(self, workflow: str, **params: Any) -> uuid.UUID:
        row = self.definitions.get(workflow)
        compiled = compile_workflow(row["document"])
        run = NewRun(
            workflow=workflow,
            version=row["version"],
            trigger=Trigger.CALL,
            params=params,
            priority=compiled.priority,
        )
        return self.requests.create_run(run).run_id

    def fold(self) -> list[Folded]:
        """Fold until the inbox is empty."""
        folded = []
        while (batch := self.folder.fold(PARTITIONS)).runs or batch.again:
            folded.append(batch)
            if batch.backlog:
                self.refill.refill(batch.backlog)
        return folded

    def published(self) -> list[int]:
        return [
            row["id"]
            for row in self.sql(
                "select id from engine.bundle where published_at is not null and claim is null"
                " and submitted_at is null order by id"
            )
        ]

    def sql(self, text: str, *values: Any) -> list[Row]:
        with self.database.session() as session:
            cursor = session.execute(text, values)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def one(self, text: str, *values: Any) -> Any:
        (row,) = self.sql(text, *values)
        return next(iter(row.values()))

    def claim(self, bundle: int, worker: str = "w1") -> tuple[Any, uuid.UUID]:
        token = uuid.uuid4()
        return self.workers.claim(bundle, worker, token), token

    def work(
        self, behaviour: Behaviour = lambda call: None, *, bundles: list[int] | None = None, seconds: float = 0.001
    ) -> int:
        """Claim and finish every published bundle, each item in so many seconds; how many."""
        ids = self.published() if bundles is None else bundles
        for bundle in ids:
            claimed, token = self.claim(bundle)
            if claimed is not None:
                self.workers.finish(
                    bundle, token, [_outcome(call, key, behaviour, seconds) for key, call in _calls(claimed)]
                )
        return len(ids)

    def drive(self, behaviour: Behaviour = lambda call: None, *, rounds: int = 2000) -> None:
        """Fold and work until nothing moves."""
        for _ in range(rounds):
            self.fold()
            if not self.work(behaviour):
                queues = [row["queue"] for row in self.sql("select distinct queue from engine.bundle")]
                self.refill._pace.forget_lengths()
                self.flush_queues()
                if not self.refill.refill(queues).published:
                    return
        raise AssertionError("the run does not end")

    def flush_queues(self) -> None:
        """The pretend worker reads Postgres, so messages pile up in Redis: throw them away."""
        keys = list(self.bus.client.scan_iter(match="rq:queue:*"))
        if keys:
            self.bus.client.delete(*keys)

    def run_object(self, run: uuid.UUID) -> Mapping[str, Any]:
        return self.reads.run_object(run)


def _calls(claimed: Any) -> Iterator[tuple[int, Call]]:
    document = claimed.document
    bundle, task = document["bundle"], document["task"]
    values = document["values"] or [None] * len(bundle["items"])
    left = itertools.islice(zip(bundle["items"], bundle["attempts"], values, strict=True), bundle["done"], None)
    for key, attempt, value in left:
        yield (
            key,
            Call(
                task=task["path"],
                index_path=task["index_path"],
                index=key & 0xFFFFFF,
                attempt=attempt,
                value=value,
                parents=document.get("parents") or {},
            ),
        )


def _outcome(call: Call, key: int, behaviour: Behaviour, seconds: float = 0.001) -> dict[str, Any]:
    outcome: dict[str, Any] = {"i": key, "a": call.attempt, "d": seconds}
    try:
        return {**outcome, "s": "succeeded", "r": behaviour(call)}
    except FailureError as failure:
        return {**outcome, "s": "failed", "e": {"class": "user", "message": str(failure)}}
