"""Due ticks become runs: once, by policy, and one bad schedule stops no other."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from freshet.bus import Bus
from freshet.definition import compile_workflow, digest, normalise
from freshet.runtime.clock import TurnedClock
from freshet.scheduling import Ticked, Ticker, first_tick
from freshet.storage.database import Database, StatementError
from freshet.storage.definitions import Definition, Definitions
from freshet.storage.leadership import SCHEDULER, Leadership
from freshet.storage.requests import Requests
from freshet.storage.schedules import Schedules
from freshet_scheduler.service import LOOK, STANDBY, Scheduler

HOUR = timedelta(hours=1)


@pytest.fixture
def store(database: str) -> Iterator[Database]:
    store = Database(database, name="test", sessions=4)
    yield store
    store.close()


def _apply(store: Database, name: str = "w", **schedule: Any) -> datetime:
    """Apply a workflow of this schedule, hourly by default; its first tick."""
    source = {
        "name": name,
        "params": {"day": {"type": "string", "default": "today"}, "none": {"type": "string", "default": None}},
        "priority": 7,
        "tasks": {"a": {"process": "p@1"}},
        "schedule": {"every": "PT1H", **schedule},
    }
    if "cron" in schedule:
        del source["schedule"]["every"]  # type: ignore[attr-defined]
    document = normalise(source)
    workflow = compile_workflow(document)
    definition = Definition(name=name, document=document, digest=digest(document), schedule=workflow.schedule)
    Definitions(store).put(definition, first_tick)
    tick: datetime = _rows(store, "select next_fire_at from engine.schedule where workflow = %s", name)[0][
        "next_fire_at"
    ]
    return tick


def _ticker(store: Database, **options: Any) -> Ticker:
    return Ticker(schedules=Schedules(store), requests=Requests(store), **options)


def _rows(store: Database, statement: str, *parameters: Any) -> list[dict[str, Any]]:
    with store.session() as session:
        cursor = session.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def _runs(store: Database) -> list[tuple[datetime, str, bool]]:
    rows = _rows(store, "select scheduled_for, state, held from engine.run order by scheduled_for")
    return [(row["scheduled_for"], row["state"], row["held"]) for row in rows]


def _turn_back(store: Database) -> None:
    """Let the first tick be one second ago."""
    _rows(
        store,
        "update engine.schedule"
        " set anchor = now() - interval '1 hour 1 second', next_fire_at = now() - interval '1 second'",
    )


def _end_all(store: Database) -> None:
    _rows(store, "update engine.run set state = 'succeeded', finished_at = now() where finished_at is null")


def test_a_due_tick_makes_a_run_with_its_defaults_and_the_next_tick(store: Database) -> None:
    first = _apply(store)
    ticked = _ticker(store).tick(first)
    assert (len(ticked.runs), ticked.skipped, ticked.parked) == (1, (), ())
    (run,) = _rows(store, "select workflow, version, trigger, params, priority, scheduled_for, origin from engine.run")
    assert run == {
        "workflow": "w", "version": 1, "trigger": "schedule", "params": {"day": "today", "none": None}, "priority": 7,
        "scheduled_for": first, "origin": f"schedule:w:{first.isoformat()}",
    }  # fmt: skip
    assert _rows(store, "select kind from engine.request") == [{"kind": "start"}]
    assert _rows(store, "select next_fire_at from engine.schedule") == [{"next_fire_at": first + HOUR}]


def test_before_its_time_nothing_is_done_and_the_wait_is_told(store: Database) -> None:
    assert _ticker(store).tick() == Ticked()
    first = _apply(store)
    assert _ticker(store).tick(first - timedelta(seconds=90)) == Ticked(wait=90.0)
    assert _runs(store) == []


def test_the_clock_of_the_database_decides(store: Database) -> None:
    _apply(store)
    _turn_back(store)
    assert _ticker(store).tick().did == 1


def test_two_schedulers_at_once_make_one_run(store: Database) -> None:
    ticks = [_apply(store, name, overlap="allow") for name in ("a", "b", "c")]
    barrier = threading.Barrier(4)

    def race() -> None:
        barrier.wait()
        for _ in range(3):
            _ticker(store).tick(max(ticks))

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(_runs(store)) == 3
    assert len(_rows(store, "select * from engine.request")) == 3


def test_the_same_tick_again_makes_no_second_run_though_the_row_forgot(store: Database) -> None:
    first = _apply(store, overlap="allow")
    _ticker(store).tick(first)
    _rows(store, "update engine.schedule set next_fire_at = %s", first)
    ticked = _ticker(store).tick(first)
    assert [run.created for run in ticked.runs] == [False]
    assert len(_runs(store)) == 1


def test_a_tick_during_a_run_is_skipped_and_its_fact_is_told(store: Database) -> None:
    first = _apply(store)
    _ticker(store).tick(first)
    ticked = _ticker(store).tick(first + HOUR)
    assert [state for _, state, _ in _runs(store)] == ["pending", "skipped"]
    (announcement,) = ticked.skipped
    (fact,) = orjson.loads(announcement.body)
    assert (fact["type"], fact["workflow"], fact["trigger"]) == ("freshet.run.skipped.v1", "w", "schedule")
    assert datetime.fromisoformat(fact["scheduled_for"]) == first + HOUR
    assert fact["finished_at"]
    assert [row["id"] for row in _rows(store, "select id from engine.outbox")] == [announcement.outbox_id]
    _end_all(store)
    assert len(_ticker(store).tick(first + 2 * HOUR).runs) == 1


def test_a_tick_during_a_run_waits_under_queue(store: Database) -> None:
    first = _apply(store, overlap="queue")
    _ticker(store).tick(first)
    _ticker(store).tick(first + HOUR)
    assert [(state, held) for _, state, held in _runs(store)] == [("pending", False), ("pending", True)]
    assert len(_rows(store, "select * from engine.request")) == 1


def test_a_held_run_is_started_when_the_run_before_ended_unseen(store: Database) -> None:
    first = _apply(store, overlap="queue")
    _ticker(store).tick(first)
    _ticker(store).tick(first + HOUR)
    _ticker(store).tick(first + 2 * HOUR)
    assert Requests(store).release_held() == []
    _rows(store, "update engine.run set state = 'succeeded', finished_at = now() where not held")
    assert len(Requests(store).release_held()) == 1
    assert [held for _, state, held in _runs(store) if state == "pending"] == [False, True]
    assert Requests(store).release_held() == []


def test_ticks_overlap_when_allowed(store: Database) -> None:
    first = _apply(store, overlap="allow")
    for hour in range(3):
        _ticker(store).tick(first + hour * HOUR)
    assert [state for _, state, _ in _runs(store)] == ["pending"] * 3


@pytest.mark.parametrize(("catch_up", "expected"), [("none", []), ("latest", [4]), ("all", [0, 1, 2, 3, 4])])
def test_missed_ticks_are_made_up_for_by_policy(store: Database, catch_up: str, expected: list[int]) -> None:
    first = _apply(store, catch_up=catch_up, overlap="allow")
    _ticker(store).tick(first + timedelta(hours=4, minutes=30))
    assert [scheduled for scheduled, _, _ in _runs(store)] == [first + hour * HOUR for hour in expected]
    assert _rows(store, "select next_fire_at from engine.schedule") == [{"next_fire_at": first + 5 * HOUR}]


def test_ticks_made_up_for_run_one_after_the_other_unless_they_may_overlap(store: Database) -> None:
    first = _apply(store, catch_up="all")
    _ticker(store).tick(first + timedelta(hours=2, minutes=30))
    assert [(state, held) for _, state, held in _runs(store)] == [
        ("pending", False), ("pending", True), ("pending", True),
    ]  # fmt: skip


def test_only_the_newest_missed_ticks_are_made_up_for(store: Database) -> None:
    first = _apply(store, catch_up="all", overlap="allow")
    _ticker(store, max_catch_up=2).tick(first + timedelta(hours=9, minutes=1))
    assert [scheduled for scheduled, _, _ in _runs(store)] == [first + 8 * HOUR, first + 9 * HOUR]


def test_a_paused_workflow_does_not_tick(store: Database) -> None:
    first = _apply(store)
    Definitions(store).pause("w")
    assert _ticker(store).tick(first + HOUR) == Ticked()
    Definitions(store).resume("w", first_tick)
    assert len(_ticker(store).tick(first).runs) == 1


def test_a_schedule_that_cannot_tick_is_set_aside_and_the_others_go_on(store: Database) -> None:
    _apply(store, "good")
    _apply(store, "broken", cron="0 * * * *")
    _rows(store, "update engine.schedule set timezone = 'No/Where' where workflow = 'broken'")
    ticked = _ticker(store).tick(datetime.now(UTC) + 2 * HOUR)
    assert ticked.parked == ("broken",)
    assert {row["workflow"] for row in _rows(store, "select workflow from engine.run")} == {"good"}
    assert _rows(store, "select next_fire_at from engine.schedule where workflow = 'broken'") == [
        {"next_fire_at": None}
    ]
    assert [row["what"] for row in _rows(store, "select what from engine.parked")] == ["schedule"]
    assert _ticker(store).tick(datetime.now(UTC) + HOUR).parked == ()
    _apply(store, "broken", cron="0 * * * *")
    assert _rows(store, "select next_fire_at > now() as ahead from engine.schedule where workflow = 'broken'") == [
        {"ahead": True}
    ]


def test_a_run_that_cannot_be_stored_sets_its_schedule_aside_alone(store: Database) -> None:
    _apply(store, "good")
    last = _apply(store, "refused")
    _rows(store, "alter table engine.run add check (workflow <> 'refused')")
    ticked = _ticker(store).tick(last)
    assert (len(ticked.runs), ticked.parked) == (1, ("refused",))
    assert {row["workflow"] for row in _rows(store, "select workflow from engine.run")} == {"good"}
    assert [row["what"] for row in _rows(store, "select what from engine.parked")] == ["schedule"]


def test_trouble_of_the_server_sets_no_schedule_aside(store: Database) -> None:
    first = _apply(store)
    _rows(store, "alter table engine.run rename to run_is_away")
    with pytest.raises(StatementError):
        _ticker(store).tick(first)
    _rows(store, "alter table engine.run_is_away rename to run")
    assert _rows(store, "select * from engine.parked") == []
    assert len(_ticker(store).tick(first).runs) == 1


def test_one_leads_and_the_others_stand_by_until_it_resigns(store: Database, database: str) -> None:
    other_store = Database(database, name="other")
    one, two = Leadership(store, SCHEDULER), Leadership(other_store, SCHEDULER)
    assert (one.campaign(), two.campaign(), one.campaign()) == (True, False, True)
    one.resign()
    until = datetime.now(UTC) + timedelta(seconds=10)
    while not two.campaign() and datetime.now(UTC) < until:
        pass  # the server lets the lock go when it has seen the session's end
    assert two.leads
    two.resign()
    other_store.close()


def test_a_leader_whose_session_was_cut_no_longer_leads(store: Database) -> None:
    from freshet.domain.errors import UnreachableError

    leadership = Leadership(store, SCHEDULER)
    assert leadership.campaign()
    _rows(
        store,
        "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and pid <> pg_backend_pid()"
        " and database = (select oid from pg_database where datname = current_database())"
        " and database = (select oid from pg_database where datname = current_database())",
    )
    until = datetime.now(UTC) + timedelta(seconds=10)
    while leadership.leads and datetime.now(UTC) < until:
        try:
            leadership.campaign()
        except UnreachableError:
            break
    assert not leadership.leads
    assert leadership.campaign()
    leadership.resign()


class _Service:
    """A scheduler of which every wait is turned, not slept."""

    def __init__(self, store: Database, redis: str) -> None:
        self.bus = Bus(redis)
        self.clock = TurnedClock()
        self.slept: list[float] = []
        self.leadership = Leadership(store, SCHEDULER)
        self.bus.await_wake = self._await_wake  # type: ignore[method-assign]
        self.scheduler = Scheduler(
            ticker=_ticker(store), requests=Requests(store), leadership=self.leadership, bus=self.bus,
            stop=threading.Event(), clock=self.clock, draw=lambda: 0.5,
        )  # fmt: skip

    def _await_wake(self, names: Any, *, seconds: float) -> str | None:
        self.slept.append(seconds)
        self.clock.turn(min(seconds, 2.0))
        return None


def test_an_idle_leader_sleeps_long_and_a_standby_tries_again_later(store: Database, redis: str) -> None:
    leader, standby = _Service(store, redis), _Service(store, redis)
    made = leader.scheduler.once()
    assert made.did == 0
    assert made.idle is not None
    made.idle()
    assert leader.clock.monotonic() == pytest.approx(LOOK)
    assert standby.scheduler.once().wait == pytest.approx(STANDBY)
    assert standby.slept == []
    leader.leadership.resign()
    standby.leadership.resign()


def test_the_leader_wakes_the_dispatcher_of_each_run(store: Database, redis: str) -> None:
    _apply(store)
    _turn_back(store)
    service = _Service(store, redis)
    assert service.scheduler.once().did == 1
    (row,) = _rows(store, "select partition from engine.run")
    assert Bus(redis).await_wake([f"dispatcher:{row['partition']}"], seconds=1) is not None
    service.leadership.resign()
