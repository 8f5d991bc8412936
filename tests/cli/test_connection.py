"""How a client finds the newest `up`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from freshet.cli import connection
from freshet.cli.connection import Connection
from freshet.runtime.lock import locked


@pytest.fixture(autouse=True)
def _state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def _publish(directory: Path, url: str) -> None:
    found = Connection(url=url, token="t", database_url="d", redis_url="r", pids={"worker": [1, 2]})
    connection.write(found, directory)
    connection.register(directory)


def test_the_file_has_the_keys_of_the_contract_and_is_the_users_alone(tmp_path: Path) -> None:
    _publish(tmp_path, "http://a")
    path = tmp_path / "connection.json"
    assert connection.read(tmp_path) == Connection(
        url="http://a", token="t", database_url="d", redis_url="r", pids={"worker": [1, 2]}
    )
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []


def test_the_newest_living_up_is_found(tmp_path: Path) -> None:
    seen: set[Path] = set()
    directories = [tmp_path / name for name in ("older", "newer", "dead")]
    for age, directory in enumerate(directories):
        directory.mkdir()
        _publish(directory, f"http://{directory.name}")
        (entry,) = _entries() - seen
        os.utime(entry, (age, age))
        seen.add(entry)
    older, newer, _ = directories
    with locked(older):
        with locked(newer):
            assert _url() == "http://newer"
        assert _url() == "http://older"
    assert _url() is None


def _entries() -> set[Path]:
    return set(connection.register_directory().glob("*.json"))


def _url() -> str | None:
    found = connection.newest()
    return found and found.url


def test_a_registered_directory_that_is_gone_is_ignored(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    _publish(directory, "http://a")
    (directory / "connection.json").unlink()
    with locked(directory):
        assert connection.newest() is None
    shutil.rmtree(directory)
    assert connection.newest() is None


def test_what_ends_is_taken_back(tmp_path: Path) -> None:
    _publish(tmp_path, "http://a")
    connection.remove(tmp_path)
    assert connection.read(tmp_path) is None
    assert _entries() == set()
