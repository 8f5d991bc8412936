"""One side of a lockstep: a backing, the dispatcher's real passes on it, and what a worker may try."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from tests.engine.harness import sign_of_life
from tests.twins.backing import Backing
from tests.twins.reading import canonical

from freshet.definition import compile_workflow
from freshet.domain.errors import ClaimLostError, FreshetError
from freshet.domain.model import INDEX_BITS, Trigger, Workflow
from freshet.engine.eager import EagerDispatch
from freshet.engine.fold import Folder
from freshet.engine.pace import Pace
from freshet.engine.refill import Refill
from freshet.engine.ring import Ring
from freshet.engine.witness import Judge
from freshet.storage.requests import NewRun
from freshet.testing.twins.bus import BusTwin
from freshet.testing.twins.redis import RedisTwin
from freshet.testing.twins.rows import Bundle
from freshet.testing.twins.tables import Tables

PARTITIONS = tuple(range(16))
DEPTH = 4


class Side:
    """One installation. What its verbs answer is told without ids and times, so that two sides can be compared."""

    def __init__(self, backing: Backing, documents: Sequence[Mapping[str, Any]], seed: int) -> None:
        self.backing = backing
        self.seconds = 0.0
        self.bus = BusTwin(RedisTwin(lambda: self.seconds))
        self._redis = self.bus._redis
        self._workflows = {(doc["name"], 1): compile_workflow(backing.apply(doc)) for doc in documents}
        pace = Pace(queue_depth=DEPTH, depths=self.bus.depths)
        self.refill = Refill(backing.store, self.bus, pace)
        draw = random.Random(seed).random
        self.folder = Folder(
            backing.store, self.bus, self._workflow, pace, limit=5, draw=draw, clock=lambda: self.seconds
        )
        judge = Judge(clock=lambda: self.seconds)
        self.seconds += judge.patience.grace
        self.ring = Ring(
            store=backing.store, bus=self.bus, refill=self.refill, pace=pace, judge=judge, clock=lambda: self.seconds
        )
        self.bus.fresh()
        self._session = backing.session()

    def close(self) -> None:
        self._session.close()

    # --- the dispatcher --------------------------------------------------------------------------------------------

    def fold(self, partitions: Sequence[int]) -> Any:
        """One batch, and the refill of what it left in the backlog."""
        folded = self.folder.fold(partitions)
        if folded.backlog:
            self.refill.refill(folded.backlog)
        return folded.runs, folded.outcomes, folded.bundles, folded.again, sorted(folded.backlog)

    def ring_once(self) -> Any:
        """One pass of what time brings."""
        rung = self.ring.ring(frozenset(PARTITIONS))
        seen = rung.overview
        waits = [each is None for each in (seen.due_in, seen.expiry_in, seen.own_age, seen.age)]
        told = [waits, seen.claimed, sorted(seen.backlog), sorted(seen.published), seen.idle]
        return told, sorted(rung.partitions), rung.published, rung.repaired, rung.dead

    def refill_all(self) -> Any:
        """Publish what there is room for."""
        refilled = self.refill.refill({bundle.queue for bundle in self.bundles()})
        return refilled.published, sorted(refilled.more)

    def flush(self) -> None:
        """Redis loses everything."""
        self._redis.flush()

    def age(self, seconds: float) -> None:
        """Time passes."""
        self.backing.age(seconds)
        self.seconds += seconds

    def bury(self, worker: str) -> Any:
        """A worker is found dead."""
        return sorted(self.backing.store.release_workers([worker]))

    def park(self, run: UUID) -> Any:
        """A run turns out to be undecidable."""
        fact = {"type": "freshet.run.failed.v1", "root_task_name": None, "traceparent": None}
        return len(self.backing.store.park(str(run), "It was made to.", fact))

    # --- requests --------------------------------------------------------------------------------------------------

    def start(self, run: NewRun) -> Any:
        """Ask for a run."""
        return self._told(lambda: self.backing.requests.create_run(run))

    def cancel(self, run: UUID) -> Any:
        """Ask for its end."""
        return self._told(lambda: self.backing.requests.cancel(run))

    def rerun(self, run: UUID, new: UUID, again: tuple[str, ...] | None) -> Any:
        """Ask for it again."""

        def ask() -> Any:
            old = self.backing.requests.run_for_rerun(run)
            rerun = NewRun(
                id=new,
                workflow=old["workflow"],
                version=old["version"],
                trigger=Trigger.RERUN,
                params=old["params"],
                rerun_of=run,
                rerun_tasks=again,
                group_id=old["group_id"],
                priority=old["priority"],
            )
            states = self.backing.requests.top_task_states(run)
            return self.backing.requests.create_run(rerun), sorted(states.items())

        return self._told(ask)

    def release_held(self) -> Any:
        """The repair of held runs."""
        return sorted(str(asked.run_id) for asked in self.backing.requests.release_held())

    # --- workers ---------------------------------------------------------------------------------------------------

    def bundles(self) -> list[Bundle]:
        """All bundles in the order of their ids: the place of one is the same on both sides."""
        return self.backing.bundles()

    def claim(self, place: int, worker: str, token: UUID) -> Any:
        """Claim the bundle at that place."""
        claimed = self.backing.workers.claim(self.bundles()[place].id, worker, token)
        return None if claimed is None else _named(self.backing.tables(), claimed.document)

    def end(self, place: int, token: UUID, body: Sequence[Mapping[str, Any]]) -> Any:
        """Finish the next items: `body` holds outcomes by their place in the bundle."""
        bundle = self.bundles()[place]
        return self._told(lambda: self.backing.workers.finish(bundle.id, token, _placed(bundle, body)))

    def end_with_effect(self, place: int, token: UUID, body: Sequence[Mapping[str, Any]], values: bytes | None) -> Any:
        """The same through the session of user code, which has written something, and may have yielded."""
        bundle = self.bundles()[place]

        def commit() -> None:
            from freshet.storage.session import Turn

            self._session.open_turn(Turn(bundle=bundle.id, claim=token, before_begin=lambda: None))
            self.backing.write(self._session, f"{place} {len(body)}")
            if values is not None:
                self._session.put_values(bundle.items[bundle.done], 0, values)
            self._session.finish(_json(_placed(bundle, body)))

        try:
            return self._told(commit)
        finally:
            self._session.abandon()

    def work(self, worker: str, tokens: Sequence[UUID], ends: Sequence[Mapping[str, Any]]) -> Any:
        """Claim and finish what is published, each bundle as one of the ends says."""
        free = [bundle for bundle in self.bundles() if bundle.published_at is not None and bundle.unheld]
        told = []
        for bundle, token, end in zip(free, tokens, ends, strict=False):
            claimed = self.backing.workers.claim(bundle.id, worker, token)
            if claimed is not None:
                body = _placed(bundle, [{**end, "place": place} for place in range(bundle.left)])
                told.append((claimed.document, self.backing.workers.finish(bundle.id, token, body)))
        tables = self.backing.tables()
        return [(_named(tables, document), ended) for document, ended in told]

    def go_on(self, place: int, worker: str, tokens: Sequence[UUID], end: Mapping[str, Any], *, before: bool) -> Any:
        """Claim a bundle, and end it eagerly: reported with the decision, or `before` it."""
        bundle = self.bundles()[place]
        claimed = self.backing.workers.claim(bundle.id, worker, tokens[0])
        eager = EagerDispatch(self.backing.store, self.bus, self._workflow, worker=worker, queues=["p@1.0.0"])
        if claimed is None or not eager.may_end(claimed):
            return claimed is None
        noted: list[int] = []
        body = _placed(bundle, [end])
        if before:
            self.backing.workers.finish(bundle.id, tokens[0], body)
        outcomes = [] if before else [orjson.dumps(each) for each in body]
        onward = eager.end(claimed, outcomes, claim=tokens[1], note=noted.append)
        if onward is None:
            return "left"
        assert noted == [each.bundle for each in onward[:1] if each is not None]
        facts = [fact["type"] for _, told in onward[1] for fact in orjson.loads(told)]
        return facts, None if onward[0] is None else _named(self.backing.tables(), onward[0].document)

    def submit(self, place: int, token: UUID, job: str) -> Any:
        """Store a job's name, and let the claim become a watch."""
        key = self.bundles()[place].id

        def watch() -> None:
            self.backing.workers.store_job_name(key, token, job)
            self.backing.workers.watch(key, token)

        return self._told(watch)

    def end_job(self, place: int, body: Sequence[Mapping[str, Any]]) -> Any:
        """The watcher sees a job's end."""
        bundle = self.bundles()[place]
        return self.backing.workers.finish_job(bundle.id, bundle.job_name or "", _placed(bundle, body))

    def beat(self, worker: str) -> None:
        """A sign of life."""
        self.bus.beat(sign_of_life(worker), expires_s=3.0)

    # --- what can be compared --------------------------------------------------------------------------------------

    def picture(self) -> Any:
        """All tables, and what Redis holds by the places of the bundles."""
        tables = self.backing.tables()
        places = {key: place for place, key in enumerate(sorted(tables.bundles))}
        names = {bundle.queue for bundle in tables.bundles.values()}
        queues = {name: sorted(places.get(key, -1) for key in self.bus.queued(name)) for name in names}
        return canonical({**tables.dump(), "queues": queues})

    def reads(self) -> Any:
        """What the worker's reads answer: pages of all items and rows, owners of jobs, watches."""
        tables, workers = self.backing.tables(), self.backing.workers
        runs = [UUID(run) for run in sorted(tables.runs)]
        pages = {
            f"{row.run_id}/{row.task}@{row.index_path}": workers.page("items", row.owner, 0, 20)
            for row in tables.task_runs.values()
        }
        rows = [workers.page("rows", source, 1, 20) for source in sorted(tables.values)]
        owners = [self._owner(row) for row in workers.job_owners(runs)]
        watches = [(row["task"], row["index_path"], row["job_name"], row["mapped"]) for row in workers.watched()]
        return canonical([sorted(pages.items()), sorted(map(repr, rows)), sorted(owners), sorted(watches)])

    def _workflow(self, name: str, version: int) -> Workflow:
        return self._workflows[name, version]

    def _told(self, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except ClaimLostError:
            return "lost"
        except FreshetError as error:
            return type(error).__name__, error.message

    @staticmethod
    def _owner(row: Mapping[str, Any]) -> Any:
        return [
            str(row["run_id"]),
            row["task"],
            row["index_path"],
            row["mapped"],
            row["item"] & 0xFFFFFF,
            row["attempt"],
        ]


def _named(tables: Tables, document: Mapping[str, Any]) -> Any:
    """A claim's document with names for ids."""
    bundle, task = dict(document["bundle"]), dict(document["task"])
    named = tables.task_runs[bundle.pop("task_run_id")]
    bundle["items"] = [(tables.task_runs[item >> INDEX_BITS].task, item & 0xFFFFFF) for item in bundle["items"]]
    del bundle["id"]
    scope = task.pop("scope")
    element = None if scope is None else (tables.task_runs[scope >> INDEX_BITS].task, scope & 0xFFFFFF)
    parents = {name: _parent(tables, each) for name, each in (document["parents"] or {}).items()}
    more = {name: document[name] for name in ("run", "mapped", "values", "element")}
    # The two have clocks of their own: what counts is that there is a time.
    more["run"] = {**more["run"], "created_at": more["run"]["created_at"] is not None}
    return canonical({"bundle": bundle, "task": task, "of": named.task, "scope": element, "parents": parents, **more})


def _parent(tables: Tables, told: Mapping[str, Any]) -> Any:
    results = told.get("results")
    if results is None:
        return told
    kind = results["kind"]
    source = tables.task_runs[results["task_run"] if kind == "items" else results["source"] >> INDEX_BITS]
    return {
        "state": told["state"],
        "kind": told["kind"],
        "results": [kind, source.task, source.run_id, results["total"]],
    }


def _placed(bundle: Bundle, body: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Outcomes with the keys of the items that they are about."""
    placed = []
    for outcome in body:
        place = min(bundle.done + outcome["place"], len(bundle.items) - 1)
        more = {name: value for name, value in outcome.items() if name != "place"}
        placed.append({"i": bundle.items[place], "a": bundle.attempts[place], **more})
    return placed


def _json(body: Any) -> bytes:
    import orjson

    return orjson.dumps(body)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
