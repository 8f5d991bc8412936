"""What the ticker relies on of its store, said of the real one and of its twin."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

import orjson
import pytest
from tests.twins.shops import HOUR, RealShop, Shop, TwinShop, apply, ticker

from freshet.domain.model import Trigger
from freshet.scheduling import Ticked
from freshet.storage.database import Database, DataError
from freshet.storage.requests import NewRun, traceparent_of
from freshet.storage.schedules import DueSchedules

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


@pytest.fixture(params=["twin", "real"])
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    if request.param == "twin":
        yield TwinShop(NOW)
        return
    database = Database(request.getfixturevalue("database"), name="test", sessions=4)
    yield RealShop(database)
    database.close()


def states(shop: Shop) -> list[tuple[str, bool]]:
    return [(run["state"], run["held"]) for run in shop.runs()]


def test_nothing_is_due_where_nothing_is_scheduled(shop: Shop) -> None:
    assert shop.schedules.outlook().next_fire_at is None
    assert ticker(shop).tick() == Ticked()


def test_the_outlook_names_the_first_tick_that_is_not_paused(shop: Shop) -> None:
    first, second = apply(shop, "a"), apply(shop, "b")
    shop.set_tick("b", second + HOUR)
    assert shop.schedules.outlook().next_fire_at == first
    assert shop.schedules.outlook(NOW).now == NOW
    shop.pause("a")
    assert shop.schedules.outlook().next_fire_at == second + HOUR


def test_a_due_tick_makes_a_run_its_request_and_the_next_tick(shop: Shop) -> None:
    first = apply(shop)
    run_id = UUID("019aaaaa-0000-7000-8000-00000000000c")
    ticked = ticker(shop, new_id=lambda: run_id).tick(first)
    (asked,) = ticked.runs
    assert (asked.run_id, asked.partition, asked.created) == (run_id, 12, True)
    assert shop.runs() == [
        {
            "id": str(run_id), "workflow": "w", "version": 1, "trigger": "schedule",
            "origin": f"schedule:w:{first.isoformat()}", "params": {"day": "today", "none": None},
            "scheduled_for": first, "priority": 7, "held": False, "state": "pending",
            "traceparent": traceparent_of(run_id),
        }
    ]  # fmt: skip
    assert shop.starts() == [str(run_id)]
    assert shop.next_ticks() == {"w": first + HOUR}


def test_the_newest_version_runs(shop: Shop) -> None:
    apply(shop)
    first = apply(shop, every="PT2H")
    ticker(shop).tick(first)
    assert [run["version"] for run in shop.runs()] == [2]


def test_a_tick_known_before_makes_no_second_run(shop: Shop) -> None:
    first = apply(shop, overlap="allow")
    (made,) = ticker(shop).tick(first).runs
    shop.set_tick("w", first)
    (found,) = ticker(shop).tick(first).runs
    assert (found.run_id, found.partition, found.created) == (made.run_id, made.partition, False)
    assert len(shop.runs()) == len(shop.starts()) == 1
    assert shop.next_ticks() == {"w": first + HOUR}


def test_a_tick_during_a_run_is_skipped_and_told_once(shop: Shop) -> None:
    first = apply(shop)
    ticker(shop).tick(first)
    (told,) = ticker(shop).tick(first + HOUR).skipped
    assert states(shop) == [("pending", False), ("skipped", False)]
    ((outbox_id, body),) = shop.outbox()
    assert (outbox_id, body) == (told.outbox_id, orjson.loads(told.body))
    (fact,) = body
    skipped = shop.runs()[1]
    assert fact.pop("at") == fact.pop("finished_at")
    assert fact.pop("created_at")
    assert datetime.fromisoformat(fact.pop("scheduled_for")) == first + HOUR
    assert fact == {
        "type": "freshet.run.skipped.v1", "run_id": skipped["id"], "workflow": "w", "version": 1,
        "trigger": "schedule", "group_id": skipped["id"], "rerun_of": None, "started_at": None, "error": None,
        "root_task_name": None, "traceparent": skipped["traceparent"],
    }  # fmt: skip
    shop.set_tick("w", first + HOUR)
    assert ticker(shop).tick(first + HOUR).skipped == ()
    assert len(shop.starts()) == 1


def test_a_held_run_is_released_when_none_goes_on(shop: Shop) -> None:
    first = apply(shop, overlap="queue")
    for hour in range(3):
        ticker(shop).tick(first + hour * HOUR)
    assert states(shop) == [("pending", False), ("pending", True), ("pending", True)]
    assert shop.requests.release_held() == []
    one, two, _ = (run["id"] for run in shop.runs())
    assert shop.starts() == [one]
    shop.end(one)
    assert [str(asked.run_id) for asked in shop.requests.release_held()] == [two]
    assert shop.requests.release_held() == []
    assert shop.starts() == [one, two]


def test_what_is_made_up_for_waits_for_one_another(shop: Shop) -> None:
    first = apply(shop, catch_up="all")
    numbers = count(1)
    made = ticker(shop, new_id=lambda: UUID(int=next(numbers))).tick(first + 2 * HOUR)
    assert [asked.run_id.int for asked in made.runs] == [1, 2, 3]
    assert [run["scheduled_for"] for run in shop.runs()] == [first, first + HOUR, first + 2 * HOUR]
    assert states(shop) == [("pending", False), ("pending", True), ("pending", True)]


def test_a_schedule_that_cannot_tick_is_set_aside_alone(shop: Shop) -> None:
    last = max(apply(shop, "good"), apply(shop, "broken", cron="0 * * * *"))
    shop.spoil("broken")
    ticked = ticker(shop).tick(last)
    assert ticked.parked == ("broken",)
    assert [run["workflow"] for run in shop.runs()] == ["good"]
    assert shop.next_ticks()["broken"] is None
    assert shop.parked() == ["schedule"]
    assert ticker(shop).tick(last).parked == ()


def test_a_paused_schedule_is_not_due(shop: Shop) -> None:
    first = apply(shop)
    shop.pause("w")
    assert shop.next_ticks() == {"w": first}
    assert shop.schedules.outlook().next_fire_at is None
    with shop.schedules.due(first + HOUR, limit=10) as due:
        assert list(due.rows) == []


def test_the_oldest_ticks_are_due_first_and_only_so_many(shop: Shop) -> None:
    ticks = [apply(shop, name) for name in "cab"]
    last = max(ticks) + HOUR
    for name, before in (("a", 3), ("b", 2), ("c", 3)):
        shop.set_tick(name, last - timedelta(minutes=before))
    with shop.schedules.due(last, limit=2) as due:
        assert [row["workflow"] for row in due.rows] == ["a", "c"]
        assert due.rows[0] == {
            "workflow": "a", "every": 3600.0, "cron": None, "timezone": "UTC", "catch_up": "none", "overlap": "skip",
            "anchor": due.rows[0]["anchor"], "next_fire_at": last - timedelta(minutes=3), "version": 1, "priority": 7,
            "root_task_name": None, "params": {"day": "today", "none": None},
        }  # fmt: skip


def test_what_fails_apart_takes_back_its_own_part_only(shop: Shop) -> None:
    first = apply(shop)
    kept, lost = (NewRun(workflow="w", version=1, trigger=Trigger.SCHEDULE, origin=origin) for origin in "ab")

    def fail(due: DueSchedules) -> None:
        with due.apart():
            due.insert_runs([lost])
            due.advance("w", first + HOUR)
            raise DataError

    with shop.schedules.due(first, limit=10) as due:
        due.insert_runs([kept])
        with pytest.raises(DataError):
            fail(due)
        assert due.active_runs("w") == 1
    assert [run["id"] for run in shop.runs()] == shop.starts() == [str(kept.id)]
    assert shop.next_ticks() == {"w": first}


def test_a_pass_that_fails_leaves_nothing(shop: Shop) -> None:
    first = apply(shop)

    def fail() -> None:
        with shop.schedules.due(first, limit=10) as due:
            due.insert_runs([NewRun(workflow="w", version=1, trigger=Trigger.SCHEDULE)])
            due.advance("w", first + HOUR)
            due.park("w", "why")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (shop.runs(), shop.starts(), shop.parked(), shop.next_ticks()) == ([], [], [], {"w": first})


def test_of_two_runs_with_one_origin_the_older_is_made(shop: Shop) -> None:
    first = apply(shop)
    one, two = (NewRun(workflow="w", version=1, trigger=Trigger.SCHEDULE, origin="o", id=UUID(int=n)) for n in (1, 2))
    with shop.schedules.due(first, limit=10) as due:
        asked = due.insert_runs([two, one])
    assert [(each.run_id.int, each.created) for each in asked] == [(1, False), (1, True)]
    assert len(shop.runs()) == len(shop.starts()) == 1
