"""Asking for runs, said of Postgres and of its twin."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from tests.twins.backing import Backing
from tests.twins.setting import fold, new_run, put, run_change

from freshet.domain.errors import ConflictError, NotFoundError
from freshet.domain.model import Trigger
from freshet.storage.database import DataError
from freshet.storage.requests import NewRun


def test_one_origin_makes_one_run(backing: Backing) -> None:
    first = new_run(backing, origin="call:w:k", params={"n": 1})
    again = new_run(backing, origin="call:w:k", params={"n": 1})
    assert (first.created, again.created) == (True, False)
    assert (first.run_id, first.partition) == (again.run_id, again.partition)
    with pytest.raises(ConflictError):
        new_run(backing, origin="call:w:k", params={"n": 2})
    assert len(backing.tables().runs) == 1
    assert len(fold(backing).requests) == 1


def test_runs_made_together_are_answered_in_their_order(backing: Backing) -> None:
    def run(origin: str | None, **more: object) -> NewRun:
        return NewRun(workflow="w", version=1, trigger=Trigger.CALL, origin=origin, **more)  # type: ignore[arg-type]

    known = new_run(backing, origin="b").run_id
    runs = [run("a"), run("b"), run(None), run("a")]
    asked = backing.requests.create_runs(runs)
    assert [each.created for each in asked] == [True, False, True, False]
    assert [each.run_id for each in asked] == [runs[0].id, known, runs[2].id, runs[0].id]


def test_a_held_run_asks_for_nothing_until_it_is_released(backing: Backing) -> None:
    going = new_run(backing).run_id
    held = [new_run(backing, held=True).run_id for _ in range(2)]
    other = new_run(backing, held=True, workflow="v").run_id
    assert [run for run, _ in fold(backing).requests] == [str(going)]
    assert {asked.run_id for asked in backing.requests.release_held()} == {other}
    put(backing, runs=[run_change(going, state="cancelled", cancel=True)])
    asked = backing.requests.release_held()
    assert asked == []  # the end of the one that went on has released it already
    assert [backing.tables().runs[str(run)].held for run in held] == [False, True]


def test_a_backfill_one_by_one_holds_all_but_the_first(backing: Backing) -> None:
    ticks = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3)]
    runs = [NewRun(workflow="w", version=1, trigger=Trigger.BACKFILL, scheduled_for=tick) for tick in ticks]
    backing.requests.backfill(runs, one_by_one=True)
    rows = [backing.tables().runs[str(run.id)] for run in runs]
    assert [row.held for row in rows] == [False, True, True]
    assert [row.scheduled_for for row in rows] == ticks
    more = [NewRun(workflow="w", version=1, trigger=Trigger.BACKFILL) for _ in range(2)]
    backing.requests.backfill(more, one_by_one=True)
    assert [backing.tables().runs[str(run.id)].held for run in more] == [True, True]


def test_a_cancel_is_asked_for_once(backing: Backing) -> None:
    asked = new_run(backing)
    for _ in range(2):
        assert backing.requests.cancel(asked.run_id) == asked.partition
    assert fold(backing).requests == [(str(asked.run_id), "start"), (str(asked.run_id), "cancel")]
    put(backing, runs=[run_change(asked.run_id, cancel=True)])
    backing.requests.cancel(asked.run_id)
    assert not backing.tables().requests
    put(backing, runs=[run_change(asked.run_id, state="cancelled")])
    assert backing.requests.cancel(asked.run_id) is None
    with pytest.raises(NotFoundError):
        backing.requests.cancel(uuid4())


def test_an_ended_run_is_not_cancelled_and_a_running_one_not_run_again(backing: Backing) -> None:
    run = new_run(backing, params={"n": [1]}, priority=7).run_id
    with pytest.raises(ConflictError, match="pending"):
        backing.requests.run_for_rerun(run)
    put(backing, runs=[run_change(run, state="succeeded")])
    with pytest.raises(ConflictError, match="succeeded"):
        backing.requests.cancel(run)
    row = backing.requests.run_for_rerun(run)
    assert (row["id"], row["group_id"], row["params"], row["priority"]) == (run, run, {"n": [1]}, 7)
    with pytest.raises(NotFoundError):
        backing.requests.run_for_rerun(UUID(int=5))


def test_what_jsonb_cannot_keep_is_refused_whole(backing: Backing) -> None:
    with pytest.raises(DataError):
        new_run(backing, params={"n": "a\0b"})
    assert not backing.tables().runs
    new_run(backing, params={"n": "a\\u0000b"})


def test_a_run_made_twice_under_one_id_is_refused(backing: Backing) -> None:
    run = new_run(backing).run_id
    with pytest.raises(DataError):
        new_run(backing, id=run)
    assert len(fold(backing).requests) == 1
