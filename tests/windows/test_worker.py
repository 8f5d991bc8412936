"""A worker, or its child, that is killed between two steps: another goes on, and every effect is there once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.windows.crash import window
from tests.windows.site import Site
from tests.windows.workers import Workers
from tests.worker.rows import Rows

from freshet.bus import Message

pytestmark = [pytest.mark.xdist_group("windows"), pytest.mark.timeout(600)]

EFFECT, SHARED = {"process": "window_effect@1.0.0"}, {"process": "window_share@1.0.0"}
#: The plain items report together, each that writes commits by itself, and the count sees what came before it.
WORK = {
    "name": "work",
    "tasks": {
        "plain": {"process": "window_plain@1.0.0", "for_each": "4"},
        "effect": {**EFFECT, "after": ["plain"], "for_each": "tasks.plain.result"},
        "count": {"process": "window_count@1.0.0", "after": ["effect"]},
    },
}


@pytest.fixture
def workers(database: str, redis: str, tmp_path: Path) -> Iterator[Workers]:
    site = Site(database, redis, turned=False)
    site.works = False
    site.sql("create table public.window_effect (run_id text, item text, attempt int)")
    site.apply(WORK)
    workers = Workers(site, tmp_path)
    yield workers
    workers.close()
    site.close()


def assert_whole(workers: Workers, run: object, *, repeated: int, attempts: int = 9) -> None:
    """`repeated`: at most so many tries were begun twice; `attempts`: of the three tasks together."""
    site = workers.site
    found = workers.until_recorded(run)  # type: ignore[arg-type]
    assert found["state"] == "succeeded", found
    assert [task["items"]["succeeded"] for task in found["tasks"].values()] == [4, 4, 1]
    assert found["tasks"]["count"]["result"] == 4
    assert sum(task["attempts"] for task in found["tasks"].values()) == attempts
    written = site.sql("select item::int from public.window_effect where run_id = %s order by 1", str(run))
    assert [row["item"] for row in written] == [0, 1, 2, 3]
    tries = workers.tries()
    assert len(tries) == attempts, tries
    assert sum(tries.values()) - len(tries) <= repeated, tries
    workers.until(lambda: not site.sql("select id from engine.outbox where run_id is not null"))
    assert site.sql("select id from engine.bundle union all select id from engine.report") == []
    site.assert_recorded_once(run)  # type: ignore[arg-type]


@window("worker.popped", "worker.claimed", "worker.heard", "worker.reported")
@pytest.mark.parametrize(
    ("point", "repeated"),
    [("worker.popped", 0), ("worker.claimed", 0), ("worker.heard", 4), ("worker.reported", 0)],
)
def test_what_a_killed_worker_had_not_reported_is_done_by_another(workers: Workers, point: str, repeated: int) -> None:
    run = workers.site.start("work")
    workers.until_killed(workers.start("tests.windows.service", point))
    workers.start()
    assert_whole(workers, run, repeated=repeated)


@window("eager.decided", "eager.committed")
@pytest.mark.parametrize(("point", "repeated"), [("eager.decided", 1), ("eager.committed", 0)])
def test_a_worker_killed_while_it_goes_on_leaves_the_next_task_to_another(
    workers: Workers, point: str, repeated: int
) -> None:
    first = {"process": "window_plain@1.0.0", "input": "7"}
    tasks = {"first": first, "second": {**first, "after": ["first"]}, "third": {**EFFECT, "after": ["second"]}}
    workers.site.apply({"name": "chain", "tasks": tasks})
    run = workers.site.start("chain")
    workers.until_killed(workers.start("tests.windows.service", point))
    workers.start()
    found = workers.until_recorded(run)
    assert (found["state"], found["tasks"]["third"]["result"]) == ("succeeded", 7)
    tries = workers.tries()
    assert (len(tries), sum(tries.values())) == (3, 3 + repeated), tries
    written = workers.site.sql("select attempt from public.window_effect where run_id = %s", str(run))
    assert [row["attempt"] for row in written] == [1]
    workers.until(lambda: not workers.site.sql("select id from engine.outbox where run_id is not null"))
    assert workers.site.sql("select id from engine.bundle union all select id from engine.report") == []
    workers.site.assert_recorded_once(run)


@window("item.ran", "item.committed")
@pytest.mark.parametrize(("point", "repeated"), [("item.ran", 1), ("item.committed", 0)])
def test_a_worker_killed_around_an_items_commit_leaves_the_effect_once(
    workers: Workers, point: str, repeated: int
) -> None:
    run = workers.site.start("work")
    mark = workers.directory / "mark"
    armed = {"WINDOW_POINT": point, "WINDOW_VICTIM": "worker", "WINDOW_MARK": str(mark)}
    workers.until_killed(workers.start(**armed))
    workers.start()
    assert_whole(workers, run, repeated=repeated)
    assert mark.exists()


@window("item.ran")
def test_a_child_killed_before_an_items_commit_fails_the_item_and_leaves_nothing_of_it(workers: Workers) -> None:
    effect = {**WORK["tasks"]["effect"], "retries": {"limit": 1, "delay": "PT0S"}}  # type: ignore[index]
    workers.site.apply({**WORK, "tasks": {**WORK["tasks"], "effect": effect}})  # type: ignore[dict-item]
    run = workers.site.start("work")
    mark = str(workers.directory / "mark")
    workers.start(WINDOW_POINT="item.ran", WINDOW_VICTIM="child", WINDOW_MARK=mark)
    assert_whole(workers, run, repeated=0, attempts=10)  # the dead child's try counts, and another succeeded


@window("item.committed")
def test_a_child_killed_after_an_items_commit_has_done_it_once_and_its_worker_finds_out(workers: Workers) -> None:
    run = workers.site.start("work")
    mark = workers.directory / "mark"
    workers.start(WINDOW_POINT="item.committed", WINDOW_VICTIM="child", WINDOW_MARK=str(mark))
    assert_whole(workers, run, repeated=0)
    assert mark.exists()


@window("item.committed")
def test_a_child_killed_after_a_commit_in_the_middle_of_a_bundle_costs_none_of_its_items(workers: Workers) -> None:
    workers.leave_the_rest_to_processes()
    rows = Rows(workers.site.database_url)
    run = rows.run(rows.workflow({"name": "one", "tasks": {"effect": {**EFFECT, "for_each": "5"}}}))
    bundle = rows.bundle(rows.task(run, "effect", values=list(range(5))), range(5), queue="window_effect@1.0.0")
    workers.site.bus.publish([Message(queue="window_effect@1.0.0", bundle_id=bundle)])
    mark = workers.directory / "mark"
    workers.start(WINDOW_POINT="item.committed", WINDOW_REACH="3", WINDOW_VICTIM="child", WINDOW_MARK=str(mark))
    workers.until(lambda: not rows.exists(bundle))
    assert [outcome["s"] for outcome in rows.reports(bundle)] == ["succeeded"] * 5
    assert [row["item"] for row in rows.sql("select item from window_effect order by 1")] == list("01234")
    assert set(workers.tries().values()) == {1}
    assert mark.exists()
    rows.close()


@window("shared.ran", "shared.committed")
@pytest.mark.parametrize(("point", "tries"), [("shared.ran", 2), ("shared.committed", 1)])
def test_a_child_killed_around_a_shared_commit_leaves_each_effect_once(
    workers: Workers, point: str, tries: int
) -> None:
    workers.leave_the_rest_to_processes()
    rows = Rows(workers.site.database_url)
    run = rows.run(rows.workflow({"name": "one", "tasks": {"effect": {**SHARED, "for_each": "5"}}}))
    bundle = rows.bundle(rows.task(run, "effect", values=list(range(5))), range(5), queue="window_share@1.0.0")
    workers.site.bus.publish([Message(queue="window_share@1.0.0", bundle_id=bundle)])
    mark = workers.directory / "mark"
    workers.start(WINDOW_POINT=point, WINDOW_VICTIM="child", WINDOW_MARK=str(mark))
    workers.until(lambda: not rows.exists(bundle))
    assert [outcome["s"] for outcome in rows.reports(bundle)] == ["succeeded"] * 5
    assert [row["item"] for row in rows.sql("select item from window_effect order by 1")] == list("01234")
    assert set(workers.tries().values()) == {tries}
    assert mark.exists()
    rows.close()


@window("shared.ran", "shared.committed")
@pytest.mark.parametrize(("point", "repeated"), [("shared.ran", 4), ("shared.committed", 0)])
def test_a_worker_killed_around_a_shared_commit_leaves_each_effect_once(
    workers: Workers, point: str, repeated: int
) -> None:
    workers.site.apply({**WORK, "tasks": {**WORK["tasks"], "effect": {**WORK["tasks"]["effect"], **SHARED}}})  # type: ignore[dict-item]
    run = workers.site.start("work")
    mark = workers.directory / "mark"
    workers.until_killed(workers.start(WINDOW_POINT=point, WINDOW_VICTIM="worker", WINDOW_MARK=str(mark)))
    workers.start()
    assert_whole(workers, run, repeated=repeated)
    assert mark.exists()
