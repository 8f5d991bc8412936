"""Asking for runs, over dictionaries.

Guarantees: a run and its start request are written together; one origin makes one run.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace

from freshet.domain.errors import ConflictError, NotFoundError
from freshet.domain.states import RunState, TaskState, is_final
from freshet.storage.database import Row
from freshet.storage.requests import Asked, NewRun, Requests
from freshet.testing.twins.new_runs import insert_runs
from freshet.testing.twins.passage import Passage, open_passage, verb
from freshet.testing.twins.rows import Run
from freshet.testing.twins.tables import Tables
from freshet.testing.twins.texts import copied, jsonb


class RequestsTwin(Requests):
    """The requests that users and schedules make."""

    def __init__(self, tables: Tables, passage: Passage = open_passage) -> None:
        self._tables = tables
        self._passage = passage

    @verb
    def create_run(self, run: NewRun) -> Asked:
        """Make the run, or answer the one that its origin made before."""
        with self._tables.transaction():
            (asked,) = insert_runs(self._tables, [run])
            if not asked.created and self._tables.runs[str(asked.run_id)].params != jsonb(dict(run.params)):
                raise ConflictError(
                    f"This Idempotency-Key made run {asked.run_id} with other params; take a new key for a new run."
                )
            return asked

    @verb
    def create_runs(self, runs: Sequence[NewRun]) -> list[Asked]:
        """Make all runs in one transaction, in the order given."""
        with self._tables.transaction():
            return insert_runs(self._tables, runs)

    @verb
    def backfill(self, runs: Sequence[NewRun], *, one_by_one: bool) -> list[Asked]:
        """Make the runs of past ticks, in the order given."""
        with self._tables.transaction():
            if one_by_one and runs:
                idle = self._idle(runs[0].workflow)
                runs = [replace(run, held=not (idle and place == 0)) for place, run in enumerate(runs)]
            return insert_runs(self._tables, runs)

    @verb
    def cancel(self, run_id: uuid.UUID) -> int | None:
        """Ask for the end of a run; its partition, or None when it was cancelled already."""
        run = self._run(run_id)
        if run.state == "cancelled":
            return None
        if run.final:
            raise ConflictError(f"Run {run_id} has ended ({run.state}); there is nothing left to cancel.")
        asked = any(row.run_id == run.id and row.kind == "cancel" for row in self._tables.requests.values())
        if run.cancel_requested_at is None and not asked:
            self._tables.ask(run, "cancel")
        return run.partition

    @verb
    def run_for_rerun(self, run_id: uuid.UUID) -> Row:
        """The ended run's workflow, version, params, scheduled_for, group_id and priority."""
        run = self._run(run_id)
        if not is_final(RunState(run.state)):
            raise ConflictError(f"Run {run_id} is {run.state}; cancel it or wait for its end.")
        return {
            "id": run_id,
            "workflow": run.workflow,
            "version": run.version,
            "state": run.state,
            "params": copied(run.params),
            "scheduled_for": run.scheduled_for,
            "group_id": uuid.UUID(run.group_id),
            "priority": run.priority,
        }

    @verb
    def top_task_states(self, run_id: uuid.UUID) -> dict[str, TaskState]:
        """The states of the tasks in the run's own scope, by name."""
        rows = (self._tables.task_runs[key] for key in self._tables.tasks_of.get(str(run_id), ()))
        return {row.task: TaskState(row.state) for row in rows if row.index_path == "" and "." not in row.task}

    @verb
    def release_held(self) -> list[Asked]:
        """Start held runs of workflows that have no run going."""
        active = [run for run in self._tables.runs.values() if not run.final]
        busy = {run.workflow for run in active if not run.held}
        oldest: dict[str, Run] = {}
        for run in sorted(run for run in active if run.held and run.workflow not in busy):
            oldest.setdefault(run.workflow, run)
        released = [run for _, run in sorted(oldest.items()) if run.state == "pending"]
        for run in released:
            self._tables.runs[run.id] = run._replace(held=False)
            self._tables.ask(run, "start")
        return [Asked(run_id=uuid.UUID(run.id), partition=run.partition, created=False) for run in released]

    def _idle(self, workflow: str) -> bool:
        return all(run.workflow != workflow or run.final for run in self._tables.runs.values())

    def _run(self, run_id: uuid.UUID) -> Run:
        run = self._tables.runs.get(str(run_id))
        if run is None:
            raise NotFoundError(f"There is no run {run_id}.")
        return run
