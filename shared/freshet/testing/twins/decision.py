"""The second half of a batch: engine.put over dictionaries.

Purpose: a decision becomes rows. Guarantees: of each set what its SQL function writes, in the same order, with the same
guards (an item that is not queued any more stays as it is). Never: a rule of the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import orjson

from freshet.domain.model import INDEX_BITS
from freshet.storage.database import DataError
from freshet.storage.engine_rows import Put
from freshet.testing.twins import checks
from freshet.testing.twins.rows import FINAL, Bundle, WorkItem
from freshet.testing.twins.tables import Tables
from freshet.testing.twins.values import item_result

Rows = Iterable[Mapping[str, Any]]
Free = Callable[[str], bool]  # whether nobody else holds the lock of a run

#: Bytes up to which a plain task's result travels with its fact.
SMALL = 8192


def put(tables: Tables, decision: Mapping[str, Rows], now: datetime, free: Free) -> Put:
    """Write a decision, set by set."""
    put_items(tables, decision.get("items", ()), now)
    put_elements(tables, decision.get("elements", ()), now)
    put_nodes(tables, decision.get("nodes", ()), now)
    fresh = [_fresh(tables, row, now) for row in decision.get("fresh", ())]
    again = [_again(tables, row, now) for row in decision.get("again", ())]
    released = put_runs(tables, decision.get("runs", ()), now, free)
    announced = [_announce(tables, row) for row in decision.get("facts", ())]
    bundles = [(row.id, row.queue) for row in (*fresh, *again) if row.published_at is not None]
    return Put(bundles=bundles, announced=announced, released=released)


def put_items(tables: Tables, rows: Rows, now: datetime) -> None:
    """What failed, waits or was cancelled."""
    for row in rows:
        item = tables.items.get(row["id"])
        if item is None or item.state != "queued":
            continue
        state = str(row["state"])
        tables.items[item.id] = checks.work_item(
            item._replace(
                state=state,
                attempt=row["attempt"],
                failures=row["failures"],
                losses=row["losses"],
                handbacks=row["handbacks"],
                error=row["error"],
                finished_at=None if state == "queued" else now,
            )
        )


def put_elements(tables: Tables, rows: Rows, now: datetime) -> None:
    """Scopes that ended."""
    for row in rows:
        item, state = tables.items.get(row["id"]), str(row["state"])
        if item is None or item.state != "running":
            continue
        lender = None
        if row["result_of"] is not None and state == "succeeded":
            lender = tables.items.get(row["result_of"] << INDEX_BITS)
        result = None if lender is None else item_result(tables, lender)
        tables.items[item.id] = checks.work_item(item._replace(state=state, finished_at=now, result=result))


def put_nodes(tables: Tables, rows: Rows, now: datetime) -> None:
    """TaskRuns: counters are added to, the rest is set; None leaves what is there."""
    for row in rows:
        task = tables.task_runs.get(row["id"])
        if task is None:
            continue
        get = row.get
        tables.task_runs[task.id] = checks.task_run(
            task._replace(
                state=task.state if get("state") is None else str(row["state"]),
                total=task.total if get("total") is None else row["total"],
                mark=task.mark if get("mark") is None else row["mark"],
                succeeded=task.succeeded + (get("succeeded") or 0),
                failed=task.failed + (get("failed") or 0),
                skipped=task.skipped + (get("skipped") or 0),
                cancelled=task.cancelled + (get("cancelled") or 0),
                attempts=task.attempts + (get("attempts") or 0),
                error=task.error if get("error") is None else row["error"],
                started_at=(task.started_at or now) if get("started") else task.started_at,
                finished_at=max(now, task.started_at or now) if get("finished") else task.finished_at,
            )
        )


def put_runs(tables: Tables, rows: Rows, now: datetime, free: Free) -> list[int]:
    """Runs; the partitions of the held runs that may start now."""
    ended: set[str] = set()
    for row in rows:
        run = tables.runs.get(row["id"])
        if run is None:
            continue
        state = None if row["state"] is None else str(row["state"])
        run = tables.runs[run.id] = checks.run(
            run._replace(
                state=run.state if state is None else state,
                turn=run.turn if row["turn"] is None else row["turn"],
                error=run.error if row["error"] is None else row["error"],
                held=run.held and not row["cancel"],
                cancel_requested_at=(run.cancel_requested_at or now) if row["cancel"] else run.cancel_requested_at,
                started_at=run.started_at if state is None else run.started_at or now,
                finished_at=max(now, run.started_at or now) if state in FINAL else None,
            )
        )
        if run.final:
            ended.add(run.workflow)
    released = (_release_held(tables, workflow, free) for workflow in sorted(ended))
    return [partition for partition in released if partition is not None]


def _release_held(tables: Tables, workflow: str, free: Free) -> int | None:
    active = [row for row in tables.runs.values() if row.workflow == workflow and not row.final]
    first = min((row.id for row in active if row.held and free(row.id)), default=None)
    if first is None or not all(row.held for row in active):
        return None
    run = tables.runs[first] = tables.runs[first]._replace(held=False)
    tables.ask(run, "start")
    return run.partition


def _fresh(tables: Tables, row: Mapping[str, Any], now: datetime) -> Bundle:
    base = row["task_run_id"] << INDEX_BITS
    items = tuple(range(base + row["first"], base + row["first"] + row["count"]))
    for item in items:
        if item in tables.items:
            raise DataError('duplicate key value violates unique constraint "work_item_pkey"')
        tables.items[item] = WorkItem(item)
    return _bundle(tables, row, items=items, attempts=(1,) * len(items), published_at=now if row["published"] else None)


def _again(tables: Tables, row: Mapping[str, Any], now: datetime) -> Bundle:
    delay = row["delay_s"] or 0
    due_at = now + timedelta(seconds=delay) if delay > 0 else None
    published_at = now if row.get("published") and due_at is None else None
    items, attempts = tuple(row["items"]), tuple(row["attempts"])
    return _bundle(tables, row, items=items, attempts=attempts, published_at=published_at, due_at=due_at)


def _bundle(
    tables: Tables,
    row: Mapping[str, Any],
    *,
    items: tuple[int, ...],
    attempts: tuple[int, ...],
    published_at: datetime | None,
    due_at: datetime | None = None,
) -> Bundle:
    bundle = Bundle(
        id=tables.next_id("bundle"),
        run_id=row["run_id"],
        partition=int(row["run_id"][-1], 16),
        task_run_id=row["task_run_id"],
        queue=row["queue"],
        priority=row["priority"],
        turn=row["turn"],
        items=items,
        attempts=attempts,
        created_at=tables.clock(),
        timeout_s=row["timeout_s"],
        due_at=due_at,
        published_at=published_at,
        limit_key=row.get("limit_key"),
    )
    tables.bundles[bundle.id] = checks.bundle(bundle)
    return bundle


def _announce(tables: Tables, row: Mapping[str, Any]) -> tuple[int, bytes]:
    body = [_with_result(tables, fact) for fact in row["body"]]
    return tables.announce(row["run_id"], orjson.dumps(body))


def _with_result(tables: Tables, fact: Mapping[str, Any]) -> Mapping[str, Any]:
    if "result_of" not in fact:
        return fact
    told = dict(fact)
    item = tables.items.get(told.pop("result_of") << INDEX_BITS)
    small = item is not None and item.result is not None and len(orjson.dumps(item.result)) <= SMALL
    return told | {"result": item.result if item is not None and small else None}
