"""The items of one task: their states, results and logs, a page at a time.

Purpose: what the lists under `/runs/{id}/tasks/{task}` answer. Guarantees: a page costs what it holds and the run's
open bundles, however wide the map; an item without a row is shown as what it derives to. Never: a write.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from freshet.domain.errors import NotFoundError
from freshet.domain.states import ItemState, is_final
from freshet.storage.database import Database, Row
from freshet.storage.reads import RESULT_LIMIT, error_class, place_wanted, sentence

#: Bytes of results that one page holds at most, besides its first one.
PAGE_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a page of items ended: a TaskRun and an index in it."""

    task_run: int = 0
    index: int = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class LogPlace:
    """Where a page of logs ended."""

    at: datetime
    item: str
    attempt: int
    part: int
    claim: uuid.UUID


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Rows as JSON, and where the next page begins; None after the last one."""

    rows: list[dict[str, Any]]
    next: Place | LogPlace | int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemResult:
    """The result of one item or, of a fanned-out task, a page of its items' results."""

    results: list[Any] | None  # None: `result` is the one
    result: Any = None
    total: int | None = None
    next: int | None = None


class Items:
    """Reading the items of a task."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(
        self, run_id: uuid.UUID, task: str, *, item: str | None = None, after: Place | None = None, limit: int = 100
    ) -> Page:
        """The items of a task, over all its scopes, or the one at an index path. Raises NotFoundError."""
        after = after or Place()
        task_runs, index = self._places(run_id, task, item, after, limit)
        rows = self._database.rows(
            "ItemsPage",
            {
                "run": run_id,
                "task_runs": task_runs,
                "after_task_run": after.task_run,
                "after_index": after.index,
                "index": index,
                "limit": limit,
                "result_limit": RESULT_LIMIT,
            },
        )
        self._refuse_missing(run_id, task, item, rows)
        last = rows[-1] if len(rows) == limit and item is None else None
        served = self._served_queues(rows)
        return Page(
            rows=[_item(run_id, task, row, served) for row in rows],
            next=Place(task_run=last["task_run"], index=last["index"]) if last else None,
        )

    def result(
        self, run_id: uuid.UUID, task: str, *, item: str | None = None, after: int = -1, limit: int = 100
    ) -> ItemResult:
        """A result: of one item, of a plain task, or a page of a fanned-out task's. Raises NotFoundError."""
        mapped = self._mapped(run_id, task)
        if mapped and item is None:
            return self._results_page(run_id, task, after, limit)
        scope, index = _split(item or "", mapped=mapped)
        row = self._row(run_id, task, scope, index)
        if row is None or row["state"] is None or not is_final(ItemState(row["state"])):
            raise NotFoundError(f"Task {task} of run {run_id} has no result{_at(item)} yet.")
        if row["row_count"] is None:
            return ItemResult(results=None, result=row["result"])
        values = self._database.rows("ValuesPage", {"source": row["item"], "after": after, "limit": limit})
        return _cut([(value["idx"], value["value"]) for value in values], row["row_count"], limit)

    def logs(
        self,
        run_id: uuid.UUID,
        task: str,
        *,
        item: str | None = None,
        attempt: int | None = None,
        after: LogPlace | None = None,
        limit: int = 100,
    ) -> Page:
        """What attempts wrote, in the order of writing. The next place is always there, for more may come."""
        self._mapped(run_id, task)
        start = after or LogPlace(
            at=datetime.fromisoformat("0001-01-01T00:00:00+00:00"), item="", attempt=0, part=-1, claim=uuid.UUID(int=0)
        )
        rows = self._database.rows(
            "LogsPage",
            {
                "run": run_id,
                "task": task,
                "item": item,
                "attempt": attempt,
                "after_at": start.at,
                "after_item": start.item,
                "after_attempt": start.attempt,
                "after_part": start.part,
                "after_claim": start.claim,
                "limit": limit,
            },
        )
        return Page(rows=[_log(row) for row in rows], next=_log_place(rows[-1]) if rows else after)

    def _results_page(self, run_id: uuid.UUID, task: str, after: int, limit: int) -> ItemResult:
        row = self._row(run_id, task, "", 0)
        if row is None:
            raise NotFoundError(f"Task {task} runs in several scopes: name an item, such as ?item=0.")
        rows = self._database.rows(
            "ResultsPage", {"owner": row["owner"], "total": row["total"] or 0, "after": after, "limit": limit}
        )
        return _cut([(each["index"], self._element(each)) for each in rows], row["total"] or 0, limit)

    def _element(self, row: Row) -> Any:
        if row["row_count"] is None:
            return row["result"]
        values = self._database.rows("ValuesPage", {"source": row["item"], "after": -1, "limit": row["row_count"]})
        return [value["value"] for value in values]

    def _row(self, run_id: uuid.UUID, task: str, scope: str, index: int) -> Row | None:
        return self._database.row("ItemResult", {"run": run_id, "task": task, "scope": scope, "index": index})

    def _places(
        self, run_id: uuid.UUID, task: str, item: str | None, after: Place, limit: int
    ) -> tuple[list[int], int | None]:
        """The TaskRuns that a page comes from, and the index in it if one item is asked for."""
        named: dict[str, Any] = {"run": run_id, "task": task}
        if item is None:
            # One more, for the first may be shown to its end.
            rows = self._database.rows("TaskRunsPage", {**named, "after": after.task_run, "limit": limit + 1})
            return [row["id"] for row in rows], None
        scope, index = _split(item, mapped=self._mapped(run_id, task))
        return [row["id"] for row in self._database.rows("TaskRunOfScope", {**named, "scope": scope})], index

    def _mapped(self, run_id: uuid.UUID, task: str) -> bool:
        """Whether the task fans out. Raises NotFoundError for a task that the run's workflow has not."""
        inner = [step for name in task.split(".") for step in ("tasks", name)]
        parameters = {"run": run_id, "path": inner, "final_path": ["finally", *inner[1:]]}
        row = self._database.row("TaskDeclared", parameters)
        if row is None:
            raise NotFoundError(f"There is no run {run_id}.")
        if row["task"] is None:
            raise NotFoundError(f"Run {run_id} has no task {task}.")
        return "for_each" in row["task"]

    def _refuse_missing(self, run_id: uuid.UUID, task: str, item: str | None, rows: list[Row]) -> None:
        if rows:
            return
        self._mapped(run_id, task)
        if item is not None:
            raise NotFoundError(f"Task {task} of run {run_id} has no item {item}.")

    def _served_queues(self, rows: list[Row]) -> frozenset[str]:
        if not any(row["queue"] for row in rows):
            return frozenset()
        return frozenset(row["queue"] for row in self._database.rows("ServedQueues"))


