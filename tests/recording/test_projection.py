"""Facts become rows of the log."""

from datetime import UTC, datetime
from uuid import uuid4

from tests.recording.facts import END, START, Outbox, Run, failure, worker

from freshet.events.envelope import event_id
from freshet.storage.record import Recording


def test_an_attempt_that_ended_is_one_row(outbox: Outbox, recording: Recording) -> None:
    run = Run()
    recording.record([outbox.commit(run.item("train", "failed", attempt=3, error=failure("it broke")))])
    (row,) = outbox.rows("select * from log.attempt")
    assert row["run_id"] == run.id
    assert (row["task"], row["item"], row["attempt"], row["state"], row["final"]) == ("train", "", 3, "failed", True)
    assert (row["error_class"], row["error"]) == ("user", "it broke")
    assert (row["worker"], row["duration_s"]) == ("w1", 1.5)
    assert row["started_at"] == datetime.fromisoformat(START)
    assert row["finished_at"] == datetime.fromisoformat(END)


def test_a_retried_attempt_is_a_failed_row_that_is_not_final(outbox: Outbox, recording: Recording) -> None:
    recording.record([outbox.commit(Run().item("train", "retrying", error=failure("again")))])
    assert outbox.rows("select state, final from log.attempt") == [{"state": "failed", "final": False}]


def test_an_entry_with_many_items_makes_a_row_for_each(outbox: Outbox, recording: Recording) -> None:
    fact = Run().items("classify", "succeeded", [[k, 1, 0.01, None] for k in range(100)], mapped=True)
    recorded = recording.record([outbox.commit(fact)])
    assert (recorded.entries, recorded.facts, recorded.items) == (1, 1, 100)
    items = {row["item"] for row in outbox.rows("select item from log.attempt")}
    assert items == {str(k) for k in range(100)}
    assert outbox.value("select count(*) from log.event") == 1


def test_an_item_is_named_by_its_index_path(outbox: Outbox, recording: Recording) -> None:
    run = Run()
    recording.record(
        [
            outbox.commit(
                run.items("documents.part", "succeeded", [[17, 1, 0.1, None]], mapped=True, index_path="3"),
                run.items("documents.split", "succeeded", [[0, 1, 0.1, None]], index_path="3"),
            )
        ]
    )
    rows = outbox.rows("select task, item from log.attempt order by task")
    assert rows == [{"task": "documents.part", "item": "3.17"}, {"task": "documents.split", "item": "3"}]


def test_an_item_cancelled_before_its_attempt_began_leaves_no_attempt(outbox: Outbox, recording: Recording) -> None:
    run = Run()
    never = run.items("a", "cancelled", [[0, 1, None, None]], claim=4711, claimed_at=None, worker=None)
    running = run.items("b", "cancelled", [[0, 1, None, None]])
    recording.record([outbox.commit(never, running)])
    assert outbox.rows("select task, state, duration_s from log.attempt") == [
        {"task": "b", "state": "cancelled", "duration_s": None}
    ]


def test_a_claim_or_a_hand_back_is_an_event_and_no_attempt(outbox: Outbox, recording: Recording) -> None:
    run = Run()
    recording.record([outbox.commit(run.item("a", "running", seconds=None), run.item("a", "queued", error="drained"))])
    assert outbox.value("select count(*) from log.attempt") == 0
    assert outbox.value("select count(*) from log.event") == 2


def test_a_claim_may_be_told_by_its_bundle(outbox: Outbox, recording: Recording) -> None:
    recording.record([outbox.commit(Run().item("a", "succeeded", claim=4711))])
    assert outbox.value("select claim from log.attempt") == "4711"


def test_the_id_in_the_log_is_the_id_in_the_live_feed(outbox: Outbox, recording: Recording) -> None:
    run = Run()
    facts = [
        run.fact("running"),
        run.task("a", "skipped"),
        run.items("b", "succeeded", [[3, 1, 0.1, None], [4, 1, 0.1, None]], index_path="7", claim=4711),
        run.item("c", "waiting"),
        worker("w1", "busy", busy_s=1, idle_s=1),
    ]
    recording.record([outbox.commit(*facts)])
    rows = outbox.rows("select id from log.event order by position")
    assert [row["id"] for row in rows] == [event_id(fact) for fact in facts]


