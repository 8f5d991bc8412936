"""The embedded servers keep data through any crash, and never outlive whoever started them."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import redis
import rq

from freshet.domain.errors import ConflictError, FreshetError
from freshet.runtime.child import Child, Command
from freshet.runtime.embedded import EmbeddedServers, PostgresServer, places, start_servers
from freshet.runtime.embedded.servers import await_ready

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the death signal is Linux's")


@pytest.fixture
def data() -> Iterator[Path]:
    """A data directory outside pytest's closed one, so that Postgres can be run for root, too."""
    directory = Path(tempfile.mkdtemp(prefix="data-"))
    yield directory
    places.remove_sockets(directory)
    shutil.rmtree(directory)


@contextmanager
def _stores(servers: EmbeddedServers) -> Iterator[tuple[psycopg.Connection[tuple[object, ...]], redis.Redis]]:
    with (
        psycopg.connect(servers.database_url, autocommit=True) as session,
        redis.Redis.from_url(servers.redis_url) as cache,
    ):
        yield session, cache


def _write(servers: EmbeddedServers) -> None:
    with _stores(servers) as (session, cache):
        session.execute("create table kept (word text)")
        session.execute("insert into kept values ('yes')")
        cache.set("kept", "yes")


def _assert_kept(servers: EmbeddedServers) -> None:
    with _stores(servers) as (session, cache):
        assert session.execute("select word from kept").fetchall() == [("yes",)]
        assert cache.get("kept") == b"yes"


def test_data_outlives_a_restart_and_the_stores_are_safe(data: Path) -> None:
    with start_servers(data) as servers:
        _write(servers)
        with _stores(servers) as (session, cache):
            shown = session.execute("select current_setting('fsync'), current_setting('listen_addresses')")
            assert shown.fetchone() == ("on", "")
            assert cache.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert cache.config_get("appendonly") == {"appendonly": "yes"}
    assert servers.postgres.exit_code() == 0
    assert servers.redis.exit_code() == 0
    assert not Path(servers.redis_url.removeprefix("unix://").partition("?")[0]).parent.exists()
    with start_servers(data) as servers:
        _assert_kept(servers)


def test_rq_takes_the_url(data: Path) -> None:
    with start_servers(data) as servers, redis.Redis.from_url(servers.redis_url) as cache:
        queue = rq.Queue("some", connection=cache)
        job = queue.enqueue("time.time")
        assert queue.job_ids == [job.id]


HOLDER = """
import sys, time
from pathlib import Path
from freshet.runtime.embedded import start_servers
with start_servers(Path(sys.argv[1])) as servers:
    print(servers.postgres.pid, servers.redis.pid, servers.database_url, servers.redis_url, flush=True)
    time.sleep(120)
"""


@contextmanager
def _holder(data: Path) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(data)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        said = holder.stdout.readline().split()
        watches = [os.pidfd_open(int(pid)) for pid in said[:2]]
        yield holder, said
        holder.kill()
        for watch in watches:
            assert select.select([watch], [], [], 20)[0], "a server outlived its holder"
            os.close(watch)


@linux
def test_servers_die_with_a_killed_holder_and_a_new_one_recovers(data: Path) -> None:
    with _holder(data) as (_, (_, _, database_url, redis_url)):
        with psycopg.connect(database_url, autocommit=True) as session:
            session.execute("create table kept (word text)")
            session.execute("insert into kept values ('yes')")
        with redis.Redis.from_url(redis_url) as cache:
            cache.set("kept", "yes")
    with start_servers(data) as servers:
        assert servers.database_url == database_url
        _assert_kept(servers)


@pytest.mark.parametrize("server", ["postgres", "redis"])
def test_a_killed_server_comes_back_with_its_data(data: Path, server: str) -> None:
    with start_servers(data) as servers:
        _write(servers)
        child: Child = getattr(servers, server)
        os.kill(child.pid, signal.SIGKILL)
        assert child.wait(20)
    with start_servers(data) as servers:
        _assert_kept(servers)


