"""Asking for runs: start, cancel, run again, fill in ticks.

Purpose: a request is a committed row before anyone is told of it. Guarantees: a run and its start request are written
together; asking twice under one origin (an idempotency key, a tick, an event) makes one run, also by two at once.
Never: a decision about a run that goes on; that is the dispatcher's. Whoever calls wakes the dispatchers of the
partitions in the answer, after this has returned.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import uuid_utils
from psycopg.types.json import Jsonb

from freshet.domain.errors import ConflictError, NotFoundError
from freshet.domain.model import Trigger
from freshet.domain.states import RunState, TaskState, is_final
from freshet.storage.database import Database, Row, Session
from freshet.storage.statements import statement


def new_run_id() -> uuid.UUID:
    """A UUID of version 7: ordered by time, its last hex digit is random and names the partition."""
    return uuid.UUID(int=uuid_utils.uuid7().int)


def partition_of(run_id: uuid.UUID) -> int:
    """The partition that engine.run computes for this id, 0 to 15."""
    return run_id.int & 0xF


@dataclass(frozen=True, kw_only=True, slots=True)
class NewRun:
    """A run to be made. `params` are complete: defaults filled in, types checked."""

    workflow: str
    version: int
    trigger: Trigger
    params: Mapping[str, Any] = field(default_factory=dict)
    origin: str | None = None
    scheduled_for: datetime | None = None
    priority: int = 100
    held: bool = False  # waits for the workflow's earlier run to end
    traceparent: str | None = None  # None: a trace of its own
    rerun_of: uuid.UUID | None = None
    rerun_tasks: tuple[str, ...] | None = None  # None: all
    group_id: uuid.UUID | None = None  # None: a group of its own
    id: uuid.UUID = field(default_factory=new_run_id)


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What became of a request for a run."""

    run_id: uuid.UUID
    partition: int
    created: bool  # False: the origin was known, and this is the run that it made


@dataclass(frozen=True, kw_only=True, slots=True)
class Announcement:
    """A committed outbox row, for `Bus.announce`."""

    outbox_id: int
    body: bytes


def call_origin(workflow: str, key: str) -> str:
    """The origin of a call with an Idempotency-Key."""
    return f"call:{workflow}:{key}"


def schedule_origin(workflow: str, tick: datetime) -> str:
    """The origin of a schedule's tick."""
    return f"schedule:{workflow}:{tick.isoformat()}"


def backfill_origin(workflow: str, tick: datetime) -> str:
    """The origin of a backfilled tick: each tick is filled in once."""
    return f"backfill:{workflow}:{tick.isoformat()}"


def event_origin(source: str, event_id: str, workflow: str) -> str:
    """The origin of an event's run."""
    return f"event:{source}:{event_id}:{workflow}"


class Requests:
    """The requests that users and schedules make."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create_run(self, run: NewRun) -> Asked:
        """Make the run, or answer the one that its origin made before.

        Raises ConflictError when that one has other params.
        """
        with self._database.transaction() as session:
            (asked,) = insert_runs(session, [run])
            if not asked.created:
                _refuse_other_params(session, run)
            return asked

    def create_runs(self, runs: Sequence[NewRun]) -> list[Asked]:
        """Make all runs in one transaction, in the order given."""
        with self._database.transaction() as session:
            return insert_runs(session, runs)

    def backfill(self, runs: Sequence[NewRun], *, one_by_one: bool) -> list[Asked]:
        """Make the runs of past ticks, in the order given.

        `one_by_one` holds each until the one before has ended. Call `release_held` afterwards, for the workflow's
        last run may have ended while these were being written.
        """
        with self._database.transaction() as session:
            if one_by_one and runs:
                idle = not active_runs(session, runs[0].workflow)
                runs = [replace(run, held=not (idle and place == 0)) for place, run in enumerate(runs)]
            return insert_runs(session, runs)

    def cancel(self, run_id: uuid.UUID) -> int | None:
        """Ask for the end of a run; its partition, or None when it was cancelled already.

        Raises NotFoundError, and ConflictError when it has ended otherwise.
        """
        row = self._database.row("CancelRequestInsert", {"run": run_id})
        if row is None:
            raise NotFoundError(f"There is no run {run_id}.")
        state = RunState(row["state"])
        if is_final(state) and state is not RunState.CANCELLED:
            raise ConflictError(f"Run {run_id} has ended ({state}); there is nothing left to cancel.")
        return None if is_final(state) else int(row["partition"])

    def run_for_rerun(self, run_id: uuid.UUID) -> Row:
        """The ended run's workflow, version, params, scheduled_for, group_id and priority.

        Raises NotFoundError, and ConflictError while it has not ended.
        """
        row = self._database.row("RunForRerun", {"run": run_id})
        if row is None:
            raise NotFoundError(f"There is no run {run_id}.")
        if not is_final(RunState(row["state"])):
            raise ConflictError(f"Run {run_id} is {row['state']}; cancel it or wait for its end.")
        return row

    def top_task_states(self, run_id: uuid.UUID) -> dict[str, TaskState]:
        """The states of the tasks in the run's own scope, by name."""
        rows = self._database.rows("TopTaskStates", {"run": run_id})
        return {row["task"]: TaskState(row["state"]) for row in rows}

    def release_held(self) -> list[Asked]:
        """Start held runs of workflows that have no run going; those that were started."""
        rows = self._database.rows("HeldRunsRelease")
        return [Asked(run_id=row["run_id"], partition=row["partition"], created=False) for row in rows]


