"""A worker, its watch and an emulator for what job services can be told and how they fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.emulator.server import fresh
from tests.worker.rows import Rows
from tests.worker.test_job_service import job, pool, settings, watch_until, watcher, worker

__all__ = ["job", "pool", "settings", "watch_until", "watcher", "worker"]

#: A bundle of a job service that says all of it itself, apart from its pool.
Told = Callable[..., int]


@pytest.fixture
def told(rows: Rows, pool: str) -> Told:
    def told(*, params: dict[str, Any] | None = None, timeout_s: float | None = None, **job: Any) -> int:
        given = {"p": 1} if params is None else params
        declared = {name: {"type": "string" if isinstance(value, str) else "integer"} for name, value in given.items()}
        task = {"job_service": {"compute_pool": pool, **job}}
        workflow = rows.workflow({"name": fresh("w").lower(), "params": declared, "tasks": {"t": task}})
        return rows.bundle(rows.task(rows.run(workflow, params=given), kind="job_service"), timeout_s=timeout_s)

    return told