def test_a_pid_that_was_given_out_again_blocks_nothing(data: Path) -> None:
    with start_servers(data) as servers:
        _write(servers)
        file = data / "postgres" / "postmaster.pid"
        stale = file.read_text()
        os.kill(servers.postgres.pid, signal.SIGKILL)
        servers.postgres.wait(20)
    innocent = subprocess.Popen(["sleep", "120"])
    try:
        file.write_text("\n".join([str(innocent.pid), *stale.splitlines()[1:], ""]))
        with start_servers(data) as servers:
            _assert_kept(servers)
        assert innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()


def test_a_half_made_cluster_is_made_again(data: Path) -> None:
    (data / "postgres.new").mkdir()
    (data / "postgres.new" / "PG_VERSION").write_text("18\n")
    with start_servers(data) as servers, psycopg.connect(servers.database_url) as session:
        assert session.execute("select 1").fetchone() == (1,)


@linux
def test_a_second_holder_is_refused_with_the_pid_of_the_first(data: Path) -> None:
    with (
        _holder(data) as (holder, _),
        pytest.raises(ConflictError, match=rf"pid {holder.pid}\) uses"),
        start_servers(data),
    ):
        pass


def test_socket_paths_are_short_however_long_the_directory(data: Path) -> None:
    deep = data / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    place = places.socket_directory(deep, None)
    assert len(bytes(place / ".s.PGSQL.5432")) <= places.MAX_SOCKET_BYTES
    assert place == places.socket_directory(deep, None)
    assert place.stat().st_mode & 0o077 == 0
    place.rmdir()


def test_a_socket_directory_that_others_can_enter_is_not_used(data: Path) -> None:
    place = places.socket_directory(data, None)
    place.chmod(0o777)
    other = places.socket_directory(data, None)
    assert other != place
    place.rmdir()
    other.rmdir()


def test_a_server_that_fails_shows_the_end_of_its_log(data: Path) -> None:
    class Broken(PostgresServer):
        def command(self) -> Command:
            return Command(argv=(sys.executable, "-c", "import sys; sys.exit('no room left')"))

    broken = Broken(data)
    with pytest.raises(FreshetError, match="no room left"):
        await_ready(broken, Child(broken.command(), data / "broken.log"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root must become another account")
def test_root_keeps_a_cluster_that_the_account_can_walk_to(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below a closed home the cluster lives elsewhere, behind a symlink; the home stays closed."""
    monkeypatch.setattr(places, "REFUGE", data / "refuge")
    data.chmod(0o755)
    home = data / "home"
    home.mkdir(mode=0o700)
    directory = home / "project" / ".freshet"
    directory.mkdir(parents=True)
    for _ in range(2):
        with start_servers(directory) as servers, psycopg.connect(servers.database_url) as session:
            assert session.execute("select 1").fetchone() == (1,)
    assert (directory / "postgres").is_symlink()
    assert len(list((data / "refuge").glob("tmp*"))) == 1
    assert home.stat().st_mode & 0o777 == 0o700


def test_a_child_is_stopped_in_order_and_killed_when_it_will_not(data: Path) -> None:
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    log = data / "stubborn.log"
    child = Child(Command(argv=(sys.executable, "-c", stubborn)), log)
    deadline = threading.Event()
    while not log.read_text():
        deadline.wait(0.01)
    child.stop(0.05)
    assert child.exit_code() == -signal.SIGKILL


def test_a_child_is_asked_to_stop_once(data: Path) -> None:
    """A service takes the second signal as "at once", and would not drain."""
    patient = (
        "import signal, time\n"
        "def end(*_):\n"
        "    signal.signal(15, signal.SIG_DFL)\n"
        "    time.sleep(0.3)\n"
        "    raise SystemExit(0)\n"
        "signal.signal(15, end)\n"
        "print('up', flush=True)\n"
        "time.sleep(60)\n"
    )
    log = data / "patient.log"
    child = Child(Command(argv=(sys.executable, "-c", patient)), log)
    deadline = threading.Event()
    while not log.read_text():
        deadline.wait(0.01)
    child.ask_to_stop()
    child.stop(20.0)
    assert child.exit_code() == 0
