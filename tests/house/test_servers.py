"""The servers that tests run on keep the promises that tests rely on."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import redis as redis_client

from freshet.testing import servers
from freshet.testing.servers import Server


def _ping(url: str) -> bool:
    with redis_client.Redis.from_url(url) as client:
        return bool(client.ping())


def test_two_databases_of_one_server_share_nothing(postgres_url: str, empty_database: str) -> None:
    with psycopg.connect(empty_database) as connection:
        connection.execute("CREATE TABLE mine (id int)")
    other = servers.create_database(postgres_url, f"test_{os.urandom(8).hex()}")
    with psycopg.connect(other) as connection:
        assert connection.execute("SELECT to_regclass('mine')").fetchone() == (None,)
    servers.drop_database(postgres_url, servers.database_name(other))


def test_the_template_is_migrated_once(postgres_url: str, server_session: servers.Session, tmp_path: Path) -> None:
    session = servers.Session(directory=tmp_path, lock=None)
    calls: list[str] = []

    def migrate(url: str) -> None:
        calls.append(url)
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE made (id int)")

    urls = [servers.migrated_database(session, postgres_url, migrate) for _ in range(2)]
    for url in urls:
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT count(*) FROM made").fetchone() == (0,)
    for url in [*urls, *calls]:
        servers.drop_database(postgres_url, servers.database_name(url))
    assert len(calls) == 1


def test_a_redis_database_comes_empty(redis: str) -> None:
    with redis_client.Redis.from_url(redis) as client:
        assert client.dbsize() == 0
        client.set("left", "behind")
    servers.flush_redis(redis)
    with redis_client.Redis.from_url(redis) as client:
        assert client.dbsize() == 0


def test_flushing_one_redis_database_leaves_the_others(redis: str, redis_url: str) -> None:
    other = servers.with_redis_database(redis_url, 120)
    with redis_client.Redis.from_url(other) as client:
        client.set("kept", "1")
        servers.flush_redis(redis)
        assert client.get("kept") == b"1"
        client.flushdb()


def test_a_killed_redis_is_gone_and_comes_back_empty_under_its_address(own_redis: Server) -> None:
    with redis_client.Redis.from_url(own_redis.url) as client:
        client.set("lost", "1")
    own_redis.kill()
    with pytest.raises(redis_client.ConnectionError):
        _ping(own_redis.url)
    own_redis.start()
    with redis_client.Redis.from_url(own_redis.url) as client:
        assert client.get("lost") is None


def test_a_killed_postgres_keeps_what_was_committed(own_postgres: Server) -> None:
    with psycopg.connect(own_postgres.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS id")
    own_postgres.kill()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(own_postgres.url)
    own_postgres.start()
    with psycopg.connect(own_postgres.url) as connection:
        assert connection.execute("SELECT id FROM kept").fetchone() == (1,)


def test_a_paused_postgres_keeps_its_sessions(own_postgres: Server) -> None:
    with psycopg.connect(own_postgres.url, autocommit=True) as connection:
        own_postgres.pause()
        own_postgres.resume()
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_crashed_session_is_cleaned_up_by_the_next(tmp_path: Path) -> None:
    crashing = """
import os, signal
from freshet.testing import servers
session = servers.open_session()
print(servers.shared_redis(session), session.directory, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = {key: value for key, value in os.environ.items() if key != servers.SESSION_VARIABLE}
    environment |= {"TMPDIR": str(tmp_path), servers.CHOICE_VARIABLE: "embedded"}
    environment.pop(servers.REDIS_VARIABLE, None)
    crashed = subprocess.run(
        [sys.executable, "-c", crashing], env=environment, capture_output=True, text=True, check=False
    )
    url, directory = crashed.stdout.split()
    assert _ping(url)

    following = "from freshet.testing import servers; servers.close_session(servers.open_session())"
    subprocess.run([sys.executable, "-c", following], env=environment, check=True)

    assert not Path(directory).exists()
    with pytest.raises(redis_client.ConnectionError):
        _ping(url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://postgres@/postgres?host=/tmp/x", "postgresql://postgres@/other?host=/tmp/x"),
        ("postgresql://u:p@localhost:5432/a", "postgresql://u:p@localhost:5432/other"),
    ],
)
def test_a_database_url_keeps_everything_but_the_name(url: str, expected: str) -> None:
    assert servers.with_database(url, "other") == expected
    assert servers.database_name(expected) == "other"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("unix:///tmp/r.sock", "unix:///tmp/r.sock?db=3"),
        ("redis://localhost:6379", "redis://localhost:6379/3"),
    ],
)
def test_a_redis_url_takes_a_database_number(url: str, expected: str) -> None:
    assert servers.with_redis_database(url, 3) == expected


def test_an_unknown_choice_of_servers_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(servers.CHOICE_VARIABLE, "podman")
    monkeypatch.delenv(servers.REDIS_VARIABLE, raising=False)
    with pytest.raises(ValueError, match="say docker or embedded"):
        servers.shared_redis(servers.Session(directory=tmp_path, lock=None))
