"""Facts in their short form: what a batch tells the recorder and everybody else.

Guarantees: a fact says what was committed, in the transaction that commits it; times are the database's. Never: a
CloudEvents envelope (that is `freshet.events`), or an item's result.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from freshet.domain.model import Workflow
from freshet.engine.loaded import LoadedTask
from freshet.storage.engine_rows import OutcomeRow, RunRow

Fact = dict[str, Any]


def run_fact(run: RunRow, workflow: Workflow, state: str, *, now: str, error: object = None) -> Fact:
    """A run's state changed."""
    return {
        "type": f"freshet.run.{state}.v1",
        "run_id": run.id,
        "at": now,
        "workflow": run.workflow,
        "version": run.version,
        "trigger": run.trigger,
        "scheduled_for": run.scheduled_for,
        "group_id": run.group_id,
        "rerun_of": run.rerun_of,
        "created_at": run.created_at,
        "started_at": run.started_at or now,
        "finished_at": None if state == "running" else _end(run.started_at, now),
        "error": error,
        "root_task_name": workflow.root_task_name,
        "traceparent": run.traceparent,
    }


def task_fact(loaded: LoadedTask, state: str, *, now: str) -> Fact:
    """A TaskRun's state changed. SQL puts a plain task's small result in the place of `result_of`."""
    row, node = loaded.row, loaded.node
    return {
        "type": f"freshet.task.{state}.v1",
        "run_id": row.run_id,
        "at": now,
        "task": row.task,
        "index_path": row.index_path,
        "kind": row.kind,
        "total": node.total,
        "succeeded": node.succeeded,
        "failed": node.failed,
        "skipped": node.skipped,
        "cancelled": node.cancelled,
        "attempts": row.attempts + loaded.tries,
        "started_at": row.started_at or now,
        "finished_at": None if state == "running" else _end(row.started_at, now),
        "error": node.error,
        **({"result_of": row.copied_from or row.id} if _has_result(loaded, state) else {}),
    }


def item_facts(run: RunRow, ended: Iterable[tuple[LoadedTask, OutcomeRow, str, object]], *, now: str) -> list[Fact]:
    """Attempts that did not succeed, one fact for each (task, state, bundle, worker): (task, outcome, state, error)."""
    batches: dict[tuple[int, str, int, str | None], list[tuple[LoadedTask, OutcomeRow, object]]] = defaultdict(list)
    for loaded, outcome, state, error in ended:
        batches[loaded.row.id, state, outcome.bundle_id, outcome.worker].append((loaded, outcome, error))
    return [_item_fact(run, state, batch, now) for (_, state, _, _), batch in batches.items()]


def _item_fact(run: RunRow, state: str, batch: list[tuple[LoadedTask, OutcomeRow, object]], now: str) -> Fact:
    loaded, first, _ = batch[0]
    return {
        "type": f"freshet.item.{state}.v1",
        "run_id": run.id,
        "at": now,
        "task": loaded.row.task,
        "index_path": loaded.row.index_path,
        "kind": loaded.row.kind,
        "workflow": run.workflow,
        "mapped": loaded.task.mapped,
        "worker": first.worker,
        "claim": first.bundle_id,
        "claimed_at": first.claimed_at,
        "items": [[out.item & 0xFFFFFF, out.attempt, out.seconds, error] for _, out, error in batch],
    }


def _end(start: str | None, now: str) -> str:
    """When something ended: not before it began, although the database's clock may have been put back since."""
    return now if start is None else max(start, now, key=datetime.fromisoformat)


def _has_result(loaded: LoadedTask, state: str) -> bool:
    return state == "succeeded" and loaded.node.plain
