"""Rows to try verbs on, made by the dispatcher's own verbs and without its passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from tests.twins.backing import Backing, outcomes

from freshet.domain.model import INDEX_BITS, Trigger
from freshet.storage.engine_rows import Put, Taken, TaskRunRow
from freshet.storage.engine_store import EngineBatch
from freshet.storage.requests import Asked, NewRun
from freshet.storage.worker_store import Claimed
from freshet.testing.twins.rows import Bundle

ALL = tuple(range(16))


def new_run(backing: Backing, **more: Any) -> Asked:
    """A run that was asked for."""
    return backing.requests.create_run(NewRun(**{"workflow": "w", "version": 1, "trigger": Trigger.CALL, **more}))


def take(batch: EngineBatch, *, limit: int = 100, runs: Sequence[str] | None = None) -> Taken:
    """The inbox of all partitions, which holds something."""
    taken = batch.take(ALL, limit=limit, runs=runs)
    assert taken is not None
    return taken


def fold(backing: Backing) -> Taken:
    """Take and decide nothing."""
    with backing.store.batch() as batch:
        return take(batch)


def open_task(
    backing: Backing, task: str = "t", *, width: Any = None, kind: str = "process", **more: Any
) -> TaskRunRow:
    """A run with one TaskRun: plain, or a map over `width`."""
    run = new_run(backing, **more)
    with backing.store.batch() as batch:
        taken = take(batch)
        (node,) = batch.open_scope([scope_row(run.run_id, task, kind=kind)])
        if width is not None:
            batch.expand_value(node.id, width)
        change = node_change(node.id, state="running", total=1 if width is None else None, started=True)
        batch.put({"nodes": [change], "runs": [run_change(run.run_id, state="running")]}, now=taken.now)
    return node


def scope_row(
    run: UUID, task: str, *, kind: str = "process", parents: Sequence[str] = (), **more: Any
) -> dict[str, Any]:
    row = {"run_id": str(run), "scope": None, "index_path": "", "task": task, "kind": kind, "parents": list(parents)}
    return row | more


def node_change(key: int, **more: Any) -> dict[str, Any]:
    counters = dict.fromkeys(("succeeded", "failed", "skipped", "cancelled", "attempts"), 0)
    unset = dict.fromkeys(("state", "total", "mark", "error"))
    return {"id": key, **unset, **counters, "started": False, "finished": False, **more}


def run_change(run: UUID | str, **more: Any) -> dict[str, Any]:
    return {"id": str(run), "state": None, "turn": None, "error": None, "cancel": False, **more}


def fresh(node: TaskRunRow, first: int, count: int, **more: Any) -> dict[str, Any]:
    row = {"run_id": node.run_id, "task_run_id": node.id, "queue": "q", "priority": 100, "turn": 1, "timeout_s": None}
    return {**row, "first": first, "count": count, "published": True, **more}


def again(node: TaskRunRow, items: Sequence[int], attempts: Sequence[int], **more: Any) -> dict[str, Any]:
    row = {"run_id": node.run_id, "task_run_id": node.id, "queue": "q", "priority": 100, "turn": 1, "timeout_s": None}
    keys = [node.id << INDEX_BITS | item for item in items]
    return {**row, "items": keys, "attempts": list(attempts), "delay_s": 0.0, "published": True, **more}


def put(backing: Backing, **decision: list[dict[str, Any]]) -> Put:
    """Write a decision in a batch of its own."""
    with backing.store.batch() as batch:
        moment = max(row.created_at for row in backing.tables().runs.values())
        return batch.put(decision, now=moment.isoformat())


def queue_items(backing: Backing, node: TaskRunRow, count: int, **more: Any) -> int:
    """One bundle of a TaskRun's first items; its id."""
    mark = node_change(node.id, mark=count)
    done = put(backing, nodes=[mark], fresh=[fresh(node, 0, count, **more)])
    return done.bundles[0][0] if done.bundles else max(backing.tables().bundles)


def claim(backing: Backing, bundle: int, worker: str = "w1") -> Claimed:
    """Claim it; it is there."""
    claimed = backing.workers.claim(bundle, worker, uuid4())
    assert claimed is not None
    return claimed


def items_of(claimed: Claimed) -> list[tuple[int, int]]:
    """(item, attempt) of what is left of a claimed bundle."""
    bundle = claimed.document["bundle"]
    return list(zip(bundle["items"], bundle["attempts"], strict=True))[bundle["done"] :]


def succeed(backing: Backing, claimed: Claimed, result: Any = None) -> bool:
    """Finish the rest of it."""
    return backing.workers.finish(claimed.bundle, claimed.claim, outcomes(items_of(claimed), r=result, d=0.5))


def bundle_row(backing: Backing, key: int) -> Bundle:
    return backing.tables().bundles[key]
