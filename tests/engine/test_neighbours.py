"""A small run beside a wide map."""

import pytest
from tests.engine.harness import PARTITIONS, Engine, process

from freshet.domain.sizing import BUNDLE_CAP, SHARED_CAP
from freshet.runtime import fault

QUEUE = "p@1.0.0"
SHORT = 0.00001  # seconds of an item, so that a bundle is as large as may be


@pytest.fixture
def crowded(engine: Engine) -> Engine:
    """A wide map has filled the queue with large bundles."""
    engine.apply({"name": "wide", "tasks": {"map": process(for_each="100000")}})
    engine.apply({"name": "small", "tasks": {"first": process(), "then": process(after=["first"])}})
    engine.start("wide")
    engine.fold()
    engine.work(seconds=SHORT)
    engine.flush_queues()
    engine.refill._pace.forget_lengths()
    engine.fold()
    assert max(sizes(engine)) == BUNDLE_CAP
    return engine


def sizes(engine: Engine) -> list[int]:
    return [row["n"] for row in engine.sql("select cardinality(items) as n from engine.bundle order by id")]


def small_bundle(engine: Engine) -> int:
    found = engine.one(
        "select max(b.id) from engine.bundle b join engine.run r on r.id = b.run_id where r.workflow = 'small'"
    )
    return int(found)


def test_the_bundle_of_a_run_with_fewer_turns_goes_ahead_in_the_queue(crowded: Engine) -> None:
    crowded.start("small")
    crowded.fold()
    waiting = crowded.bus._queue(QUEUE).get_job_ids()
    assert len(waiting) > 2
    assert waiting[0] == f"bundle-{small_bundle(crowded)}"


def test_a_small_runs_report_is_decided_before_a_wide_maps(crowded: Engine) -> None:
    crowded.start("small")
    crowded.fold()
    wide = crowded.published()[0]
    crowded.work(bundles=[wide, small_bundle(crowded)])
    left: list[list[str]] = []

    def look(point: str) -> None:
        if point == "fold.committed":
            rows = crowded.sql(
                "select r.workflow from engine.report p join engine.run r on r.id = p.run_id order by p.id"
            )
            left.append([row["workflow"] for row in rows])

    with fault.armed(look):
        crowded.folder.fold(PARTITIONS)
    assert left == [["wide"], []]


def test_a_wide_map_opens_small_bundles_while_a_small_run_is_under_way(crowded: Engine) -> None:
    before = crowded.one("select max(id) from engine.bundle")
    crowded.start("small")
    crowded.fold()
    wide = [key for key in crowded.published() if key != small_bundle(crowded)]
    while wide:
        crowded.work(bundles=wide, seconds=SHORT)
        crowded.flush_queues()
        crowded.refill._pace.forget_lengths()
        crowded.fold()
        crowded.refill.refill([QUEUE])
        wide = [key for key in crowded.published() if key <= before]
    opened = crowded.sql("select cardinality(items) as n from engine.bundle where id > %s", before)
    assert max(row["n"] for row in opened) == SHARED_CAP
