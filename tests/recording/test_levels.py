"""Levels: workers and their time, queues, active runs."""

from collections.abc import Mapping
from uuid import uuid4

import pytest
from tests.recording.facts import Outbox

from freshet.bus import Heartbeat
from freshet.domain.errors import UnreachableError
from freshet.recording import WorkerTimes, observe_levels
from freshet.recording.levels import FRESH
from freshet.runtime.clock import TurnedClock
from freshet.storage.database import Database
from freshet.storage.gauges import Gauges
from freshet.telemetry import Telemetry

BUSY, IDLE = "freshet.worker.busy.time", "freshet.worker.idle.time"


def beat(worker: str, *, busy_s: float, idle_s: float, state: str = "available") -> Heartbeat:
    return Heartbeat(
        worker=worker,
        state=state,
        busy_s=busy_s,
        idle_s=idle_s,
        wall_s=busy_s + idle_s,
        pid=1,
        hostname="h",
        queues=(),
        started_at="2026-11-22T10:00:00Z",
    )


class Fleet:
    """Heartbeats that a test sets, and a look at the metrics."""

    def __init__(self) -> None:
        self.clock = TurnedClock()
        self.telemetry = Telemetry("recorder", environ={})
        self.beats: dict[str, Heartbeat] = {}
        self.items: dict[str, int] = {}
        self.runs: dict[tuple[str, str], int] = {}
        self.looks = 0
        self.times: WorkerTimes = observe_levels(
            self.telemetry, beats=self._beats, queues=lambda: self.items, runs=lambda: self.runs, clock=self.clock
        )

    def _beats(self) -> Mapping[str, Heartbeat]:
        self.looks += 1
        return self.beats

    def tell(self, *beats: Heartbeat) -> None:
        self.beats = {each.worker: each for each in beats}
        self.clock.turn(FRESH)

    def seconds(self) -> tuple[float, float]:
        return self.telemetry.points(BUSY)[()], self.telemetry.points(IDLE)[()]


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def test_busy_and_idle_add_up_to_the_wall_time_of_all_workers(fleet: Fleet) -> None:
    fleet.tell(beat("a", busy_s=10, idle_s=5), beat("b", busy_s=1, idle_s=14))
    assert fleet.seconds() == (11, 19)
    fleet.tell(beat("a", busy_s=12, idle_s=6), beat("b", busy_s=1, idle_s=17))
    busy, idle = fleet.seconds()
    assert busy + idle == 18 + 18


def test_the_sums_never_fall_when_a_worker_leaves_or_blinks(fleet: Fleet) -> None:
    a, b = beat("a", busy_s=10, idle_s=5), beat("b", busy_s=1, idle_s=2)
    for beats in ((a, b), (b,), (), (a, b), (a,)):
        fleet.tell(*beats)
        assert fleet.seconds() == (11, 7)


def test_a_worker_that_began_anew_under_its_name_counts_from_nothing(fleet: Fleet) -> None:
    fleet.tell(beat("a", busy_s=10, idle_s=5))
    assert fleet.seconds() == (10, 5)
    fleet.tell(beat("a", busy_s=1, idle_s=2))
    assert fleet.seconds() == (11, 7)


def test_one_scrape_looks_at_the_heartbeats_once(fleet: Fleet) -> None:
    fleet.tell(beat("a", busy_s=1, idle_s=1))
    fleet.telemetry.exposition()
    assert fleet.looks == 1


def test_workers_are_counted_by_state(fleet: Fleet) -> None:
    fleet.tell(beat("a", busy_s=1, idle_s=1, state="busy"), beat("b", busy_s=1, idle_s=1, state="busy"))
    count = {
        dict(names)["cicd.worker.state"]: number
        for names, number in fleet.telemetry.points("cicd.worker.count").items()
    }
    assert count == {"available": 0, "busy": 2, "draining": 0, "offline": 0}


def test_a_queue_that_ran_empty_stands_at_nothing(fleet: Fleet) -> None:
    fleet.items = {"q": 7}
    assert fleet.telemetry.points("freshet.queue.depth") == {(("messaging.destination.name", "q"),): 7}
    fleet.items = {}
    assert fleet.telemetry.points("freshet.queue.depth") == {(("messaging.destination.name", "q"),): 0}


def test_while_redis_is_away_the_workers_are_left_out_and_the_rest_is_told(fleet: Fleet) -> None:
    def away() -> Mapping[str, Heartbeat]:
        raise UnreachableError

    telemetry = Telemetry("recorder", environ={})
    observe_levels(telemetry, beats=away, queues=lambda: {"q": 1}, runs=dict)
    body = telemetry.exposition()[0].decode()
    assert "freshet_worker_busy_time" not in body
    assert 'freshet_queue_depth{messaging_destination_name="q"} 1.0' in body


def test_levels_are_read_from_the_engines_tables(outbox: Outbox, store: Database) -> None:
    run = uuid4()
    outbox.rows(
        "insert into engine.run (id, workflow, version, state, trigger, group_id)"
        " values (%s, 'score', 1, 'running', 'call', %s) returning id",
        run,
        run,
    )
    for queue, claim in (("q", None), ("q", None), ("held", str(uuid4()))):
        outbox.rows(
            "insert into engine.bundle (run_id, partition, task_run_id, queue, priority, turn, items, attempts, done,"
            " claim, worker, claimed_at) values (%s, 0, 1, %s, 1, 1, '{1,2,3}', '{1,1,1}', 1, %s, %s, %s) returning id",
            run,
            queue,
            claim,
            claim and "w",
            claim and "now",
        )
    gauges = Gauges(store)
    assert gauges.queues() == {"q": 4}
    assert gauges.runs() == {("score", "running"): 1}
