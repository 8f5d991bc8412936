"""A recorder that is killed while it mirrors: the tables in Snowflake have each row once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.emulator.server import EmulatorProcess
from tests.recording.facts import Outbox, Run
from tests.recording.mirrored import TABLES, assert_equal, copies, finish, originals
from tests.recording.test_tables import six_jobs
from tests.windows.crash import window
from tests.windows.site import Site
from tests.windows.workers import Workers, jobs_of

from freshet.snowflake import JobServices, SnowflakeRefusedError
from freshet.storage.record import Recording

pytestmark = [pytest.mark.xdist_group("windows"), pytest.mark.timeout(600)]


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[EmulatorProcess]:
    running = EmulatorProcess("--state", str(tmp_path / "snowflake"))
    yield running
    running.stop()


@pytest.fixture
def recorders(database: str, redis: str, tmp_path: Path, emulator: EmulatorProcess) -> Iterator[Workers]:
    site = Site(database, redis, turned=False)
    recorders = jobs_of(site, tmp_path, emulator, FRESHET_SNOWFLAKE_MIRROR="true")
    recorders.leave_the_rest_to_processes()
    yield recorders
    recorders.close()
    site.close()


def finish_runs(site: Site, count: int) -> None:
    recording, outbox = Recording(site.database), Outbox(site.database)
    for _ in range(count):
        run = Run(root_task_name="root_task")
        finish(outbox, recording, run, six_jobs(run))


def equal(services: JobServices, site: Site) -> bool:
    try:
        return all(copies(services, table) == originals(site.database, table) for table in TABLES)
    except SnowflakeRefusedError:
        return False  # the tables are not there yet


@window("mirror.read", "mirror.written", "mirror.marked")
@pytest.mark.parametrize("point", ["mirror.read", "mirror.written", "mirror.marked"])
def test_the_mirror_equals_the_views_row_for_row_whoever_dies_over_it(
    recorders: Workers, emulator: EmulatorProcess, point: str
) -> None:
    site = recorders.site
    finish_runs(site, 3)
    recorders.until_killed(recorders.start("tests.windows.service", point, "recorder"))
    finish_runs(site, 2)
    recorders.start("freshet_recorder")
    services = emulator.services()
    recorders.until(lambda: equal(services, site))
    assert_equal(services, site.database)
    assert copies(services, "jobs_run_stats").total() == 5 * 6
    assert copies(services, "task_logging_stats").total() == 5 * 7
    services.close()


def test_what_ended_while_snowflake_was_down_is_there_once_it_is_back(
    recorders: Workers, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    site = recorders.site
    finish_runs(site, 2)
    recorders.start("freshet_recorder")
    services = emulator.services()
    recorders.until(lambda: equal(services, site))
    services.close()
    emulator.kill()
    finish_runs(site, 3)
    threading.Event().wait(0.5)  # tries meanwhile
    back = EmulatorProcess("--state", str(tmp_path / "snowflake"), "--port", str(emulator.port))
    services = back.services()
    recorders.until(lambda: equal(services, site))
    assert copies(services, "jobs_run_stats").total() == 5 * 6
    services.close()
    back.stop()
