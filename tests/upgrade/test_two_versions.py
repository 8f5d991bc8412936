"""Workers and dispatchers of two versions side by side, on the newer one's schema."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.upgrade.test_migration_under_load import Release
from tests.upgrade.versions import PREVIOUS, python_path, unpack
from tests.windows.site import Site
from tests.windows.workers import Workers

from freshet.storage import migrate

pytestmark = [pytest.mark.xdist_group("upgrade"), pytest.mark.timeout(600)]

ITEMS = 60
SHARED = {
    "name": "shared",
    "tasks": {
        "meet": {"process": "upgrade_meet@1.0.0", "for_each": str(ITEMS), "retries": {"limit": 0}},
        "plain": {"process": "upgrade_plain@1.0.0", "after": ["meet"], "for_each": "tasks.meet.result"},
        "rows": {"process": "upgrade_rows@1.0.0", "after": ["plain"]},
        "count": {"process": "upgrade_count@1.0.0", "after": ["rows"]},
    },
}


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(PREVIOUS, tmp_path_factory.mktemp("previous"))


@pytest.fixture
def workers(database: str, redis: str, tmp_path: Path) -> Iterator[Workers]:
    migrate(database, source=Release(tmp_path / "release", 1).directory)
    site = Site(database, redis, turned=False)
    site.works = False
    site.sql("create table public.upgrade_effect (run_id text, task text, item text, attempt int)")
    site.apply(SHARED)
    (tmp_path / "place").mkdir()
    settings = {"FRESHET_PROCESSES": "tests.upgrade.processes", "UPGRADE_PLACE": str(tmp_path / "place")}
    workers = Workers(site, tmp_path, **settings)
    yield workers
    workers.close()
    site.close()


def assert_shared(workers: Workers, run: object) -> None:
    """Every effect is there once, no item failed or was tried twice, and each worker did a part with its own code."""
    site = workers.site
    found = workers.until_recorded(run)  # type: ignore[arg-type]
    assert found["state"] == "succeeded", found
    assert found["tasks"]["count"]["result"] == ITEMS
    assert [task["attempts"] for task in found["tasks"].values()] == [ITEMS, ITEMS, 1, 1]
    assert site.one("select count(*) from upgrade_effect") == ITEMS
    site.assert_recorded_once(run)  # type: ignore[arg-type]
    by_worker = site.sql("select worker, count(*) from log.attempt where task = 'meet' group by worker")
    assert len(by_worker) == 2, by_worker
    assert '"level": "error"' not in workers.logs()


def code_used(site: Site) -> set[str]:
    """Where the package lay that ran each item."""
    rows = site.sql("select distinct result from engine.work_item where result::text like %s", "%freshet%")
    return {row["result"] for row in rows}


def test_a_worker_of_the_previous_version_and_one_of_this_share_a_run_on_the_new_schema(
    workers: Workers, previous: Path
) -> None:
    workers.start(PYTHONPATH=python_path(previous))
    workers.start()
    run = workers.site.start("shared")
    assert_shared(workers, run)
    places = code_used(workers.site)
    assert sorted(place.startswith(str(previous)) for place in places) == [False, True]


def test_services_of_the_previous_version_go_on_with_the_new_schema_and_a_new_worker(
    workers: Workers, previous: Path
) -> None:
    """The order of a rolling upgrade: migrate, then one service after the other."""
    old = {"PYTHONPATH": python_path(previous)}
    workers.leave_the_rest_to_processes()
    workers.start("freshet_dispatcher", **old)
    workers.start("freshet_recorder", **old)
    workers.start(**old)
    workers.start()
    run = workers.site.start("shared")
    assert_shared(workers, run)
