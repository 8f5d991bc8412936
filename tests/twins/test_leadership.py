"""Who leads, said of the real lock and of its twin."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Protocol

import pytest

from freshet.domain.errors import UnreachableError
from freshet.storage.database import Database
from freshet.storage.leadership import SCHEDULER, WATCHER, Leadership
from freshet.testing.twins.leadership import LeadershipTwin
from freshet.testing.twins.tables import Tables

CUT = (
    "select pg_terminate_backend(pid) from pg_stat_activity"
    " where application_name = %s and datname = current_database() and pid <> pg_backend_pid()"
)
DEADLINE = 10.0  # seconds


class Electorate(Protocol):
    def candidate(self, owner: str, key: int = SCHEDULER) -> Leadership: ...
    def cut(self, owner: str) -> None: ...


class TwinElectorate:
    def __init__(self) -> None:
        self.tables = Tables(lambda: datetime(2026, 11, 22, tzinfo=UTC))

    def candidate(self, owner: str, key: int = SCHEDULER) -> Leadership:
        return LeadershipTwin(self.tables, key, owner=owner)

    def cut(self, owner: str) -> None:
        self.tables.end_session(owner)


class RealElectorate:
    def __init__(self, url: str) -> None:
        self.url = url
        self.made: list[Leadership] = []

    def candidate(self, owner: str, key: int = SCHEDULER) -> Leadership:
        self.made.append(Leadership(Database(self.url, name=owner), key))
        return self.made[-1]

    def cut(self, owner: str) -> None:
        database = Database(self.url, name="test")
        with database.session() as session:
            session.execute(CUT, [f"freshet {owner}"])
        database.close()

    def close(self) -> None:
        for each in self.made:
            each.resign()


@pytest.fixture(params=["twin", "real"])
def electorate(request: pytest.FixtureRequest) -> Iterator[Electorate]:
    if request.param == "twin":
        yield TwinElectorate()
        return
    real = RealElectorate(request.getfixturevalue("database"))
    yield real
    real.close()


def wins(candidate: Leadership) -> bool:
    """Whether it comes to lead: the server needs a moment to see that a session has ended."""
    until = time.monotonic() + DEADLINE
    while not candidate.campaign() and time.monotonic() < until:
        pass
    return candidate.leads


def loses(candidate: Leadership) -> bool:
    """Whether it is told that its session is gone."""
    until = time.monotonic() + DEADLINE
    while time.monotonic() < until:
        try:
            candidate.campaign()
        except UnreachableError:
            return not candidate.leads
    return False


def test_one_leads_until_it_resigns(electorate: Electorate) -> None:
    one, two = electorate.candidate("one"), electorate.candidate("two")
    assert [one.campaign(), two.campaign(), one.campaign(), two.leads] == [True, False, True, False]
    one.resign()
    assert not one.leads
    assert wins(two)
    assert not one.campaign()


def test_each_service_has_a_leader_of_its_own(electorate: Electorate) -> None:
    one, two = electorate.candidate("one"), electorate.candidate("two", WATCHER)
    assert one.campaign()
    assert two.campaign()


def test_the_lock_goes_with_the_process_that_held_it(electorate: Electorate) -> None:
    one, two = electorate.candidate("one"), electorate.candidate("two")
    assert one.campaign()
    electorate.cut("one")
    assert wins(two)
    assert loses(one)
    assert not one.campaign()


def test_a_standby_whose_session_was_cut_campaigns_again(electorate: Electorate) -> None:
    one, two = electorate.candidate("one"), electorate.candidate("two")
    assert one.campaign()
    assert not two.campaign()
    electorate.cut("two")
    assert loses(two)
    assert not two.campaign()
    one.resign()
    assert wins(two)
    one.resign()
    one.resign()
