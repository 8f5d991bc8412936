"""Ended jobs keep their names for a while: by the clock, and no more of them than a poll can show."""

from typing import Any
from uuid import UUID

import pytest

from freshet.domain.errors import UnreachableError
from freshet.execution import reaper
from freshet.execution.job_service import job_name
from freshet.execution.reaper import Reaper
from freshet.runtime.clock import TurnedClock
from freshet.snowflake import JobRow, JobStatus, SnowflakeRefusedError

KEEP = 600.0


class Account:
    """Snowflake and the rows, as a reaper sees them."""

    def __init__(self) -> None:
        self.shown: dict[str, JobStatus] = {}
        self.owned: list[dict[str, Any]] = []
        self.refuses = False
        self.asked = 0

    def job(self, number: int, status: JobStatus = JobStatus.DONE) -> str:
        name = job_name("I", UUID(int=number), "t", "", 1)
        self.shown[name] = status
        return name

    def own(self, number: int) -> None:
        row = {"run_id": UUID(int=number), "task": "t", "index_path": "", "mapped": False, "attempt": 1}
        self.owned.append(row)

    def rows(self) -> list[JobRow]:
        return [JobRow(name=name, status=status, compute_pool="P") for name, status in self.shown.items()]

    def job_owners(self, _runs: object) -> list[dict[str, Any]]:
        self.asked += 1
        return self.owned

    def cancel(self, name: str) -> None:
        self.shown[name] = JobStatus.CANCELLING

    def drop(self, name: str) -> None:
        if self.refuses:
            raise SnowflakeRefusedError("no")
        del self.shown[name]


@pytest.fixture
def account() -> Account:
    return Account()


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def sut(account: Account, clock: TurnedClock) -> Reaper:
    return Reaper(account, store=account, installation=lambda: "I", clock=clock, keep=KEEP)  # type: ignore[arg-type]


def test_a_job_that_ended_is_dropped_when_its_time_is_up_and_not_before(
    account: Account, clock: TurnedClock, sut: Reaper
) -> None:
    account.job(1)
    assert (sut.reap(account.rows()), sut.kept) == (0, 1)
    clock.turn(KEEP - 1)
    assert (sut.reap(account.rows()), sut.kept) == (0, 1)
    clock.turn(1)
    assert (sut.reap(account.rows()), sut.kept, account.shown) == (1, 0, {})
    assert account.asked == 1  # whose it is was asked once


def test_a_job_that_runs_and_is_nobodys_is_stopped_once_and_then_kept(account: Account, sut: Reaper) -> None:
    name = account.job(1, JobStatus.RUNNING)
    assert sut.reap(account.rows()) == 1
    assert sut.reap(account.rows()) == 0
    account.shown[name] = JobStatus.CANCELLED
    assert (sut.reap(account.rows()), sut.kept) == (0, 1)


def test_the_job_of_an_attempt_that_goes_on_is_left_alone(account: Account, clock: TurnedClock, sut: Reaper) -> None:
    account.job(1, JobStatus.RUNNING)
    account.job(2)
    account.own(1)
    account.own(2)
    assert (sut.reap(account.rows()), sut.kept) == (0, 0)
    clock.turn(2 * KEEP)
    assert (sut.reap(account.rows()), len(account.shown)) == (0, 2)


def test_of_too_many_the_oldest_are_dropped_early(
    account: Account, sut: Reaper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper, "KEPT_AT_MOST", 3)
    oldest = account.job(1)
    sut.reap(account.rows())
    for number in (2, 3, 4):
        account.job(number)
    sut.reap(account.rows())
    assert (sut.reap(account.rows()), sut.kept, oldest in account.shown) == (1, 3, False)


def test_a_refused_drop_is_tried_again_as_late_as_the_first(account: Account, clock: TurnedClock, sut: Reaper) -> None:
    account.job(1)
    account.refuses = True
    sut.reap(account.rows())
    clock.turn(KEEP)
    assert (sut.reap(account.rows()), sut.reap(account.rows()), sut.kept) == (0, 0, 1)
    account.refuses = False
    clock.turn(KEEP)
    assert (sut.reap(account.rows()), account.shown) == (1, {})


def test_what_somebody_else_dropped_is_forgotten(account: Account, sut: Reaper) -> None:
    account.job(1)
    sut.reap(account.rows())
    account.shown.clear()
    assert (sut.reap(account.rows()), sut.kept) == (0, 0)


def looking(account: Account, clock: TurnedClock, look: Any) -> Reaper:
    return Reaper(
        account,  # type: ignore[arg-type]
        store=account,  # type: ignore[arg-type]
        installation=lambda: "I",
        clock=clock,
        keep=KEEP,
        last_look=look,
    )


def test_each_job_that_ended_is_looked_at_once_and_a_bounded_number_in_a_turn(
    account: Account, clock: TurnedClock
) -> None:
    seen: list[str] = []
    sut = looking(account, clock, lambda job: seen.append(job.name))
    names = {account.job(number) for number in range(reaper.LAST_LOOKS + 1)}
    sut.reap(account.rows())
    assert len(seen) == sut.kept == reaper.LAST_LOOKS
    for _ in range(2):
        sut.reap(account.rows())
    assert (len(seen), set(seen)) == (len(names), names)


def test_a_look_that_always_fails_holds_up_nobody_and_is_given_up(account: Account, clock: TurnedClock) -> None:
    def look(_job: JobRow) -> None:
        raise UnreachableError("the log can't be read")

    sut = looking(account, clock, look)
    account.job(1)
    running = account.job(2, JobStatus.RUNNING)
    for tries in range(reaper.LOOK_TRIES):
        with pytest.raises(UnreachableError):
            sut.reap(account.rows())
        assert (account.shown[running], tries, sut.kept) == (JobStatus.CANCELLING, tries, 0)
    sut.reap(account.rows())
    assert sut.kept == 1
