"""Parking a run that can't be decided: the statement ParkRun over dictionaries."""

from __future__ import annotations

from typing import Any

from freshet.testing.twins import checks
from freshet.testing.twins.rows import Parked, TaskRun
from freshet.testing.twins.tables import Tables
from freshet.testing.twins.texts import time_text


def park_run(tables: Tables, key: str, error: str) -> dict[str, Any] | None:
    """End it as failed, class internal, with all that it has in flight: what its fact says, None if it had ended."""
    for table in (tables.bundles, tables.requests, tables.reports):
        for row in [row for row in table.values() if row.run_id == key]:
            del table[row.id]
    number = tables.next_id("parked")
    tables.parked[number] = Parked(number, "run", key, error)
    for task in [tables.task_runs[each] for each in tables.tasks_of.get(key, ())]:
        if task.finished_at is None:
            tables.task_runs[task.id] = checks.task_run(_cancelled(task, tables))
    run = tables.runs.get(key)
    if run is None or run.final:
        return None
    now = tables.clock()
    run = tables.runs[key] = checks.run(
        run._replace(
            state="failed",
            started_at=run.started_at or now,
            finished_at=max(now, run.started_at or now),
            error={"class": "internal", "message": error},
        )
    )
    return {
        "id": run.id,
        "workflow": run.workflow,
        "version": run.version,
        "trigger": run.trigger,
        "scheduled_for": time_text(run.scheduled_for),
        "group_id": run.group_id,
        "rerun_of": run.rerun_of,
        "created_at": time_text(run.created_at),
        "started_at": time_text(run.started_at),
        "finished_at": time_text(run.finished_at),
        "error": run.error,
    }


def _cancelled(task: TaskRun, tables: Tables) -> TaskRun:
    total = task.total or 0
    return task._replace(
        state="cancelled",
        total=total,
        mark=total,
        cancelled=total - task.succeeded - task.failed - task.skipped,
        finished_at=tables.clock(),
    )