def test_a_watched_jobs_attempt_begins_its_duration_before_its_end(outbox: Outbox, recording: Recording) -> None:
    recording.record([outbox.commit(Run().item("train", "succeeded", seconds=5.0, claimed_at=None))])
    (row,) = outbox.rows("select finished_at - started_at as took from log.attempt")
    assert row["took"].total_seconds() == 5.0


def test_the_queue_wait_is_from_queued_to_claimed(outbox: Outbox, recording: Recording) -> None:
    fact = Run().item("a", "succeeded", queued_at="2026-11-22T09:59:58.400000+00:00")
    recording.record([outbox.commit(fact)])
    assert outbox.value("select queue_wait_s from log.attempt") == 2.0


def test_a_run_is_one_row_from_its_start_to_its_end(outbox: Outbox, recording: Recording) -> None:
    run = Run()
    recording.record([outbox.commit(run.fact("running"))])
    assert outbox.rows("select state, finished_at from log.run") == [{"state": "running", "finished_at": None}]
    recording.record([outbox.commit(run.fact("failed", at=END, error=failure("task train failed")))])
    (row,) = outbox.rows("select state, finished_at, error_class, error from log.run")
    assert row["finished_at"] == datetime.fromisoformat(END)
    assert (row["state"], row["error_class"], row["error"]) == ("failed", "user", "task train failed")


def test_a_late_fact_changes_nothing_about_an_ended_run(outbox: Outbox, recording: Recording) -> None:
    run = Run()
    for state in ("succeeded", "running", "pending", "failed"):
        recording.record([outbox.commit(run.fact(state, at=END))])
    assert outbox.rows("select state from log.run") == [{"state": "succeeded"}]


def test_all_of_a_runs_facts_in_one_batch_make_its_last_state(outbox: Outbox, recording: Recording) -> None:
    run = Run()
    recording.record([outbox.commit(run.fact(state, at=END)) for state in ("cancelled", "pending", "running")])
    assert outbox.rows("select state from log.run") == [{"state": "cancelled"}]


def test_what_a_worker_says_about_its_time_is_kept_as_totals(outbox: Outbox, recording: Recording) -> None:
    recording.record(
        [outbox.commit(worker("w1", "busy", busy_s=3.0, idle_s=1.0), worker("w1", "offline", busy_s=4.0, idle_s=2.0))]
    )
    rows = outbox.rows("select state, busy_s, idle_s, wall_s from log.worker_time order by busy_s")
    assert [tuple(row.values()) for row in rows] == [("busy", 3.0, 1.0, 4.0), ("offline", 4.0, 2.0, 6.0)]


def test_an_events_id_is_its_natural_key(outbox: Outbox, recording: Recording) -> None:
    run, claim = Run(), uuid4()
    for _ in range(2):  # a replay that got past every fence would make the same ids
        recording.record(
            [
                outbox.commit(
                    run.fact("running"),
                    run.task("train", "failed"),
                    run.items("part", "succeeded", [[17, 2, 0.1, None]], index_path="3", claim=str(claim)),
                )
            ]
        )
    assert {row["id"] for row in outbox.rows("select id from log.event")} == {
        f"{run.id}/running",
        f"{run.id}/train//failed",
        f"{run.id}/part/3/17/2/{claim}/succeeded",
    }


def test_a_fact_of_any_day_finds_a_partition(outbox: Outbox, recording: Recording) -> None:
    run = Run()
    today = datetime.now(UTC).isoformat()
    recording.record([outbox.commit(run.item("a", "succeeded", at=at)) for at in ("1999-12-31T23:59:59Z", today)])
    partitions = {row["name"] for row in outbox.rows("select tableoid::regclass::text as name from log.attempt")}
    assert len(partitions) == 2
    assert "log.attempt_default" in partitions
