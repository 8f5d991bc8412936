"""One open transaction of a fold, over dictionaries.

Guarantees: `take` locks its runs and skips those of others; then it lets others run once (`batch.locked`), and from
there to the commit nobody else does. What was written since is taken back by `roll_back`. Never: a verb that lets
others in while rows are half written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from freshet.domain.errors import UnreachableError
from freshet.domain.model import INDEX_BITS
from freshet.storage.engine_rows import Put, Taken, TaskRunRow
from freshet.storage.engine_store import EngineBatch
from freshet.storage.worker_store import Claimed
from freshet.testing.twins import ending, expansion, fence, inbox, reach
from freshet.testing.twins.decision import put
from freshet.testing.twins.passage import Passage
from freshet.testing.twins.rows import TaskRun
from freshet.testing.twins.tables import Saved, Tables
from freshet.testing.twins.texts import copied, jsonb, time_text
from freshet.testing.twins.values import item_result, item_value, task_in


class EngineBatchTwin(EngineBatch):
    """Takes, expands, puts."""

    def __init__(self, tables: Tables, passage: Passage, session: int) -> None:
        self._tables = tables
        self._passage = passage
        self._held = session
        self._saved: Saved | None = None  # from the first write on

    def take(self, partitions: Sequence[int], *, limit: int, runs: Sequence[str] | None = None) -> Taken | None:
        """Lock runs, fold their reports, load what a decision needs; None when the inbox is empty."""
        tables, now = self._tables, self._tables.clock()
        found = inbox.read_inbox(tables, partitions, limit, runs)
        if not (found.reports or found.requests):
            return None
        locked = self._lock(found.runs)
        self._let_others_run()
        return self._taken(found, locked, now)

    def _taken(self, found: inbox.Inbox, locked: frozenset[str], now: datetime) -> Taken:
        tables = self._tables
        requests = inbox.take_requests(self._written(), found.requests, locked)
        folded = inbox.fold(tables, found.reports, locked, now)
        cancelled = {run for run, kind in requests if kind == "cancel"}
        nodes = reach.nodes(tables, locked, folded.touched, cancelled)
        return Taken(
            now=time_text(now),
            waited=found.waited(now),
            requests=requests,
            outcomes=folded.outcomes,
            announced=folded.announced,
            full=found.full,
            runs=[inbox.run_row(tables.runs[run]) for run in sorted(locked)],
            nodes=self._rows(nodes),
        )

    def finish_and_take(
        self, bundle: Mapping[str, Any], claim: UUID, outcomes: Sequence[orjson.Fragment]
    ) -> Taken | None:
        """End a claimed bundle, if that is not done yet, and take its run, if it is free and that was a success."""
        tables, now = self._written(), self._tables.clock()
        locked = self._lock([bundle["run_id"]])
        if outcomes:
            fence.finish(tables, bundle["id"], claim, outcomes)
        reports = [row for row in tables.reports.values() if row.bundle_id == bundle["id"]][-1:]
        if not locked or not reports or [each["s"] for each in reports[0].body] != ["succeeded"]:
            return None
        return replace(self._taken(inbox.Inbox(reports, [], full=False), locked, now), waited=None)

    def open_scope(self, rows: Sequence[Mapping[str, Any]]) -> list[TaskRunRow]:
        """Make pending TaskRuns."""
        return self._rows(expansion.open_scope(self._written(), rows))

    def copy_tasks(self, run: str, old: str, again: Sequence[str]) -> list[TaskRunRow]:
        """Copy what a rerun does not run again."""
        return self._rows(expansion.copy_tasks(self._written(), run, old, again, self._tables.clock()))

    def open_elements(
        self, task_run: int, *, first: int, count: int, tasks: Sequence[Mapping[str, Any]]
    ) -> list[TaskRunRow]:
        """Open elements of a nested map."""
        return self._rows(expansion.open_elements(self._written(), task_run, first, count, tasks))

    def tasks_and_parents(self, run: str, index_path: str, tasks: Sequence[str]) -> list[TaskRunRow]:
        """Tasks of one scope with all their parents."""
        return self._rows(reach.tasks_and_parents(self._tables, run, index_path, tasks))

    def scope_at_rest(
        self, run: str, scope: int | None, *, known: Sequence[int], spared: Sequence[str]
    ) -> list[TaskRunRow]:
        """All of a scope, if nothing in it goes on but what is known and what is spared; else none."""
        return self._rows(reach.scope_at_rest(self._tables, run, scope, known, spared))

    def expand_result(
        self, task_run: int, *, run: str, task: str, index_path: str, fields: Sequence[str]
    ) -> Mapping[str, Any]:
        """Make a map's width known from a task's result."""
        return expansion.expand_result(
            self._written(), task_run, run=run, task=task, index_path=index_path, fields=fields
        )

    def expand_value(self, task_run: int, value: Any) -> Mapping[str, Any]:
        """The same from a value in hand."""
        return expansion.expand_value(self._written(), task_run, jsonb(value))

    def result_of(self, run: str, task: str, index_path: str) -> Any:
        """A plain task's result, None when it has none."""
        found = task_in(self._tables, run, task, index_path)
        item = None if found is None or found.mapped else self._tables.items.get(found.owner << INDEX_BITS)
        return None if item is None else copied(item_result(self._tables, item))

    def element_value(self, item: int) -> Any:
        """The value of an element or an item."""
        return copied(item_value(self._tables, item))

    def cancel_bundles(self, run: str, *, spared: Sequence[str]) -> list[tuple[str | None, int]]:
        """End all that a run has in flight but for the spared tasks."""
        return ending.cancel(self._written(), run, spared)

    def put(self, decision: Mapping[str, Sequence[Mapping[str, Any]]], *, now: str) -> Put:
        """Write a decision."""
        if not any(decision.values()):
            return Put()
        return put(self._written(), decision, datetime.fromisoformat(now), self._free)

    def put_and_claim(
        self,
        decision: Mapping[str, Sequence[Mapping[str, Any]]],
        *,
        now: str,
        queues: Sequence[str],
        worker: str,
        claim: UUID,
    ) -> tuple[Put, Claimed | None]:
        """Write a decision, and claim the first of its published bundles that is for one of the queues."""
        done = self.put(decision, now=now)
        key = next((bundle for bundle, queue in done.bundles if queue in queues), None)
        taken = None if key is None else fence.claim(self._tables, key, worker, claim)
        return done, None if taken is None else Claimed(claim=claim, document=taken[0], fact=taken[1])

    # --- for the store -----------------------------------------------------------------------------------------------

    def commit(self) -> None:
        """What was written stays; the locks are free. Raises UnreachableError when the session has been ended."""
        if self._held not in self._tables.sessions:
            self.roll_back()
            raise UnreachableError("Postgres can't be reached: the server has ended this session.")
        self._end()

    def roll_back(self) -> None:
        """What was written is gone; the locks are free."""
        if self._saved is not None:
            self._tables.restore(self._saved)
        self._end()

    def _written(self) -> Tables:
        """The tables, about to be written: from here on nobody else is let in."""
        if self._saved is None:
            self._saved, self._tables.in_transaction = self._tables.savepoint(), True
        return self._tables

    def _end(self) -> None:
        if self._saved is not None:
            self._saved, self._tables.in_transaction = None, False
        self._tables.close_session(self._held)

    def _let_others_run(self) -> None:
        """Nothing is written yet, so that what others write now is not taken back with what comes after."""
        self._passage.enter("batch.locked")
        if self._held not in self._tables.sessions:
            raise UnreachableError("Postgres can't be reached: the server has ended this session.")

    def _lock(self, runs: Iterable[str]) -> frozenset[str]:
        locked = frozenset(run for run in runs if run in self._tables.runs and self._free(run))
        self._tables.run_locks.update(dict.fromkeys(locked, self._held))
        return locked

    def _free(self, run: str) -> bool:
        return self._tables.run_locks.get(run, self._held) == self._held

    def _rows(self, tasks: Iterable[TaskRun]) -> list[TaskRunRow]:
        return [inbox.task_row(self._tables, task) for task in tasks]
