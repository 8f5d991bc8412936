"""New runs in the twin's tables, by the rules of `storage/sql/requests.sql`.

Guarantees: one run per origin; a run and its start request are one step, and a held run has none. Never: a transaction
of its own; whoever calls is within one, or writes nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from freshet.storage.database import DataError
from freshet.storage.requests import Announcement, Asked, NewRun, partition_of, traceparent_of
from freshet.testing.twins import checks
from freshet.testing.twins.rows import Run
from freshet.testing.twins.tables import Tables
from freshet.testing.twins.texts import jsonb, jsonb_text, time_text


def insert_runs(tables: Tables, runs: Sequence[NewRun]) -> list[Asked]:
    """The runs made or found, in the order given."""
    # In the order of their ids, as the statement inserts them: of two with one origin the older one is made.
    made = {run.id for run in sorted(runs, key=lambda run: run.id) if _insert(tables, _row(tables, run))}
    return [_asked(tables, run, created=run.id in made) for run in runs]


def insert_skipped(tables: Tables, run: NewRun, root_task_name: str | None) -> Announcement | None:
    """A tick that the overlap policy let pass, final from the start; None when it was known."""
    row = _row(tables, run)._replace(
        group_id=str(run.id), rerun_of=None, rerun_tasks=None, held=False, state="skipped", finished_at=tables.clock()
    )
    if not _put(tables, row):
        return None
    outbox_id, body = tables.announce(row.id, jsonb_text([_skipped(row, root_task_name)]).encode())
    return Announcement(outbox_id=outbox_id, body=body)


def _insert(tables: Tables, row: Run) -> bool:
    if not _put(tables, row):
        return False
    if not row.held:
        tables.ask(row, "start")
    return True


def _put(tables: Tables, row: Run) -> bool:
    if row.origin is not None and row.origin in tables.origins:
        return False
    if row.id in tables.runs:
        raise DataError('duplicate key value violates unique constraint "run_pkey"')
    tables.runs[row.id] = checks.run(row)
    if row.origin is not None:
        tables.origins[row.origin] = row.id
    return True


def _row(tables: Tables, run: NewRun) -> Run:
    return Run(
        id=str(run.id),
        workflow=run.workflow,
        version=run.version,
        trigger=run.trigger.value,
        group_id=str(run.group_id or run.id),
        created_at=tables.clock(),
        origin=run.origin,
        params=jsonb(dict(run.params)),
        scheduled_for=run.scheduled_for,
        rerun_of=str(run.rerun_of) if run.rerun_of else None,
        rerun_tasks=run.rerun_tasks,
        priority=run.priority,
        held=run.held,
        traceparent=run.traceparent or traceparent_of(run.id),
    )


def _asked(tables: Tables, run: NewRun, *, created: bool) -> Asked:
    if created or run.origin is None:
        return Asked(run_id=run.id, partition=partition_of(run.id), created=True)
    earlier = UUID(tables.origins[run.origin])
    return Asked(run_id=earlier, partition=partition_of(earlier), created=False)


def _skipped(row: Run, root_task_name: str | None) -> dict[str, object]:
    return {
        "type": "freshet.run.skipped.v1",
        "run_id": row.id,
        "at": time_text(row.finished_at),
        "workflow": row.workflow,
        "version": row.version,
        "trigger": row.trigger,
        "scheduled_for": time_text(row.scheduled_for),
        "group_id": row.group_id,
        "rerun_of": row.rerun_of,
        "created_at": time_text(row.created_at),
        "started_at": None,
        "finished_at": time_text(row.finished_at),
        "error": None,
        "root_task_name": root_task_name,
        "traceparent": row.traceparent,
    }
