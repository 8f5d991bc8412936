"""An api or a scheduler that ends after its commit: what was asked for happens, once, although nobody was told."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.windows.crash import crash_at, window
from tests.windows.site import QUEUE, Site

from freshet.bus import Bus
from freshet.definition import compile_workflow, digest, normalise
from freshet.scheduling import Ticker, first_tick
from freshet.storage.database import Database
from freshet.storage.definitions import Definition
from freshet.storage.leadership import SCHEDULER, Leadership
from freshet.storage.requests import Requests
from freshet.storage.schedules import Schedules
from freshet.telemetry import Telemetry
from freshet_api.app import create_app
from freshet_api.door import Door
from freshet_scheduler.service import Scheduler

TWO = {"name": "two", "tasks": {"a": {"process": QUEUE}, "b": {"process": QUEUE, "after": ["a"]}}}
TOKEN = "token-of-the-tests"
FAILURE = {"s": "failed", "e": {"class": "user", "message": "it is bad"}}


@pytest.fixture
def door(database: str, redis: str) -> Iterator[Door]:
    door = Door(
        database=Database(database, name="api"),
        bus=Bus(redis, name="api"),
        telemetry=Telemetry("api", environ={}),
        token=TOKEN,
    )
    yield door
    door.close()


def post(door: Door, path: str, json: Any = None, **headers: str) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(door))
        async with httpx.AsyncClient(transport=transport, base_url="http://api/api/v1") as client:
            return await client.post(path, json=json, headers={"Authorization": f"Bearer {TOKEN}", **headers})

    return asyncio.run(send())


@window("request.committed")
def test_a_run_that_was_asked_for_and_not_answered_runs_once_also_if_it_is_asked_for_again(
    site: Site, door: Door
) -> None:
    site.apply(TWO)
    with crash_at("request.committed"):
        post(door, "/workflows/two/runs", {}, **{"Idempotency-Key": "k1"})
    with crash_at("request.committed"):  # the client asks again, and the api ends again
        post(door, "/workflows/two/runs", {}, **{"Idempotency-Key": "k1"})
    run = site.one("select id from engine.run")
    site.live_until_recorded(run)
    answer = post(door, "/workflows/two/runs", {}, **{"Idempotency-Key": "k1"})
    assert (answer.status_code, answer.json()["run_id"]) == (200, str(run))
    site.assert_whole(run)


@window("request.committed")
def test_a_cancel_that_was_asked_for_and_not_answered_happens(site: Site, door: Door) -> None:
    site.apply(TWO)
    site.works = False
    run = site.start("two")
    site.live(1)
    with crash_at("request.committed"):
        post(door, f"/runs/{run}/cancel")
    found = site.live_until_recorded(run)
    assert [task["items"]["cancelled"] for task in found["tasks"].values()] == [1, 1]
    site.works = True  # what was published before is of no effect
    site.assert_whole(run, state="cancelled")


@window("request.committed")
def test_a_rerun_that_was_asked_for_and_not_answered_runs_once(site: Site, door: Door) -> None:
    site.apply(TWO)
    site.behave = lambda task, index, attempt: FAILURE if task == "b" else {"s": "succeeded", "r": 1}
    first = site.start("two")
    site.live_until_recorded(first)
    site.assert_whole(first, state="failed")
    site.tries.clear()
    site.behave = lambda task, index, attempt: {"s": "succeeded", "r": 2}
    with crash_at("request.committed"):
        post(door, f"/runs/{first}/rerun", {"mode": "failed"})
    again: uuid.UUID = site.one("select id from engine.run where rerun_of = %s", first)
    site.live_until_recorded(again)
    assert [task for task, _, _ in site.tries] == ["b"]
    site.assert_whole(again)


class SchedulerProcess:
    """One life of a scheduler."""

    def __init__(self, site: Site) -> None:
        self.database = Database(site.database_url, name="scheduler", sessions=1)
        self.leadership = Leadership(self.database, SCHEDULER)
        requests = Requests(self.database)
        self.scheduler = Scheduler(
            ticker=Ticker(schedules=Schedules(self.database), requests=requests),
            requests=requests,
            leadership=self.leadership,
            bus=site.bus,
            stop=threading.Event(),
            clock=site.clock,
        )

    def die(self) -> None:
        self.leadership.resign()
        self.database.close()


def apply_due(site: Site) -> None:
    """An hourly workflow whose tick is due."""
    document = normalise({**TWO, "schedule": {"every": "PT1H"}})
    workflow = compile_workflow(document)
    definition = Definition(name="two", document=document, digest=digest(document), schedule=workflow.schedule)
    site.definitions.put(definition, first_tick)
    site.sql(
        "update engine.schedule set anchor = anchor - interval '1 h', next_fire_at = next_fire_at - interval '1 h'"
    )


def crash_the_scheduler_and_tick_again(site: Site) -> None:
    first = SchedulerProcess(site)
    with crash_at("tick.committed"):
        first.scheduler.once()
    first.die()
    second = SchedulerProcess(site)
    while not second.leadership.campaign():  # the server lets the lock go when it sees that its holder has gone
        pass
    assert second.scheduler.once().did == 0
    second.die()


@window("tick.committed")
def test_a_tick_that_was_committed_makes_one_run_and_nobody_needs_to_be_told(site: Site) -> None:
    apply_due(site)
    crash_the_scheduler_and_tick_again(site)
    run = site.one("select id from engine.run")
    site.live_until_recorded(run)
    site.assert_whole(run)


@window("tick.committed")
def test_a_tick_that_was_skipped_is_recorded_although_its_fact_was_not_announced(site: Site) -> None:
    apply_due(site)
    site.works = False
    running = site.start("two")
    site.live(1)
    crash_the_scheduler_and_tick_again(site)
    site.live(10)
    skipped = site.one("select id from engine.run where state = 'skipped'")
    assert site.one("select state from log.run where run_id = %s", skipped) == "skipped"
    site.works = True
    site.live_until_recorded(running)
    site.assert_whole(running)
