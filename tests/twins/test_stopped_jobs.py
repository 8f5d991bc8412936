"""Whose last words are looked for, said of Postgres and of its twin."""

from __future__ import annotations

from uuid import UUID

import pytest
from tests.twins.backing import Backing
from tests.twins.setting import open_task, put, queue_items

from freshet.domain.model import INDEX_BITS
from freshet.storage.worker_store import JobLog


@pytest.mark.parametrize(
    ("state", "attempt", "kind", "stopped"),
    [
        ("failed", 1, "timeout", True),
        ("expired", 1, "timeout", True),
        ("failed", 1, "user", False),
        ("queued", 2, "timeout", True),  # it is tried again
        ("queued", 2, "user", False),
        ("queued", 1, "timeout", False),  # another attempt's
        ("queued", 3, "timeout", False),
    ],
)
def test_an_attempt_that_ran_into_its_timeout_was_stopped(
    backing: Backing, state: str, attempt: int, kind: str, stopped: bool
) -> None:
    node, workers = open_task(backing, kind="job_service"), backing.workers
    queue_items(backing, node, 1)
    where = JobLog(bundle=None, job="J", run_id=UUID(node.run_id), task="t", item="", attempt=1, claim=UUID(int=7))
    counters = {"failures": 1, "losses": 0, "handbacks": 0, "error": {"class": kind, "message": "It ran too long."}}
    put(backing, items=[{"id": node.id << INDEX_BITS, "state": state, "attempt": attempt, **counters}])
    assert (workers.stopped(where) is not None) == stopped
