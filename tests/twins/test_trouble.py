"""What a simulation does to a twin: it goes down, forgets, is interrupted, and lets others in between."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any
from uuid import uuid4

import pytest
from tests.twins.pipes import Pipes, RealPipes, TwinPipes

from freshet.bus import Bus, FactReader, Heartbeat, Message
from freshet.domain.errors import UnreachableError
from freshet.recording import Measures, Recorder
from freshet.recording.recorder import SWEEP_SILENT
from freshet.runtime.clock import TurnedClock
from freshet.scheduling import Ticker
from freshet.storage.leadership import SCHEDULER
from freshet.telemetry import Telemetry
from freshet.testing.servers import Server
from freshet.testing.twins.bus import BusTwin, FactReaderTwin, QueueWorkerTwin
from freshet.testing.twins.leadership import LeadershipTwin
from freshet.testing.twins.recording import Log, RecordingTwin
from freshet.testing.twins.redis import RedisTwin
from freshet.testing.twins.requests import RequestsTwin
from freshet.testing.twins.schedules import SchedulesTwin
from freshet.testing.twins.tables import Tables
from freshet_scheduler.service import LOOK, Scheduler

LONG = 1.5  # seconds that a blocked call may wait for what wakes it at once
HEARTBEAT = Heartbeat(
    worker="w", state="busy", busy_s=0, idle_s=0, wall_s=0, pid=1, hostname="h", queues=(), started_at=""
)


class Script:
    """A passage that notes what passes, fails where it is told to, and does something while others block."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self.failing: set[str] = set()
        self.meanwhile: Callable[[], object] = lambda: None
        self.woken = False  # the call that blocked last

    def enter(self, verb: str) -> None:
        self._pass(f"enter {verb}")

    def leave(self, verb: str) -> None:
        self._pass(f"leave {verb}")

    def block(self, verb: str, seconds: float, ready: Callable[[], bool]) -> bool:
        self.passed.append(f"block {verb} {seconds:g}")
        if not ready():
            self.meanwhile()
        self.woken = ready()
        return self.woken

    def _pass(self, step: str) -> None:
        self.passed.append(step)
        if step in self.failing:
            raise UnreachableError


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def server() -> RedisTwin:
    return RedisTwin(lambda: 0.0)


@pytest.fixture
def bus(server: RedisTwin, script: Script) -> BusTwin:
    return BusTwin(server, script)


def message(bundle: int) -> Message:
    return Message(queue="q", bundle_id=bundle)


# --- a server that is away, and one that comes back


def refusals(pipes: Pipes, worker: str) -> list[str]:
    """The verbs that are refused."""
    bus, reader = pipes.bus(), pipes.reader()
    verbs: dict[str, Callable[[], Any]] = {
        "ping": bus.ping,
        "publish": lambda: bus.publish([message(1)]),
        "depths": lambda: bus.depths(["q"]),
        "queued": lambda: bus.queued("q"),
        "wake": lambda: bus.wake("a"),
        "await_wake": lambda: bus.await_wake(["a"], seconds=0.01),
        "fresh": bus.fresh,
        "epoch": bus.epoch,
        "announce": lambda: bus.announce([(1, b"[]")]),
        "tail": lambda: bus.tail(seconds=0.01),
        "last_entry": bus.last_entry,
        "beat": lambda: bus.beat(HEARTBEAT, expires_s=3),
        "silence": lambda: bus.silence("w"),
        "join": lambda: bus.join("r", "n", expires_s=3),
        "leave": lambda: bus.leave("r", "n"),
        "heartbeats": bus.heartbeats,
        "request_stop": lambda: bus.request_stop(worker, 1),
        "request_kill": lambda: bus.request_kill(worker),
        "read": lambda: reader.read(seconds=0.01),
        "take_over": reader.take_over,
    }
    refused = []
    for name, verb in verbs.items():
        try:
            verb()
        except UnreachableError:
            refused.append(name)
    reader.acknowledge([])  # asks for nothing
    return [name for name in verbs if name not in refused]


def test_a_server_that_is_away_refuses_everything(server: RedisTwin, own_redis: Server) -> None:
    twin, real = TwinPipes(), RealPipes(own_redis.url)
    assert (twin.bus().fresh(), real.bus().fresh()) == (True, True)
    twin.server.down = True
    own_redis.kill()
    assert refusals(twin, "w") == refusals(real, "w") == []
    twin.server.restart()
    own_redis.start()
    assert (twin.bus().fresh(), real.bus().fresh()) == (True, True)
    real.close()


def test_a_restart_loses_the_newest_commands(server: RedisTwin, bus: BusTwin) -> None:
    bus.publish([message(1), message(2)])
    bus.wake("a")
    bus.publish([message(3)])
    server.down = True
    with pytest.raises(UnreachableError):
        bus.depths(["q"])
    server.restart(lose=2)
    assert bus.queued("q") == {1, 2}
    assert bus.await_wake(["a"], seconds=1) is None
    server.restart(lose=100)
    assert bus.queued("q") == set()


