"""Estimated credits of runs and items.

Purpose: the run time of job services, as the log has it, times the rate of their pools. Guarantees: attempts that have
been recorded count, those in flight do not; a task without a known rate has no estimate. Never: Snowflake; a pool's
family is what a worker has stored, or a setting.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from freshet.domain.cost import Rates, pool_key, shown, total
from freshet.domain.job_failure import JobFailure
from freshet.storage.database import Database, Row

UNSTARTED = [kind.value for kind in JobFailure if not kind.has_run]


class Costs:
    """Reading what runs cost, and which family a pool is of."""

    def __init__(self, database: Database, rates: Rates) -> None:
        self._database = database
        self._rates = rates

    def add_to_run(self, run: dict[str, Any]) -> dict[str, Any]:
        """The run object with `estimated_credits`, its own and those of its tasks that are job services."""
        jobs = {path: task for path, task in run["tasks"].items() if task["kind"] == "job_service"}
        if not jobs:
            return run
        run_id = uuid.UUID(run["run_id"])
        declared = self._declared(run_id)
        families = self._families([job["compute_pool"] for job in declared.values()])
        rows = self._database.rows("JobSeconds", {"run": run_id, "unstarted": UNSTARTED})
        seconds = {row["task"]: row["seconds"] for row in rows}
        found = {path: self._credits(declared.get(path), seconds.get(path, 0.0), families) for path in jobs}
        for path, estimate in found.items():
            jobs[path]["estimated_credits"] = shown(estimate)
        run["estimated_credits"] = shown(total(found.values()))
        return run

    def add_to_items(self, run_id: uuid.UUID, task: str, items: Sequence[dict[str, Any]]) -> None:
        """Give each item of a job service its `estimated_credits`; items of other kinds have none."""
        job = self._declared(run_id).get(task)
        if job is None:
            return
        families = self._families([job["compute_pool"]])
        wanted = {"run": run_id, "task": task, "items": [each["item"] for each in items], "unstarted": UNSTARTED}
        seconds = {row["item"]: row["seconds"] for row in self._database.rows("JobItemSeconds", wanted)}
        for each in items:
            each["estimated_credits"] = shown(self._credits(job, seconds.get(each["item"], 0.0), families))

    def _credits(self, job: Mapping[str, Any] | None, seconds: float, families: Mapping[str, str]) -> Decimal | None:
        if job is None:
            return None
        pool = job["compute_pool"]
        family = families.get(pool_key(pool))
        found = self._rates.credits(pool, seconds, replicas=job.get("replicas", 1), family=family)
        return Decimal(0) if found is None and not seconds else found

    def _declared(self, run_id: uuid.UUID) -> dict[str, Mapping[str, Any]]:
        row: Row | None = self._database.row("RunGet", {"run": run_id})
        document = (row and row["document"]) or {}
        return dict(found for section in ("tasks", "finally") for found in _jobs(document.get(section) or {}, ""))

    def _families(self, pools: Sequence[str]) -> dict[str, str]:
        rows = self._database.rows("PoolFamilies", {"pools": sorted({pool_key(pool) for pool in pools})})
        return {row["name"]: row["family"] for row in rows}


def _jobs(tasks: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, task in tasks.items():
        if "job_service" in task:
            yield prefix + name, task["job_service"]
        yield from _jobs(task.get("tasks") or {}, f"{prefix}{name}.")
