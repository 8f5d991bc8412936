"""The check constraints of the tables, which make impossible rows impossible.

Guarantees: who would write such a row gets DataError, as Postgres raises it (SQLSTATE class 23).
"""

from __future__ import annotations

from freshet.storage.database import DataError
from freshet.testing.twins.rows import FINAL, Bundle, Run, TaskRun, WorkItem

WIDEST = 16_777_216


def run(row: Run) -> Run:
    """The constraints of engine.run."""
    _check("run", "run_finished_when_final", (row.finished_at is not None) == (row.state in FINAL))
    in_order = row.finished_at is None or row.started_at is None or row.finished_at >= row.started_at
    _check("run", "run_times_in_order", in_order)
    return row


def task_run(row: TaskRun) -> TaskRun:
    """The constraints of engine.task_run."""
    total = row.total or 0
    counts = (row.succeeded, row.failed, row.skipped, row.cancelled, row.attempts)
    _check("task_run", "task_run_total_check", 0 <= total <= WIDEST)
    _check("task_run", "task_run_succeeded_check", min(counts) >= 0)
    _check("task_run", "task_run_finished_when_final", (row.finished_at is not None) == (row.state in FINAL))
    _check("task_run", "task_run_counts_fit", sum(counts[:4]) <= total)
    _check("task_run", "task_run_mark_fits", row.mark <= total)
    return row


def work_item(row: WorkItem) -> WorkItem:
    """The constraints of engine.work_item."""
    numbers = (row.attempt - 1, row.failures, row.losses, row.handbacks)
    _check("work_item", "work_item_attempt_check", min(numbers) >= 0)
    _check("work_item", "work_item_finished_when_final", (row.finished_at is not None) == (row.state in FINAL))
    _check("work_item", "work_item_result_of_success", row.result is None or row.state == "succeeded")
    return row


def bundle(row: Bundle) -> Bundle:
    """The constraints of engine.bundle."""
    width = len(row.items)
    _check("bundle", "bundle_items_check", 1 <= width <= 1000)
    _check("bundle", "bundle_items_and_attempts_pair", width == len(row.attempts))
    _check("bundle", "bundle_done_fits", 0 <= row.done < width)
    _check("bundle", "bundle_claim_names_worker", (row.claim is None) == (row.worker is None))
    _check("bundle", "bundle_claim_has_time", (row.claim is None) == (row.claimed_at is None))
    watched = row.submitted_at is None or (row.job_name is not None and row.claim is None)
    _check("bundle", "bundle_watch_has_job", watched)
    unclaimed = row.due_at is None or (row.claim is None and row.published_at is None)
    _check("bundle", "bundle_due_is_unclaimed", unclaimed)
    return row


def _check(table: str, constraint: str, holds: bool) -> None:  # noqa: FBT001  (what a check is about)
    if not holds:
        raise DataError(f'new row for relation "{table}" violates check constraint "{constraint}"')
