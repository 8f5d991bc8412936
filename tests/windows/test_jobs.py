"""A worker that is killed around a submit to Snowflake, or a watcher around the end: container or script ran once."""

from __future__ import annotations

from typing import Any

import pytest
from tests.emulator.server import EmulatorProcess, fresh
from tests.windows.crash import window
from tests.windows.workers import Workers

from freshet.execution.job_service import job_prefix
from freshet.snowflake import JobServices

pytestmark = [pytest.mark.xdist_group("windows"), pytest.mark.timeout(600)]


@window("job.named", "job.submitted", "watch.logged", "watch.judged", "watch.ended")
@pytest.mark.parametrize("point", ["job.named", "job.submitted", "watch.logged", "watch.judged", "watch.ended"])
def test_a_job_service_is_launched_once_whoever_dies_around_it(
    workers: Workers, services: JobServices, point: str
) -> None:
    site, launches = workers.site, workers.directory / "launches"
    pool = fresh("POOL")
    services.execute(f"CREATE COMPUTE POOL {pool} MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = CPU_X64_XS")
    script = f"echo launched >> {launches}; echo '{{\"rows\": 7}}'"
    container: dict[str, Any] = {"image": "/db/s/shell:1", "compute_pool": pool, "command": ["sh", "-c", script]}
    site.apply({"name": "jobs", "tasks": {"job": {"job_service": container}}})
    run = site.start("jobs")
    workers.until_killed(workers.start("tests.windows.service", point))
    workers.start()
    found = workers.until_recorded(run)
    assert found["state"] == "succeeded", found
    assert found["tasks"]["job"]["result"] == {"rows": 7}
    assert found["tasks"]["job"]["attempts"] == 1
    assert launches.read_text().splitlines() == ["launched"]
    assert site.one("select string_agg(text, '' order by part) from log.attempt_log") == '{"rows": 7}'
    prefix = job_prefix(site.workers.installation())
    workers.until(lambda: services.list_jobs(prefix) == [])  # dropped, or reaped by the next watcher
    assert site.sql("select id from engine.bundle union all select id from engine.report") == []
    assert site.one("select count(*) from log.jobs_run_stats") == 1
    site.assert_recorded_once(run)


@window("query.named", "query.submitted", "query.judged", "query.ended")
@pytest.mark.parametrize("point", ["query.named", "query.submitted", "query.judged", "query.ended"])
def test_a_script_on_snowflake_is_begun_once_whoever_dies_around_it(
    workers: Workers, services: JobServices, point: str
) -> None:
    site, table = workers.site, fresh()
    services.execute(f"CREATE TABLE {table} (i INT)")
    text = f"INSERT INTO {table} VALUES (1); SELECT SYSTEM$WAIT(1); SELECT COUNT(*) AS rows_there FROM {table}"
    site.apply({"name": "scripts", "tasks": {"script": {"sql": {"on": "snowflake", "text": text}}}})
    run = site.start("scripts")
    workers.until_killed(workers.start("tests.windows.service", point))
    workers.start()
    found = workers.until_recorded(run)
    assert found["state"] == "succeeded", found
    assert found["tasks"]["script"]["result"] == [{"rows_there": 1}]
    assert found["tasks"]["script"]["attempts"] == 1
    assert services.execute(f"SELECT COUNT(*) AS n FROM {table}")[0]["n"] == 1
    assert site.sql("select id from engine.bundle union all select id from engine.report") == []
    site.assert_recorded_once(run)


def test_a_lost_node_uses_up_none_of_the_users_retries(
    workers: Workers, services: JobServices, emulator: EmulatorProcess
) -> None:
    pool = fresh("POOL")
    services.execute(f"CREATE COMPUTE POOL {pool} MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = CPU_X64_XS")
    script = "case $FRESHET_ATTEMPT in 1) sleep 600;; 2) exit 3;; *) echo 7;; esac"
    container: dict[str, Any] = {"image": "/db/s/shell:1", "compute_pool": pool, "command": ["sh", "-c", script]}
    site = workers.site
    site.apply({"name": "losses", "tasks": {"job": {"job_service": container, "retries": 1}}})
    emulator.fault(kind="node_lost", times=1)
    run = site.start("losses")
    workers.start()
    found = workers.until_recorded(run)
    assert (found["state"], found["tasks"]["job"]["result"]) == ("succeeded", 7), found
    assert found["tasks"]["job"]["attempts"] == 3
    errors = site.sql("select attempt, error_class from log.attempt where error_class is not null order by attempt")
    assert [(row["attempt"], row["error_class"]) for row in errors] == [(1, "node_lost"), (2, "user")]
