"""`freshet migrate` while every service works: nobody fails for it, and nobody waits for long."""

from __future__ import annotations

import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.windows.site import Site
from tests.windows.workers import Workers

from freshet.domain.errors import ConflictError
from freshet.storage import migrate

pytestmark = [pytest.mark.xdist_group("upgrade"), pytest.mark.timeout(600)]

TABLES = ("bundle", "run", "task_run", "work_item", "report", "outbox", "request", "worker")
ITEMS = 300
LOAD = {
    "name": "load",
    "tasks": {
        "plain": {"process": "upgrade_plain@1.0.0", "for_each": str(ITEMS)},
        "effect": {"process": "upgrade_effect@1.0.0", "for_each": str(ITEMS)},
        "rows": {"process": "upgrade_rows@1.0.0", "after": ["plain"], "for_each": "5"},
        "count": {"process": "upgrade_count@1.0.0", "after": ["effect", "rows"]},
    },
}


class Release:
    """A later version's schema: this one's, and a further migration."""

    def __init__(self, directory: Path, number: int) -> None:
        self.directory = directory
        shutil.copytree(str(files("freshet.storage").joinpath("migrations")), directory / "migrations")
        shutil.copytree(str(files("freshet.storage").joinpath("functions")), directory / "functions")
        for earlier in range(1, number + 1):
            self.add(f"9{earlier:02}_later.sql", "".join(_added_columns(earlier)))
        for file in (directory / "functions").glob("*.sql"):
            file.write_text(f"{file.read_text('utf-8')}\n-- Of release {number}.\n", "utf-8")
        self._widen_overview(number)

    def _widen_overview(self, number: int) -> None:
        """A function answers a column more, for which it has to be dropped and made again."""
        file = self.directory / "functions" / "engine_overview.sql"
        text = file.read_text("utf-8")
        wider = text.replace("published text[]\n)", f"published text[], later_{number} int\n)").replace(
            ") as published\n", f") as published, {number}\n"
        )
        assert wider.count(str(number)) > text.count(str(number)) + 1
        file.write_text(f"drop function if exists engine.overview(smallint[]);\n{wider}", "utf-8")

    def add(self, name: str, text: str) -> None:
        (self.directory / "migrations" / name).write_text(text, "utf-8")


def _added_columns(number: int) -> Iterator[str]:
    for table in TABLES:
        yield f"alter table engine.{table} add column later_{number} text default 'later';\n"


@pytest.fixture
def workers(database: str, redis: str, tmp_path: Path) -> Iterator[Workers]:
    site = Site(database, redis, turned=False)
    site.works = False
    site.sql("create table public.upgrade_effect (run_id text, task text, item text, attempt int)")
    site.apply(LOAD)
    workers = Workers(site, tmp_path, FRESHET_PROCESSES="tests.upgrade.processes")
    yield workers
    workers.close()
    site.close()


@pytest.fixture
def beside() -> Iterator[Callable[..., Future[Any]]]:
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit


def assert_untroubled(workers: Workers, run: uuid.UUID) -> None:
    """The run succeeded as if nothing had been: no failure, no second try, no effect twice, no complaint."""
    found = workers.until_recorded(run)
    assert found["state"] == "succeeded", found
    assert found["tasks"]["count"]["result"] == ITEMS
    assert [task["attempts"] for task in found["tasks"].values()] == [ITEMS, ITEMS, 5, 1]
    assert workers.site.one("select count(distinct item) from upgrade_effect where run_id = %s", str(run)) == ITEMS
    assert workers.site.one("select count(*) from upgrade_effect where run_id = %s", str(run)) == ITEMS
    workers.site.assert_recorded_once(run)
    assert workers.site.sql("select * from engine.parked") == []
    assert '"level": "error"' not in workers.logs()
    assert "Traceback" not in workers.logs()


def test_columns_and_functions_change_under_a_load_and_nothing_fails(
    workers: Workers, tmp_path: Path, beside: Callable[..., Future[Any]]
) -> None:
    workers.start()
    workers.start()
    warm = workers.site.start("load")  # every session has prepared its statements and cached its plans
    assert_untroubled(workers, warm)
    for number in range(1, 4):
        release = Release(tmp_path / f"release-{number}", number)
        run = workers.site.start("load")
        workers.until(lambda: workers.site.one("select exists (select from engine.bundle where claim is not null)"))
        migrated = beside(migrate, workers.site.database_url, source=release.directory)
        workers.until(migrated.done)
        assert migrated.result() == [f"9{number:02}_later.sql"]
        assert_untroubled(workers, run)


def test_a_migration_that_has_to_wait_lets_everybody_else_go_on(
    workers: Workers, tmp_path: Path, beside: Callable[..., Future[Any]]
) -> None:
    workers.start()
    release = Release(tmp_path / "release", 1)
    with psycopg.connect(workers.site.database_url) as reader:
        reader.execute("select count(*) from engine.bundle")  # a report that somebody runs, and leaves open
        migrated = beside(migrate, workers.site.database_url, source=release.directory)
        run = workers.site.start("load")
        assert_untroubled(workers, run)
        assert not migrated.done()
    workers.until(migrated.done)
    assert migrated.result() == ["901_later.sql"]


def test_a_migration_that_waits_in_vain_says_so_and_has_changed_nothing(database: str, tmp_path: Path) -> None:
    release = Release(tmp_path / "release", 2)
    paused = threading.Event()
    with psycopg.connect(database) as reader:
        reader.execute("select count(*) from engine.run")
        with pytest.raises(ConflictError, match="Nothing was changed"):
            migrate(database, source=release.directory, patience=1.0, sleep=lambda _: paused.set())
    assert paused.is_set()
    assert migrate(database, source=release.directory) == ["901_later.sql", "902_later.sql"]


def test_a_file_that_fails_takes_everything_of_its_release_back(database: str, tmp_path: Path) -> None:
    release = Release(tmp_path / "release", 1)
    release.add("902_bad.sql", "alter table engine.run add column colour text; select 1 / 0;")
    (release.directory / "functions" / "new.sql").write_text(
        "create function engine.new() returns int language sql as 'select 1'", "utf-8"
    )
    with pytest.raises(Exception, match="division by zero"):
        migrate(database, source=release.directory)
    with psycopg.connect(database) as session:
        columns = session.execute(
            "select count(*) from information_schema.columns where column_name in ('later_1', 'colour')"
        ).fetchone()
        function = session.execute("select to_regproc('engine.new')").fetchone()
    assert (columns, function) == ((0,), (None,))


def test_migrating_twice_changes_nothing_and_two_at_once_apply_each_file_once(database: str, tmp_path: Path) -> None:
    assert migrate(database) == []
    release = Release(tmp_path / "release", 3)
    with ThreadPoolExecutor(3) as pool:
        applied = list(pool.map(lambda _: migrate(database, source=release.directory), range(3)))
    assert sorted(applied) == [[], [], ["901_later.sql", "902_later.sql", "903_later.sql"]]


def test_a_migration_that_was_changed_after_it_was_applied_is_refused(database: str, tmp_path: Path) -> None:
    release = Release(tmp_path / "release", 1)
    migrate(database, source=release.directory)
    release.add("901_later.sql", "select 1;")
    with pytest.raises(ConflictError, match=r"901_later\.sql was changed"):
        migrate(database, source=release.directory)
