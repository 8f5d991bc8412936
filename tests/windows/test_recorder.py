"""A recorder that ends between reading, recording and acknowledging: every fact is in the log once."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from tests.windows.crash import crash_at, window
from tests.windows.site import QUEUE, Site

MAP = {
    "name": "map",
    "tasks": {
        "each": {"process": QUEUE, "for_each": "5"},
        "join": {"process": QUEUE, "after": ["each"]},
    },
}


def unrecorded_run(site: Site) -> uuid.UUID:
    """A run that has ended, and of which nothing is recorded."""
    site.apply(MAP)
    run = site.start("map")
    while site.reads.run_object(run)["state"] != "succeeded":
        site.step()
        site.work()
    return run


@window("record.read", "record.committed")
@pytest.mark.parametrize("point", ["record.read", "record.committed"])
def test_facts_that_a_recorder_took_with_it_are_recorded_once(site: Site, point: str) -> None:
    run = unrecorded_run(site)
    with crash_at(point):
        site.record()
    pending: Any = site.bus.client.xpending("freshet:facts", "recorder")
    assert pending["pending"] > 0
    recorded = site.one("select count(*) from log.run where run_id = %s", run)
    assert recorded == int(point == "record.committed")
    site.restart_recorder()
    site.live_until_recorded(run)
    site.assert_whole(run)


@window("record.read", "record.committed")
@pytest.mark.parametrize("point", ["record.read", "record.committed"])
def test_two_recorders_of_which_one_died_record_each_fact_once(site: Site, point: str) -> None:
    run = unrecorded_run(site)
    with crash_at(point):
        site.record()
    dead = site.recorder
    other = site.recorder = type(dead)(site)
    site.live_until_recorded(run)
    # It was not dead, but stopped: it goes on with what it had read.
    dead.recorder._record(dead.reader.take_over())
    site.assert_whole(run)
    dead.die()
    assert site.recorder is other
