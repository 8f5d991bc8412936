"""The fence: claims and the ends of bundles, over dictionaries.

Guarantees: of each what its SQL function does (engine.claim, engine.finish, engine.watch, engine.finish_job): who does
not hold the bundle under its token gets ClaimLostError and has changed nothing; outcomes form a prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson

from freshet.domain.errors import ClaimLostError
from freshet.testing.twins.rows import INDEX_MASK, Bundle, Run, TaskRun
from freshet.testing.twins.tables import Tables
from freshet.testing.twins.texts import copied, jsonb, time_text
from freshet.testing.twins.values import item_value, mapped_value, parents

Fact = tuple[int, bytes]

#: Seconds by which a claim outlives the timeouts of its items.
GRACE = 5


def claim(tables: Tables, key: int, worker: str, token: UUID) -> tuple[dict[str, Any], Fact] | None:
    """Compare-and-set; asked again under the same token, the same again. The document and the `running` fact."""
    bundle = _claimed(tables, key, worker, token)
    if bundle is None:
        return None
    task, run = tables.task_runs[bundle.task_run_id], tables.runs[bundle.run_id]
    left = list(zip(bundle.items, bundle.attempts, strict=True))[bundle.done :]
    items = [[item & INDEX_MASK, attempt, None, None] for item, attempt in left]
    fact = _announce(
        tables,
        "running",
        bundle,
        (task, run),
        items=items,
        queue=bundle.queue,
        queued_at=time_text(bundle.created_at),
    )
    return _document(tables, bundle, task, run) | {"outbox": fact[0]}, fact


def finish(tables: Tables, key: int, token: UUID, outcomes: Sequence[Any]) -> bool:
    """End the bundle's next items; True when that was the last of it."""
    body, bundle = jsonb(list(outcomes)), tables.bundles.get(key)
    if bundle is None or bundle.claim != token or not 0 < len(body) <= bundle.left:
        raise ClaimLostError
    done = bundle.done + len(body)
    if bundle.items[bundle.done : done] != tuple(outcome.get("i") for outcome in body):
        raise ClaimLostError
    if done == len(bundle.items):
        del tables.bundles[key]
    else:
        tables.bundles[key] = bundle._replace(done=done)
    tables.report(bundle, bundle.worker, bundle.claimed_at, body)
    return done == len(bundle.items)


def watch(tables: Tables, key: int, token: UUID) -> Fact:
    """The claim becomes a watch; the `waiting` fact."""
    bundle = tables.bundles.get(key)
    if bundle is None or bundle.claim != token or bundle.job_name is None:
        raise ClaimLostError
    tables.bundles[key] = bundle._replace(
        submitted_at=tables.clock(), claim=None, worker=None, claimed_at=None, expires_at=None
    )
    belongs = (tables.task_runs[bundle.task_run_id], tables.runs[bundle.run_id])
    items = [[bundle.items[0] & INDEX_MASK, bundle.attempts[0], None, None]]
    return _announce(tables, "waiting", bundle, belongs, items=items)


def finish_job(tables: Tables, key: int, job: str, outcomes: Sequence[Any]) -> bool:
    """End a watch; False when somebody else has."""
    bundle = tables.bundles.get(key)
    if bundle is None or bundle.job_name != job or bundle.submitted_at is None:
        return False
    body = jsonb(list(outcomes))
    del tables.bundles[key]
    tables.report(bundle, None, bundle.submitted_at, body)
    return True


def _claimed(tables: Tables, key: int, worker: str, token: UUID) -> Bundle | None:
    bundle = tables.bundles.get(key)
    if bundle is None or bundle.submitted_at is not None or bundle.due_at is not None:
        return bundle if bundle is not None and (bundle.claim, bundle.worker) == (token, worker) else None
    if bundle.claim is not None:
        return bundle if (bundle.claim, bundle.worker) == (token, worker) else None
    now = tables.clock()
    expires_at = None
    if bundle.timeout_s is not None:
        expires_at = now + timedelta(seconds=bundle.timeout_s * bundle.left + GRACE)
    bundle = bundle._replace(claim=token, worker=worker, claimed_at=now, expires_at=expires_at)
    tables.bundles[key] = bundle
    return bundle


def _announce(
    tables: Tables,
    state: str,
    bundle: Bundle,
    belongs: tuple[TaskRun, Run],
    *,
    items: list[list[Any]],
    **more: Any,
) -> Fact:
    task, run = belongs
    fact = {
        "type": f"freshet.item.{state}.v1",
        "run_id": run.id,
        "at": time_text(tables.clock()),
        "task": task.task,
        "index_path": task.index_path,
        "kind": task.kind,
        "workflow": run.workflow,
        "mapped": task.mapped,
        "worker": bundle.worker,
        **more,
        "claim": bundle.claim,
        "claimed_at": time_text(bundle.claimed_at),
        "items": items,
    }
    return tables.announce(run.id, orjson.dumps([fact]))


def _document(tables: Tables, bundle: Bundle, task: TaskRun, run: Run) -> dict[str, Any]:
    mapped = task.mapped
    return {
        "bundle": {
            "id": bundle.id,
            "run_id": bundle.run_id,
            "task_run_id": bundle.task_run_id,
            "partition": bundle.partition,
            "items": list(bundle.items),
            "attempts": list(bundle.attempts),
            "done": bundle.done,
            "timeout_s": bundle.timeout_s,
            "job_name": bundle.job_name,
        },
        "run": {
            "workflow": run.workflow,
            "version": run.version,
            "params": copied(run.params),
            "scheduled_for": time_text(run.scheduled_for),
            "traceparent": run.traceparent,
            "group_id": run.group_id,
            "trigger": run.trigger,
            "created_at": time_text(run.created_at),
        },
        "task": {"path": task.task, "index_path": task.index_path, "scope": task.scope, "kind": task.kind},
        "mapped": mapped,
        "values": [copied(mapped_value(tables, task, item)) for item in bundle.items] if mapped else None,
        "element": None if task.scope is None else copied(item_value(tables, task.scope)),
        "parents": None if mapped else copied(parents(tables, run.id, task.index_path, task.parents)),
    }