def _split(item: str, *, mapped: bool) -> tuple[str, int]:
    """An item's index path as its scope's path and its index. Raises NotFoundError for what is no index path."""
    if not all(part.isascii() and part.isdigit() and len(part) <= 8 for part in item.split(".") if item):
        raise NotFoundError(f"{item!r} is not the index path of an item; one reads 17, or 3.17 in a nested map.")
    if not mapped:
        return item, 0
    scope, _, index = item.rpartition(".")
    if not index:
        raise NotFoundError("A fanned-out task has many items: name one by its index path.")
    return scope, int(index)


def item_path(scope: str, index: int, *, mapped: bool) -> str:
    """The index path of an item: its scope's and its own index, or the scope's alone for a plain task's one item."""
    if not mapped:
        return scope
    return f"{scope}.{index}" if scope else str(index)


def _item(run_id: uuid.UUID, task: str, row: Row, served: frozenset[str]) -> dict[str, Any]:
    path = item_path(row["index_path"], row["index"], mapped=row["mapped"])
    shown: dict[str, Any] = {
        "item": path,
        "index": row["index"],
        "state": row["state"],
        "attempt": row["attempt"],
        "failures": row["failures"] or 0,
        "losses": row["losses"] or 0,
        "result": None if row["elsewhere"] else row["result"],
        "error": sentence(row["error"]),
        "error_class": error_class(row["error"]),
        "queue": row["queue"],
        "worker": row["worker"],
        "claimed_at": _iso(row["claimed_at"] or row["submitted_at"]),
        "due_at": _iso(row["due_at"]),
        "finished_at": _iso(row["finished_at"]),
        "job_name": row["job_name"],
    }
    if row["elsewhere"]:
        shown["result_url"] = f"/api/v1/runs/{run_id}/tasks/{task}/result" + (f"?item={path}" if path else "")
    note = _note(row, served)
    return shown if note is None else {**shown, "note": note}


def _note(row: Row, served: frozenset[str]) -> str | None:
    """What an item waits for, if anybody knows."""
    if row["state"] == ItemState.QUEUED and row["queue"] not in served:
        return f"Nobody serves queue {row['queue']}."
    return row["waits_for"] or (place_wanted(row["pool"]) if row["pool"] else None)


def _log(row: Row) -> dict[str, Any]:
    return {
        "item": row["item"],
        "attempt": row["attempt"],
        "part": row["part"],
        "text": row["text"],
        "at": _iso(row["at"]),
    }


def _log_place(row: Row) -> LogPlace:
    return LogPlace(at=row["at"], item=row["item"], attempt=row["attempt"], part=row["part"], claim=row["claim"])


def _cut(elements: list[tuple[int, Any]], total: int, limit: int) -> ItemResult:
    """A page of results that ends early when it grows heavy."""
    kept = list(_until_heavy(elements))
    last = kept[-1][0] if kept else total
    more = last + 1 < total and (len(kept) < len(elements) or len(elements) == limit)
    return ItemResult(results=[value for _, value in kept], total=total, next=last if more else None)


def _until_heavy(elements: list[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    weight = 0
    for place, (index, value) in enumerate(elements):
        weight += len(orjson.dumps(value))
        if place and weight > PAGE_BYTES:
            return
        yield index, value


def _at(item: str | None) -> str:
    return f" for item {item}" if item else ""


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