def test_a_restart_takes_back_reads_and_acknowledgements(server: RedisTwin, bus: BusTwin) -> None:
    reader = FactReaderTwin(server, group="g", consumer="c")
    reader.read()
    bus.announce([(1, b"[]")])
    reader.acknowledge(reader.read())
    server.restart(lose=2)
    assert [fact.outbox_id for fact in reader.read()] == [1]


def test_what_a_flush_took_does_not_come_back_with_a_restart(server: RedisTwin, bus: BusTwin) -> None:
    bus.wake("a")
    assert bus.await_wake(["a"], seconds=1) == "a"
    server.flush()
    server.restart(lose=1)
    assert bus.await_wake(["a"], seconds=1) is None


def test_what_was_done_together_is_lost_together(server: RedisTwin, bus: BusTwin) -> None:
    bus.request_stop("w", 4)
    assert bus.beat(HEARTBEAT, expires_s=3) == [4]
    server.restart(lose=1)
    assert bus.heartbeats() == {}
    assert bus.beat(HEARTBEAT, expires_s=3) == [4]


def test_a_worker_that_vanished_hears_nothing(server: RedisTwin, bus: BusTwin) -> None:
    heard: list[int] = []
    ended: list[str] = []
    worker = QueueWorkerTwin(server, name="w", queues=["q"], stop=heard.append, shutdown=lambda: ended.append("w"))
    worker.enter()
    bus.request_stop("w", 1)
    bus.request_kill("w")
    worker.vanish()
    bus.request_stop("w", 2)
    bus.request_kill("w")
    assert (heard, ended, worker.registered) == ([1], ["w"], True)


# --- what comes in between


def test_an_error_before_means_nothing_happened_and_one_after_that_it_did(bus: BusTwin, script: Script) -> None:
    script.failing = {"enter publish"}
    with pytest.raises(UnreachableError):
        bus.publish([message(1)])
    script.failing = {"leave publish"}
    with pytest.raises(UnreachableError):
        bus.publish([message(2)])
    assert bus.queued("q") == {2}
    assert script.passed == ["enter publish", "enter publish", "leave publish", "enter queued", "leave queued"]


def test_an_answer_that_was_lost_leaves_the_facts_pending(server: RedisTwin, bus: BusTwin, script: Script) -> None:
    reader = FactReaderTwin(server, script, group="g", consumer="c")
    reader.read()
    bus.announce([(1, b"[]")])
    script.failing = {"leave read"}
    with pytest.raises(UnreachableError):
        reader.read()
    script.failing = set()
    assert reader.read() == []
    server.clock = lambda: 10.0
    assert [fact.outbox_id for fact in reader.take_over()] == [1]


def test_nobody_blocks_longer_than_two_seconds(server: RedisTwin, bus: BusTwin, script: Script) -> None:
    bus.await_wake(["a"], seconds=60)
    bus.await_wake(["a"], seconds=0)
    FactReaderTwin(server, script, group="g", consumer="c").read(seconds=0.5)
    assert [step for step in script.passed if "block" in step] == [
        "block await_wake 2", "block await_wake 0.01", "block read 0.5",
    ]  # fmt: skip


def test_a_server_that_goes_away_ends_a_blocked_call(server: RedisTwin, bus: BusTwin, script: Script) -> None:
    script.meanwhile = lambda: setattr(server, "down", True)
    with pytest.raises(UnreachableError):
        bus.await_wake(["a"], seconds=1)
    assert script.woken


class Meanwhile:
    """A call that blocks, and what somebody does to it then."""

    def __init__(self, kind: str, redis: Callable[[], str]) -> None:
        self._script = Script()
        self.pipes: Pipes = TwinPipes() if kind == "twin" else RealPipes(redis())

    def bus(self) -> Bus:
        return self.pipes.bus()

    def run(self, call: Callable[[Any], Any], action: Callable[[Bus], object]) -> Any:
        """What the call answers; it is handed a bus, a reader or a worker that block."""
        if isinstance(self.pipes, TwinPipes):
            bus = self.pipes.bus()
            self._script.meanwhile = lambda: action(bus)
            answer = call(Blocked(self.pipes, self._script))
            assert self._script.woken
            return answer
        answers: SimpleQueue[Any] = SimpleQueue()
        thread = Thread(target=lambda: answers.put(call(Blocked(self.pipes, None))))
        thread.start()
        assert isinstance(self.pipes, RealPipes)
        while not self.pipes.client.info("clients")["blocked_clients"]:
            assert thread.is_alive()
        action(self.pipes.bus())
        thread.join(10)
        return answers.get(timeout=1)