def insert_runs(session: Session, runs: Sequence[NewRun]) -> list[Asked]:
    """Within the caller's transaction: the runs made or found, in the order given."""
    rows = session.execute(statement("RunsInsert"), {"runs": Jsonb([_row(run) for run in runs])}).fetchall()
    made = {row["id"] for row in rows}
    known = _by_origin(session, [run.origin for run in runs if run.id not in made and run.origin])
    return [_asked(run, made, known) for run in runs]


def insert_skipped(session: Session, run: NewRun, root_task_name: str | None) -> Announcement | None:
    """Within the caller's transaction: a tick that the overlap policy let pass; None when it was known."""
    parameters = {
        "id": run.id,
        "workflow": run.workflow,
        "version": run.version,
        "trigger": run.trigger,
        "origin": run.origin,
        "params": Jsonb(dict(run.params)),
        "scheduled_for": run.scheduled_for,
        "priority": run.priority,
        "traceparent": run.traceparent or traceparent_of(run.id),
        "root_task_name": root_task_name,
    }
    row = session.execute(statement("SkippedRunInsert"), parameters).fetchone()
    return Announcement(outbox_id=row["id"], body=row["body"].encode()) if row else None


def active_runs(session: Session, workflow: str) -> int:
    """How many runs of the workflow are not final, held ones included."""
    row = session.execute(statement("ActiveRunCount"), {"workflow": workflow}).fetchone()
    return int(row["runs"]) if row else 0


def _asked(run: NewRun, made: set[uuid.UUID], known: Mapping[str, Row]) -> Asked:
    if run.id in made or run.origin is None:
        return Asked(run_id=run.id, partition=partition_of(run.id), created=True)
    earlier = known[run.origin]
    return Asked(run_id=earlier["id"], partition=earlier["partition"], created=False)


def _by_origin(session: Session, origins: Iterable[str]) -> dict[str, Row]:
    wanted = list(origins)
    if not wanted:
        return {}
    rows = session.execute(statement("RunsByOrigin"), {"origins": wanted}).fetchall()
    return {row["origin"]: row for row in rows}


def _refuse_other_params(session: Session, run: NewRun) -> None:
    assert run.origin is not None  # only a known origin keeps a run from being made
    earlier = _by_origin(session, [run.origin])[run.origin]
    if earlier["params"] != dict(run.params):
        raise ConflictError(
            f"This Idempotency-Key made run {earlier['id']} with other params; take a new key for a new run."
        )


def _row(run: NewRun) -> dict[str, Any]:
    return {
        "id": str(run.id),
        "workflow": run.workflow,
        "version": run.version,
        "trigger": run.trigger,
        "origin": run.origin,
        "params": dict(run.params),
        "scheduled_for": run.scheduled_for,
        "rerun_of": run.rerun_of,
        "rerun_tasks": run.rerun_tasks,
        "group_id": run.group_id or run.id,
        "priority": run.priority,
        "held": run.held,
        "traceparent": run.traceparent or traceparent_of(run.id),
    }


def traceparent_of(run_id: uuid.UUID) -> str:
    """One trace per run, with the run's id as the trace's (https://www.w3.org/TR/trace-context/#traceparent-header)."""
    return f"00-{run_id.hex}-{run_id.hex[16:]}-01"
