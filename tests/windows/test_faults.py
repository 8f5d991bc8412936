"""Every fault that the emulator can play: what the item says, how often it was tried, and what that cost in retries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import pytest
from tests.emulator.server import EmulatorProcess, fresh
from tests.windows.workers import Workers

from freshet.snowflake import JobServices
from freshet_emulator.faults import Kind

pytestmark = [pytest.mark.xdist_group("faults"), pytest.mark.timeout(600)]

RESULT = {"rows": 7}


@dataclass(frozen=True, kw_only=True, slots=True)
class Story:
    """A fault, and what becomes of a job with one retry."""

    switch: dict[str, Any]
    state: str = "succeeded"
    result: Any = None
    attempts: int = 1
    failures: int = 0  # retries used up
    error_class: str | None = None  # of the attempts that were not the last, or of the run
    says: str = ""


UNHARMED: dict[str, Any] = {"result": RESULT}
TRIED_AGAIN: dict[str, Any] = {"result": RESULT, "attempts": 2}
STORIES = [
    Story(switch={"kind": "drop_connection", "statement": "^EXECUTE JOB", "when": "after"}, **UNHARMED),
    Story(switch={"kind": "drop_connection", "statement": "^SHOW JOB"}, **UNHARMED),
    Story(switch={"kind": "http_503", "statement": "^SHOW JOB"}, **UNHARMED),
    Story(switch={"kind": "slow_answer", "statement": "JOB", "seconds": 2.0}, **UNHARMED),
    Story(switch={"kind": "expire_token"}, **UNHARMED),
    Story(switch={"kind": "forget_session"}, **UNHARMED),
    Story(switch={"kind": "stuck_pending", "times": 1}, error_class="capacity", says="had not started", **TRIED_AGAIN),
    Story(switch={"kind": "node_lost", "times": 1}, error_class="node_lost", says="node", **TRIED_AGAIN),
    Story(switch={"kind": "oom", "times": 1}, failures=1, error_class="oom", says="OOMKilled", **TRIED_AGAIN),
    Story(switch={"kind": "image_pull", "times": 1}, failures=1, error_class="image", says="pull", **TRIED_AGAIN),
    Story(
        switch={"kind": "image_pull"}, state="failed", attempts=2, failures=1, error_class="image", says="/db/s/shell:1"
    ),
    Story(
        switch={"kind": "no_privilege", "statement": "^EXECUTE JOB", "times": 1},
        failures=1,
        error_class="user",
        says="privilege",
        **TRIED_AGAIN,
    ),
    Story(switch={"kind": "logs_gone"}),  # it is done; what it printed is lost, and its result with it
    Story(switch={"kind": "history_only"}),  # it is gone, and the history says that it was done
]


def test_every_fault_has_its_story() -> None:
    assert {story.switch["kind"] for story in STORIES} == set(get_args(Kind))


@pytest.mark.parametrize("story", STORIES, ids=lambda story: f"{story.switch['kind']}-{story.attempts}")
def test_a_fault_costs_what_it_should(
    workers: Workers, services: JobServices, emulator: EmulatorProcess, story: Story
) -> None:
    site, pool = workers.site, fresh("POOL")
    services.execute(f"CREATE COMPUTE POOL {pool} MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = CPU_X64_XS")
    job = {
        "image": "/db/s/shell:1",
        "compute_pool": pool,
        "command": ["sh", "-c", "echo hello; echo '{\"rows\": 7}'"],
        "start_timeout": "PT2S",
    }
    site.apply({"name": "faults", "tasks": {"job": {"job_service": job, "retries": {"limit": 1, "delay": "PT0S"}}}})
    run = site.start("faults")
    with emulator.faulty(**story.switch):
        workers.start()
        found = workers.until_recorded(run)
    task = found["tasks"]["job"]
    assert (found["state"], task["result"], task["attempts"]) == (story.state, story.result, story.attempts), found
    assert site.one("select failures from engine.work_item") == story.failures
    errors = site.sql("select error_class, error from log.attempt where error_class is not null order by attempt")
    assert {row["error_class"] for row in errors} == ({story.error_class} if story.error_class else set())
    assert all(story.says in row["error"] for row in errors), errors
