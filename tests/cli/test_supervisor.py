"""The supervisor's pass: starting, restarting with back-off, readiness, stopping in order."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from freshet.cli.failures import StartError
from freshet.cli.supervisor import STEADY, Supervisor, Unit
from freshet.runtime.child import Command
from freshet.runtime.clock import TurnedClock

WAITS = "import pathlib, signal, sys; pathlib.Path(sys.argv[1]).touch(); signal.pause()"


@dataclass(kw_only=True)
class Script:
    """A program that serves once it has made its file."""

    name: str
    file: Path
    code: str = WAITS

    def command(self) -> Command:
        self.file.unlink(missing_ok=True)
        return Command(argv=(sys.executable, "-c", self.code, str(self.file)))

    def ready(self, pid: int) -> bool:
        return self.file.exists()


@dataclass(kw_only=True)
class Bench:
    supervisor: Supervisor
    clock: TurnedClock
    said: list[str]
    directory: Path

    def add(self, name: str, code: str = WAITS) -> Unit:
        self.supervisor.add([Script(name=name, file=self.directory / name, code=code)])
        return self.supervisor.units[-1]

    def until_ready(self, unit: Unit) -> None:
        while not unit.ready:
            self.supervisor.once()

    def until_ended(self, unit: Unit) -> None:
        assert unit.child is not None
        assert unit.child.wait(20)
        self.supervisor.once()

    def kill(self, unit: Unit) -> int:
        assert unit.child is not None
        pid = unit.child.pid
        os.kill(pid, signal.SIGKILL)
        self.until_ended(unit)
        return pid


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    said: list[str] = []
    clock = TurnedClock()
    supervisor = Supervisor(logs=tmp_path, clock=clock, say=said.append)
    yield Bench(supervisor=supervisor, clock=clock, said=said, directory=tmp_path)
    supervisor.kill()


def test_a_program_that_ends_is_started_again_after_the_back_off(bench: Bench) -> None:
    unit = bench.add("worker-1")
    bench.until_ready(unit)
    pid = bench.kill(unit)
    assert unit.child is None
    assert bench.said == ["worker-1 ended with code -9 and is started again."]
    bench.clock.turn(0.19)
    bench.supervisor.once()
    assert unit.child is None
    bench.clock.turn(0.02)
    bench.supervisor.once()
    bench.until_ready(unit)
    assert bench.supervisor.pids()["worker"] != [pid]


def test_the_back_off_grows_and_is_forgotten_after_steady_running(bench: Bench) -> None:
    unit = bench.add("worker-1")
    delays = []
    for steady in (0.0, 0.0, 0.0, STEADY):
        bench.until_ready(unit)
        bench.clock.turn(steady)
        bench.kill(unit)
        delays.append(round(unit.due - bench.clock.monotonic(), 3))
        bench.clock.turn(6)
        bench.supervisor.once()
    assert delays == [0.2, 0.4, 0.8, 0.2]


def test_becoming_ready_is_told_once(bench: Bench) -> None:
    unit = bench.add("api")
    told = 0
    while not unit.ready:
        told += bench.supervisor.once().did
    assert told == 1
    assert bench.supervisor.once().did == 0
    assert bench.supervisor.waiting() == []


def test_nothing_is_due_while_all_serve(bench: Bench) -> None:
    unit = bench.add("api")
    bench.until_ready(unit)
    assert bench.supervisor.once().wait == 60.0


def test_a_start_that_fails_again_and_again_shows_the_log(bench: Bench) -> None:
    unit = bench.add("recorder", "raise SystemExit('no room left')")
    for _ in range(3):
        bench.supervisor.check_start(3)
        bench.until_ended(unit)
        bench.clock.turn(6)
        if unit.failures < 3:
            bench.supervisor.once()
    with pytest.raises(StartError, match=r"(?s)recorder does not start.*no room left"):
        bench.supervisor.check_start(3)


def test_refused_settings_are_not_tried_again(bench: Bench) -> None:
    unit = bench.add("recorder", "import sys; sys.stderr.write('FRESHET_X is wrong'); sys.exit(2)")
    bench.until_ended(unit)
    with pytest.raises(StartError, match="FRESHET_X is wrong"):
        bench.supervisor.check_start(3)


def test_workers_are_one_service_with_a_pid_each(bench: Bench) -> None:
    units = [bench.add("worker-1"), bench.add("worker-2"), bench.add("api")]
    pids = bench.supervisor.pids()
    assert pids == {
        "worker": [unit.child.pid for unit in units[:2] if unit.child],
        "api": [units[2].child.pid] if units[2].child else [],
    }


def test_everything_is_stopped_in_the_order_given(bench: Bench) -> None:
    note = (
        "import pathlib, signal, sys\n"
        "def end(*_):\n"
        "    with open(pathlib.Path(sys.argv[1]).parent / 'order', 'a') as stream:\n"
        "        stream.write(pathlib.Path(sys.argv[1]).name + ' ')\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "pathlib.Path(sys.argv[1]).touch()\n"
        "signal.pause()\n"
    )
    units = [bench.add(name, note) for name in ("postgres", "dispatcher", "worker-1", "other")]
    for unit in units:
        bench.until_ready(unit)
    bench.supervisor.stop([(frozenset({name}), 20.0) for name in ("worker", "dispatcher", "postgres")])
    assert (bench.directory / "order").read_text().split() == ["worker-1", "dispatcher", "postgres", "other"]
    assert bench.supervisor.pids() == {}
