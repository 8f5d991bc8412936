"""A dispatcher that ends between two steps: another goes on, from rows alone."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import pytest
from tests.windows.crash import crash_at, window
from tests.windows.site import QUEUE, Site

DIAMOND = {
    "name": "diamond",
    "tasks": {
        "list": {"process": QUEUE},
        "each": {"process": QUEUE, "after": ["list"], "for_each": "tasks.list.result"},
        "beside": {"process": QUEUE, "after": ["list"]},
        "join": {"process": QUEUE, "after": ["each", "beside"]},
    },
}
ONE = {"name": "one", "tasks": {"only": {"process": QUEUE}}}


def step_into(site: Site, point: str, *, within: int = 20) -> None:
    """Let the dispatcher step until it comes to the point, and ends there. Nobody else does anything."""
    with crash_at(point):
        for _ in range(within):
            site.step()
            site.pass_time(1.0)
    site.restart_dispatcher()


def claimed_by_a_worker(site: Site, document: Mapping[str, Any]) -> tuple[uuid.UUID, Any]:
    """A run whose one item is in a worker's hands."""
    site.apply(document)
    site.works = False
    run = site.start(document["name"])
    site.live(1)
    bundle = site.pop()
    assert bundle is not None
    claimed = site.claim(bundle)
    assert claimed is not None
    site.works = True
    return run, claimed


@window("fold.taken", "fold.decided")
@pytest.mark.parametrize("point", ["fold.taken", "fold.decided"])
def test_a_decision_that_was_not_committed_is_made_again_from_the_same_reports(site: Site, point: str) -> None:
    site.apply(DIAMOND)
    run = site.start("diamond")
    step_into(site, point)  # the run's start
    site.works = False
    site.live(10)  # the dead one counts as a member for a while: its share of the partitions is overdue first
    assert site.work() == 1
    step_into(site, point)  # the report of the list, whose map is expanded
    assert site.one("select count(*) from engine.report") == 1
    site.works = True
    site.live_until_recorded(run)
    site.assert_whole(run)


@window("fold.committed", "fold.published")
@pytest.mark.parametrize("point", ["fold.committed", "fold.published"])
def test_what_was_decided_and_not_told_is_found_in_its_rows(site: Site, point: str) -> None:
    site.apply(DIAMOND)
    run = site.start("diamond")
    step_into(site, point)
    assert site.bus.depths([QUEUE]) == {QUEUE: int(point == "fold.published")}
    site.works = False
    site.live(10)
    assert site.work() == 1
    step_into(site, point)
    site.works = True
    site.live_until_recorded(run)
    site.assert_whole(run)


@window("fold.published")
def test_a_worker_that_was_not_told_of_a_cancel_is_fenced(site: Site) -> None:
    run, claimed = claimed_by_a_worker(site, ONE)
    partition = site.requests.cancel(run)
    assert partition is not None
    site.bus.wake_dispatcher([partition])
    step_into(site, "fold.published")
    site.finish(claimed)
    assert site.fenced == 1
    found = site.live_until_recorded(run)
    assert found["tasks"]["only"]["items"]["cancelled"] == 1
    site.assert_whole(run, state="cancelled")


@window("refill.marked")
def test_bundles_marked_as_published_without_a_message_are_published_again(database: str, redis: str) -> None:
    site = Site(database, redis, queue_depth=1)
    site.apply({"name": "w", "tasks": {f"t{number}": {"process": QUEUE} for number in range(4)}})
    run = site.start("w")
    site.works = False
    with crash_at("refill.marked"):
        for _ in range(10):
            site.step()
            site.work()  # room for the next
            site.pass_time(1.0)
    site.restart_dispatcher()
    assert site.sql("select id from engine.bundle where published_at is not null and claim is null")
    assert site.bus.depths([QUEUE]) == {QUEUE: 0}
    site.works = True
    site.live_until_recorded(run)
    site.assert_whole(run)
    site.close()


@window("ring.flush_seen")
def test_messages_that_a_flush_took_are_published_again_by_whoever_comes_after(site: Site) -> None:
    site.apply(DIAMOND)
    site.works = False
    run = site.start("diamond")
    site.live(1)
    assert site.bus.depths([QUEUE]) == {QUEUE: 1}
    site.bus.client.flushdb()
    step_into(site, "ring.flush_seen")
    assert not site.bus.fresh()  # so nobody else sees the flush
    assert site.bus.depths([QUEUE]) == {QUEUE: 0}
    site.works = True
    site.live_until_recorded(run)
    site.assert_whole(run)


@window("ring.released")
def test_a_retry_that_became_due_and_was_not_published_is_published(site: Site) -> None:
    site.apply({"name": "w", "tasks": {"a": {"process": QUEUE, "retries": {"limit": 1, "delay": "PT5S"}}}})
    failure = {"s": "failed", "e": {"class": "user", "message": "once"}}
    site.behave = lambda task, index, attempt: failure if attempt == 1 else {"s": "succeeded", "r": "done"}
    run = site.start("w")
    site.live(2)
    assert site.one("select due_at is not null from engine.bundle")
    step_into(site, "ring.released")
    assert site.bus.depths([QUEUE]) == {QUEUE: 0}
    found = site.live_until_recorded(run)
    assert found["tasks"]["a"]["attempts"] == 2
    site.assert_whole(run)


@window("ring.expired")
def test_an_item_that_was_ended_for_its_timeout_is_tried_again_once_and_its_worker_is_fenced(site: Site) -> None:
    task = {"process": QUEUE, "timeout": "PT2S", "retries": {"limit": 1, "delay": "PT0S"}}
    run, claimed = claimed_by_a_worker(site, {"name": "w", "tasks": {"a": task}})
    step_into(site, "ring.expired")
    assert site.one("select count(*) from engine.report") == 1
    site.finish(claimed)
    assert site.fenced == 1
    found = site.live_until_recorded(run)
    assert found["tasks"]["a"]["attempts"] == 2
    site.assert_whole(run)


@window("ring.buried")
def test_a_dead_workers_item_is_done_by_another_although_its_finder_died_too(site: Site) -> None:
    run, claimed = claimed_by_a_worker(site, ONE)
    site.bus.silence(site.worker)
    site.worker = next(site.names)
    step_into(site, "ring.buried")
    site.finish(claimed)  # it was not dead: it lay in a network's hole, and comes back
    assert site.fenced == 1
    found = site.live_until_recorded(run)
    assert found["tasks"]["only"]["attempts"] == 1  # a loss makes no new attempt
    site.assert_whole(run, repeated=1)