class Blocked:
    """The parts whose calls block."""

    def __init__(self, pipes: Pipes, script: Script | None) -> None:
        name = f"w-{uuid4()}"
        if isinstance(pipes, TwinPipes):
            assert script is not None
            self.bus: Bus = BusTwin(pipes.server, script)
            self.reader: FactReader = FactReaderTwin(pipes.server, script, group="recorder", consumer="one")
            self.worker: Any = QueueWorkerTwin(pipes.server, script, name=name, queues=["q"], stop=lambda _bundle: None)
            return
        self.bus, self.reader = pipes.bus(), pipes.reader()
        self.worker = pipes.worker(name, ["q"], lambda _bundle: None)


@pytest.fixture(params=["twin", "real"])
def meanwhile(request: pytest.FixtureRequest, server_session: Any) -> Iterator[Meanwhile]:
    # A Redis of its own: who blocks there is told by a count over all of its databases.
    made = Meanwhile(request.param, lambda: str(request.getfixturevalue("own_redis").url))
    yield made
    made.pipes.close()


def test_a_wake_ends_the_wait(meanwhile: Meanwhile) -> None:
    assert meanwhile.run(lambda on: on.bus.await_wake(["a"], seconds=LONG), lambda bus: bus.wake("a")) == "a"


def test_a_message_ends_the_wait(meanwhile: Meanwhile) -> None:
    assert meanwhile.run(lambda on: on.worker.pop(seconds=LONG), lambda bus: bus.publish([message(7)])) == 7


def test_a_fact_ends_the_wait(meanwhile: Meanwhile) -> None:
    meanwhile.pipes.reader().read(seconds=0.01)
    facts = meanwhile.run(lambda on: on.reader.read(seconds=LONG), lambda bus: bus.announce([(5, b"[]")]))
    assert [fact.outbox_id for fact in facts] == [5]


def test_the_tail_goes_on_with_what_comes(meanwhile: Meanwhile) -> None:
    meanwhile.bus().announce([(1, b"[1]")])
    found = meanwhile.run(lambda on: on.bus.tail(seconds=LONG), lambda bus: bus.announce([(2, b"[2]")]))
    assert [body for _, body in found] == [b"[2]"]


def test_a_flush_interrupts_a_reader_and_its_group_is_made_again(meanwhile: Meanwhile) -> None:
    meanwhile.pipes.reader().read(seconds=0.01)
    meanwhile.bus().announce([(1, b"[]")])
    meanwhile.pipes.reader().read(seconds=0.01)
    assert meanwhile.run(lambda on: on.reader.read(seconds=LONG), lambda _bus: meanwhile.pipes.flush()) == []
    meanwhile.bus().announce([(2, b"[]")])
    assert [fact.outbox_id for fact in meanwhile.pipes.reader().read(seconds=0.01)] == [2]


# --- services on twins


class Service:
    def __init__(self, tables: Tables, server: RedisTwin, owner: str) -> None:
        self.clock, self.script = TurnedClock(), Script()
        self.bus = BusTwin(server, self.script)
        requests = RequestsTwin(tables)
        self.leadership = LeadershipTwin(tables, SCHEDULER, owner=owner)
        self.scheduler = Scheduler(
            ticker=Ticker(schedules=SchedulesTwin(tables), requests=requests), requests=requests,
            leadership=self.leadership, bus=self.bus, stop=Event(), clock=self.clock, draw=lambda: 0.5,
        )  # fmt: skip
        self.script.meanwhile = lambda: self.clock.turn(2.0)


def test_the_scheduler_runs_on_twins(server: RedisTwin) -> None:
    tables = Tables(lambda: datetime(2026, 11, 22, tzinfo=UTC))
    one, two = Service(tables, server, "one"), Service(tables, server, "two")
    made = one.scheduler.once()
    assert made.idle is not None
    made.idle()
    assert one.clock.monotonic() == LOOK
    assert two.scheduler.once().idle is None
    tables.end_session("one")
    assert two.scheduler.once().idle is not None
    with pytest.raises(UnreachableError):
        one.scheduler.once()


def test_the_recorder_runs_on_twins_over_a_flush(server: RedisTwin, bus: BusTwin) -> None:
    tables, clock = Tables(lambda: datetime(2026, 11, 22, tzinfo=UTC)), TurnedClock()
    telemetry = Telemetry("recorder", environ={})
    recorder = Recorder(
        reader=FactReaderTwin(server, group="recorder", consumer="one"), store=RecordingTwin(tables),
        measures=Measures(telemetry), clock=clock,
    )  # fmt: skip
    worker = b'[{"type":"freshet.worker.busy.v1","worker":"w"}]'
    assert [recorder.record_batch().entries for _ in range(2)] == [0, 0]  # the first look, and the group
    bus.announce([tables.announce(None, worker), tables.announce(None, worker)])
    assert recorder.record_batch().entries == 2
    bus.announce([tables.announce(None, worker)])
    server.flush()
    clock.turn(SWEEP_SILENT)
    tables.clock = lambda: datetime(2026, 11, 22, 1, tzinfo=UTC)
    assert recorder.record_batch().entries == 1
    assert (len(Log(tables).worker_times), tables.outbox) == (3, {})
    telemetry.close()
