"""The hot statements cost what they touch: measured in buffers, on tables that were never analysed."""

from __future__ import annotations

from typing import Any

import pytest
from tests.engine.harness import PARTITIONS, Engine


def buffers(engine: Engine, text: str, *values: Any) -> int:
    """Buffers that a statement touches, with everything that it calls; its effects are rolled back."""
    with engine.database.session() as session, session.transaction(force_rollback=True):
        session.execute("set local jit = off")
        # Twice: the first call of a session also reads the catalogue.
        for _ in range(2):
            with session.transaction(force_rollback=True):
                (row,) = session.execute(f"explain (analyze, buffers, format json) {text}", values).fetchall()  # type: ignore[arg-type]
        plan = row["QUERY PLAN"][0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def wide_map(engine: Engine, width: int) -> None:
    """A map of `width` items that all have rows, of which one bundle of ten is reported."""
    for table in ("work_item", "task_run", "bundle", "report"):
        engine.sql(f"alter table engine.{table} set (autovacuum_enabled = off)")
    engine.apply({"name": f"w{width}", "tasks": {"a": {"process": "p@1.0.0", "for_each": str(width)}}})
    run = engine.start(f"w{width}")
    engine.fold()
    engine.sql("delete from engine.bundle")
    engine.sql("delete from engine.work_item")
    task = engine.one("select id from engine.task_run where run_id = %s", run)
    engine.sql("update engine.task_run set mark = total where id = %s", task)
    engine.sql(
        "insert into engine.work_item (id) select %s::bigint << 24 | i from generate_series(0, %s) i", task, width - 1
    )
    engine.sql(
        "insert into engine.report (partition, run_id, task_run_id, bundle_id, body)"
        " select r.partition, r.id, %s, 1, (select jsonb_agg(jsonb_build_object('i', %s::bigint << 24 | i, 'a', 1,"
        " 's', 'succeeded', 'r', i, 'd', 0.1)) from generate_series(500, 509) i) from engine.run r where r.id = %s",
        task,
        task,
        run,
    )


@pytest.mark.parametrize("analysed", [False, True])
def test_taking_a_report_costs_the_same_in_a_wide_map(engine: Engine, analysed: bool) -> None:
    wide_map(engine, 1_000)
    if analysed:
        # Statistics that are wrong from here on: they know a small map only.
        engine.sql("analyze engine.work_item, engine.task_run, engine.bundle, engine.report")
    take = "select engine.take(%s::smallint[], 100)"
    small = buffers(engine, take, list(PARTITIONS))
    engine.sql("delete from engine.report")
    wide_map(engine, 100_000)
    assert buffers(engine, take, list(PARTITIONS)) <= small * 1.5 + 50


def test_publishing_the_backlog_costs_what_it_publishes(engine: Engine) -> None:
    engine.apply({"name": "w", "tasks": {"a": {"process": "p@1.0.0"}}})
    run = engine.start("w")
    engine.fold()

    def bundles(count: int) -> None:
        engine.sql(
            "insert into engine.bundle (run_id, partition, task_run_id, queue, priority, turn, items, attempts)"
            " select %s, 0, 1, 'q', 100, i, array[i], array[1] from generate_series(1, %s) i",
            run,
            count,
        )

    statement = (
        "select id from engine.bundle where queue = 'q' and published_at is null and due_at is null"
        " and claim is null and submitted_at is null order by priority, turn, id limit 20 for update skip locked"
    )
    bundles(1_000)
    small = buffers(engine, statement)
    bundles(100_000)
    assert buffers(engine, statement) <= small * 1.5 + 50


def test_a_refill_under_limits_passes_over_what_waits_for_a_place_at_ten_a_buffer(engine: Engine) -> None:
    engine.apply({"name": "w", "tasks": {"a": {"process": "p@1.0.0"}}})
    run = engine.start("w")
    engine.fold()

    def bundles(count: int, published: str = "null") -> None:
        engine.sql(
            "insert into engine.bundle (run_id, partition, task_run_id, queue, priority, turn, items, attempts,"
            f" limit_key, published_at) select %s, 0, 1, 'q', 100, i, array[i], array[1], 'XS', {published}"
            " from generate_series(1, %s) i",
            run,
            count,
        )

    bundles(3, "now()")
    statement = "select * from engine.publish_limited('q', 20, '{XS,S}', '{4,2}')"
    bundles(1_000)
    small = buffers(engine, statement)
    bundles(50_000)
    engine.sql("update engine.bundle set published_at = null where published_at is not null and turn <= 1")
    assert buffers(engine, statement) <= small + 50_000 / 10


def test_an_overview_does_not_read_the_backlog(engine: Engine) -> None:
    from freshet.storage.statements import statement

    engine.apply({"name": "w", "tasks": {"a": {"process": "p@1.0.0"}}})
    run = engine.start("w")
    engine.fold()
    engine.sql(
        "insert into engine.bundle (run_id, partition, task_run_id, queue, priority, turn, items, attempts)"
        " select %s, 0, 1, 'q' || i %% 3, 100, i, array[i], array[1] from generate_series(1, 100000) i",
        run,
    )
    text = statement("Overview").replace("%(partitions)s", "'{0,1,2,3}'")
    assert buffers(engine, text) < 300
