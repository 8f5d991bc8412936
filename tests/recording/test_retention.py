"""Days made ahead, old days dropped, old runs forgotten."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from tests.recording.facts import Outbox, Run

from freshet.recording import Pruned, RetentionPass
from freshet.recording import retention as retention_module
from freshet.storage.database import Database
from freshet.storage.record import Recording
from freshet.storage.retention import Retention

TABLES = ("attempt", "attempt_log", "event", "run", "task", "worker_time")


@pytest.fixture
def retention(store: Database) -> RetentionPass:
    return RetentionPass(Retention(store), days=30)


def day(offset: int) -> datetime:
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    return noon + timedelta(days=offset)


def partitions(outbox: Outbox, table: str) -> list[str]:
    rows = outbox.rows(
        "select inhrelid::regclass::text as name from pg_inherits where inhparent = %s::regclass order by 1",
        f"log.{table}",
    )
    return [row["name"].removeprefix("log.") for row in rows]


def test_the_next_days_are_there_before_they_begin(outbox: Outbox, retention: RetentionPass) -> None:
    retention.once()
    for table in TABLES:
        expected = [f"{table}_{day(k):%Y%m%d}" for k in range(retention_module.AHEAD + 1)]
        assert partitions(outbox, table) == sorted([*expected, f"{table}_default"])


def test_a_second_pass_finds_nothing_to_do(retention: RetentionPass) -> None:
    assert retention.once().made > 0
    assert retention.once() == Pruned()


def test_what_the_default_partition_held_moves_into_its_day(
    outbox: Outbox, recording: Recording, retention: RetentionPass
) -> None:
    late = day(retention_module.AHEAD).isoformat()
    run = Run()
    fact = run.fact("succeeded", at=late, created_at=late, started_at=late)
    recording.record([outbox.commit(run.item("a", "succeeded", at=late), fact)])
    in_default = "select count(*) from log.attempt_default"
    assert outbox.value(in_default) == 1
    retention.once()
    assert outbox.value(in_default) == 0
    assert (
        outbox.value("select tableoid::regclass::text from log.attempt") == f"log.attempt_{late[:10].replace('-', '')}"
    )
    assert outbox.value("select count(*) from log.run") == 1


def test_old_days_are_dropped_and_young_ones_stay(
    outbox: Outbox, store: Database, recording: Recording, retention: RetentionPass
) -> None:
    for offset in (-31, -30):
        Retention(store).make("attempt", day(offset).date())
    recording.record([outbox.commit(Run().item("a", "succeeded", at=day(k).isoformat())) for k in (-31, -30, 0)])
    assert retention.once().dropped == 1
    assert [row["at"] for row in outbox.rows("select at from log.attempt order by at")] == [day(-30), day(0)]


def test_old_rows_of_the_default_partition_go_too(
    outbox: Outbox, recording: Recording, retention: RetentionPass
) -> None:
    recording.record([outbox.commit(Run().item("a", "succeeded", at=day(k).isoformat())) for k in (-400, -31, -2)])
    assert retention.once().rows == 4  # an attempt and an event each
    assert outbox.rows("select at from log.attempt") == [{"at": day(-2)}]


def test_only_one_recorder_is_at_it(store: Database, retention: RetentionPass) -> None:
    with Retention(store).alone() as alone:
        assert alone
        assert retention.once() == Pruned()
    assert retention.once().made > 0


def test_what_somebody_reads_is_left_for_the_next_hour_and_the_rest_is_done(
    store: Database, retention: RetentionPass
) -> None:
    for table in ("attempt", "event"):
        Retention(store).make(table, day(-40).date())
    retention.once()  # the days ahead and the first two old ones
    for table in ("attempt", "event"):
        Retention(store).make(table, day(-40).date())
    reader = store.dedicated()
    reader.execute("begin")
    reader.execute("select count(*) from log.attempt")
    assert retention.once().dropped == 1
    reader.close()
    assert retention.once().dropped == 1


def test_a_long_reader_does_not_stop_the_making_of_days(store: Database, retention: RetentionPass) -> None:
    with store.dedicated() as reader:
        reader.execute("begin")
        reader.execute("select count(*) from log.run")
        assert retention.once().made == (len(TABLES) - 1) * (retention_module.AHEAD - 1)
    assert retention.once().made == retention_module.AHEAD - 1


def insert_run(outbox: Outbox, *, finished: int | None, group: UUID | None = None) -> UUID:
    """A run that ended `finished` days from today with a map of three, their results and yielded rows."""
    run = uuid4()
    end = None if finished is None else day(finished)
    state = "running" if finished is None else "succeeded"
    outbox.rows(
        "insert into engine.run (id, workflow, version, state, trigger, group_id, finished_at)"
        " values (%s, 'w', 1, %s, 'call', %s, %s) returning id",
        run,
        state,
        group or run,
        end,
    )
    task = outbox.value(
        "insert into engine.task_run (run_id, task, kind, total, mark) values (%s, 'a', 'process', 3, 3) returning id",
        run,
    )
    outbox.rows(
        "insert into engine.work_item (id, state)"
        " select (%s::bigint << 24) + k, 'queued' from generate_series(0, 2) k returning id",
        task,
    )
    outbox.rows(
        "insert into engine.value (source, idx, value)"
        " values (-%s::bigint, 0, '1'), (%s::bigint << 24, 0, '2') returning idx",
        task,
        task,
    )
    return run


def rows_left(outbox: Outbox) -> list[int]:
    tables = ("run", "task_run", "work_item", "value")
    return [outbox.value(f"select count(*) from engine.{table}") for table in tables]


def test_a_run_that_ended_long_ago_is_forgotten_with_all_its_rows(outbox: Outbox, retention: RetentionPass) -> None:
    insert_run(outbox, finished=-31)
    pruned = retention.once()
    assert (pruned.runs, pruned.rows) == (1, 1 + 1 + 3 + 2)
    assert rows_left(outbox) == [0, 0, 0, 0]


def test_young_and_running_runs_stay(outbox: Outbox, retention: RetentionPass) -> None:
    insert_run(outbox, finished=-29)
    insert_run(outbox, finished=None)
    assert retention.once().runs == 0
    assert rows_left(outbox) == [2, 2, 6, 4]


@pytest.mark.parametrize("finished", [None, -1])
def test_a_run_stays_as_long_as_a_rerun_of_it_does(
    outbox: Outbox, retention: RetentionPass, finished: int | None
) -> None:
    first = insert_run(outbox, finished=-100)
    insert_run(outbox, finished=finished, group=first)
    assert retention.once().runs == 0


def test_many_old_runs_go_a_few_in_each_pass(
    outbox: Outbox, retention: RetentionPass, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention_module, "RUNS", 2)
    for _ in range(3):
        insert_run(outbox, finished=-31)
    passes = [retention.once() for _ in range(2)]
    assert [(each.runs, each.more) for each in passes] == [(2, True), (1, False)]


def test_a_wide_run_goes_in_bounded_steps(
    outbox: Outbox, retention: RetentionPass, store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    whole = Retention.prune_run

    def counted(self: Retention, run: UUID, *, limit: int) -> int:
        steps.append(whole(self, run, limit=limit))
        return steps[-1]

    monkeypatch.setattr(Retention, "prune_run", counted)
    monkeypatch.setattr(retention_module, "CHUNK", 2)
    insert_run(outbox, finished=-31)
    assert retention.once().rows == 7
    assert max(steps) == 2
