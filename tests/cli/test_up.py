"""`freshet up` for real: one process tree that comes back, is found, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.xdist_group("up"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the death signal and pidfds are Linux's"),
]

FRESHET = Path(sys.executable).with_name("freshet")
SERVICES = {"postgres", "redis", "emulator", "api", "dispatcher", "scheduler", "recorder", "worker"}
DEADLINE = 90.0  # seconds for any one thing, on a machine that is busy with other tests


@dataclass(kw_only=True)
class Place:
    """A data directory, the user's state directory, and the environment of commands."""

    data: Path
    env: dict[str, str]

    @classmethod
    def beside(cls, other: Place, name: str, **settings: str) -> Place:
        """Another installation of another user's, as far as the register goes."""
        state = str(other.data.parent / f"{name}-state")
        return cls(data=other.data.parent / name, env={**other.env, "XDG_STATE_HOME": state, **settings})

    def said(self) -> str | None:
        """The text of the connection file."""
        file = self.data / "connection.json"
        return file.read_text() if file.exists() else None

    def connection(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.data / "connection.json").read_text())
        return found

    def freshet(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [FRESHET, *arguments], env=self.env, capture_output=True, text=True, check=False, timeout=DEADLINE
        )

    @contextmanager
    def up(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        left = self.said()  # by one that was killed
        with subprocess.Popen(
            [FRESHET, "up", "--port", "0", "--workers", "1", "--data", str(self.data), *arguments],
            env=self.env,
            cwd=self.data.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                await_that(lambda: self.said() not in {None, left} or process.poll() is not None)
                if process.poll() is not None:
                    assert process.stdout is not None
                    pytest.fail(process.stdout.read())
                yield process
            finally:
                process.terminate()


def await_that(holds: Callable[[], object]) -> None:
    """Look until it holds; a condition in other processes has nothing to wait on."""
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@contextmanager
def _watching(pids: list[int]) -> Iterator[Callable[[], None]]:
    """Yields what waits until all have ended."""
    watches = [os.pidfd_open(pid) for pid in pids]

    def await_all() -> None:
        for pid, watch in zip(pids, watches, strict=True):
            assert select.select([watch], [], [], DEADLINE)[0], f"process {pid} goes on"

    yield await_all
    for watch in watches:
        os.close(watch)


def _all(pids: dict[str, list[int]]) -> list[int]:
    return [pid for each in pids.values() for pid in each]


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    root = Path(tempfile.mkdtemp(prefix="up-"))
    root.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FRESHET_")}
    yield Place(data=root / "data", env={**kept, "XDG_STATE_HOME": str(root / "state")})
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def running(place: Place) -> Iterator[subprocess.Popen[str]]:
    with place.up() as process:
        yield process


@pytest.mark.usefixtures("running")
def test_the_connection_file_has_the_contracts_shape_and_is_private(place: Place) -> None:
    found = place.connection()
    assert set(found) == {"url", "token", "database_url", "redis_url", "pids"}
    assert set(found["pids"]) == SERVICES
    assert all(len(pids) == 1 for pids in found["pids"].values())
    assert (place.data / "connection.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("running")
def test_the_cli_finds_the_newest_up(place: Place) -> None:
    done = place.freshet("workers", "--json")
    assert done.returncode == 0, done.stderr
    assert [worker["pid"] for worker in json.loads(done.stdout)] == place.connection()["pids"]["worker"]


def test_a_second_up_on_the_same_data_is_refused(place: Place, running: subprocess.Popen[str]) -> None:
    before = place.connection()
    done = place.freshet("up", "--port", "0", "--data", str(place.data))
    assert done.returncode == 2
    assert f"Another freshet (pid {running.pid}) uses" in done.stderr
    assert place.connection() == before


@pytest.mark.usefixtures("running")
def test_a_port_in_use_is_refused_before_anything_starts(place: Place) -> None:
    port = place.connection()["url"].rpartition(":")[2]
    other = place.data.parent / "other"
    done = place.freshet("up", "--port", port, "--data", str(other))
    assert done.returncode == 2
    assert f"port {port}" in done.stderr
    assert "--port" in done.stderr
    assert not (other / "postgres").exists()


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize("service", ["scheduler", "api", "redis", "postgres", "worker"])
def test_a_killed_service_comes_back_and_the_file_follows(place: Place, service: str) -> None:
    before = place.connection()
    (pid,) = before["pids"][service]
    os.kill(pid, signal.SIGKILL)
    await_that(lambda: place.connection()["pids"].get(service, [pid]) != [pid])
    after = place.connection()
    assert {key: after[key] for key in after if key != "pids"} == {key: before[key] for key in before if key != "pids"}
    await_that(lambda: place.freshet("workers", "--json").returncode == 0)


WORKFLOW = "name: kept\nparams: {n: {type: integer, default: 1}}\ntasks: {one: {python: {text: 'print(1)'}}}\n"


def test_a_killed_up_leaves_no_process_and_the_next_one_goes_on_with_its_data(place: Place, tmp_path: Path) -> None:
    data = Place.beside(place, "killed")
    (tmp_path / "kept.yaml").write_text(WORKFLOW)
    with data.up() as process:
        done = data.freshet("apply", str(tmp_path / "kept.yaml"))
        assert done.returncode == 0, done.stderr
        with _watching(_all(data.connection()["pids"])) as await_end:
            process.kill()
            await_end()
    assert "freshet up" in data.freshet("workers").stderr
    with data.up():
        done = data.freshet("run", "kept", "--wait", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["tasks"]["one"]["result"] == 1


def test_a_terminated_up_stops_everything_and_takes_its_connection_back(place: Place) -> None:
    data = Place.beside(place, "stopped")
    with data.up() as process:
        found = data.connection()
        sockets = Path(found["redis_url"].removeprefix("unix://").partition("?")[0]).parent
        with _watching(_all(found["pids"])) as await_end:
            process.send_signal(signal.SIGTERM)
            await_end()
        assert process.wait(DEADLINE) == 0
    assert not (data.data / "connection.json").exists()
    assert not sockets.exists()
    log = (data.data / "logs" / "scheduler.log").read_text()
    assert json.loads(log.splitlines()[-1])["event"] == "service_stopped"


def test_wrong_settings_end_the_start_with_their_sentence(place: Place) -> None:
    wrong = Place.beside(place, "wrong", FRESHET_LEASE="soon")
    done = wrong.freshet("up", "--port", "0", "--data", str(wrong.data))
    assert done.returncode == 1
    assert "FRESHET_LEASE has a wrong value" in done.stderr
    assert not (wrong.data / "connection.json").exists()


def test_modules_of_processes_that_do_not_exist_end_the_start(place: Place) -> None:
    wrong = Place.beside(place, "modules")
    done = wrong.freshet("up", "--port", "0", "--data", str(wrong.data), "--processes", "nowhere.to.be.found")
    assert done.returncode == 1
    assert "nowhere" in done.stderr
