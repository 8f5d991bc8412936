"""Each fact is recorded once, and one bad row stops nothing."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.recording.facts import FACT, Outbox, Run

from freshet.storage.database import Database
from freshet.storage.record import Recorded, Recording


def attempts(outbox: Outbox) -> int:
    return int(outbox.value("select count(*) from log.attempt"))


def test_a_replay_records_nothing_more(outbox: Outbox, recording: Recording) -> None:
    entry = outbox.commit(Run().item("a", "succeeded"))
    assert recording.record([entry]).entries == 1
    assert recording.record([entry]) == Recorded()
    assert attempts(outbox) == 1
    assert outbox.waiting() == 0


def test_two_recorders_at_once_record_each_fact_once(outbox: Outbox, store: Database) -> None:
    run = Run()
    entries = [outbox.commit(run.fact("running"), run.item(f"t{k}", "succeeded")) for k in range(200)]
    together = threading.Barrier(2)

    def record(order: int) -> int:
        recording = Recording(store)
        together.wait(10)
        batches = [entries[k : k + 20] for k in range(0, 200, 20)][::order]
        return sum(recording.record(batch).entries for batch in batches)

    with ThreadPoolExecutor(2) as pool:
        counts = list(pool.map(record, (1, -1)))
    assert sum(counts) == 200
    assert attempts(outbox) == 200


def test_a_recorder_that_dies_before_its_commit_has_recorded_nothing(outbox: Outbox, store: Database) -> None:
    from freshet.storage.statements import statement

    entry = outbox.commit(Run().item("a", "succeeded"))
    session = store.dedicated()
    session.execute("begin")
    session.execute(statement("OutboxRecord"), {"ids": [entry], "bounds": [1.0], "mirrored": [-1.0], "spans": False})
    session.close()  # the connection breaks; nothing was committed
    assert attempts(outbox) == 0
    assert Recording(store).record([entry]).entries == 1
    assert attempts(outbox) == 1


def bad(**change: object) -> FACT:
    return Run().item("a", "succeeded") | change


@pytest.mark.parametrize(
    "culprit",
    [
        bad(at="yesterday-ish"),
        bad(at="294277-01-01T00:00:00Z"),
        bad(task="t" * 1025),
        bad(task=None),
        bad(run_id="not-a-uuid"),
        bad(items={"0": 1}),
        bad(items=[["x", 1, None, None]]),
        bad(items=[[0, 1, 1e308, None], [99999999999, 1, None, None]]),
        bad(claimed_at="zzz"),
        {"type": "freshet.run.melted.v1", "at": "2026-11-22T10:00:00Z", "workflow": "w"},
        {},
    ],
    ids=[
        "word",
        "year-294277",
        "long-task",
        "no-task",
        "run-id",
        "items",
        "index",
        "large-index",
        "claimed-at",
        "state",
        "empty",
    ],
)
def test_one_bad_row_is_parked_and_all_else_is_recorded(outbox: Outbox, recording: Recording, culprit: FACT) -> None:
    run = Run()
    entries = [outbox.commit(run.item(f"t{k}", "succeeded")) for k in range(5)]
    entries.insert(3, outbox.commit(run.item("with it", "succeeded"), culprit, run=run.id))
    recorded = recording.record(entries)
    assert (recorded.entries, recorded.parked) == (5, 1)
    assert attempts(outbox) == 5
    assert outbox.waiting() == 0
    (parked,) = outbox.rows("select what, run_id, body, error from engine.parked")
    assert (parked["what"], parked["run_id"]) == ("outbox", run.id)
    assert parked["body"][1] == culprit
    assert parked["error"]


def test_several_bad_rows_are_each_parked_alone(outbox: Outbox, recording: Recording) -> None:
    entries = [outbox.commit(bad(at="never") if k % 3 == 0 else Run().item("a", "succeeded")) for k in range(16)]
    recorded = recording.record(entries)
    assert (recorded.entries, recorded.parked) == (10, 6)
    assert outbox.waiting() == 0
