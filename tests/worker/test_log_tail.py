"""Reading logs while jobs run: a bounded number a turn, everybody in turn, and whoever prints fast the sooner."""

from typing import Any
from uuid import UUID

import pytest

from freshet.execution.log_tail import LIVELY, READS, SLOWEST, LogTail
from freshet.execution.log_window import WINDOW
from freshet.runtime.clock import TurnedClock
from freshet.snowflake import SnowflakeRefusedError
from freshet.storage.worker_store import JobLog, KeptLog, LogPart


class Account:
    """Snowflake and the rows, as a tail sees them."""

    def __init__(self) -> None:
        self.printed: dict[str, str] = {}
        self.asked: list[str] = []
        self.kept: dict[str, list[str]] = {}
        self.refuses = False

    def watch(self, number: int) -> dict[str, Any]:
        name = f"J{number}"
        self.printed.setdefault(name, "")
        place = {"run_id": UUID(int=number), "task": "t", "index_path": "", "mapped": False}
        return {"id": number, "job_name": name, "attempts": [1], **place}

    def logs(self, name: str) -> str:
        self.asked.append(name)
        if self.refuses:
            raise SnowflakeRefusedError("the node is gone")
        return self.printed[name][-WINDOW:]

    def kept_log(self, where: JobLog, *, window: int, gap: str) -> KeptLog:
        parts = self.kept.setdefault(where.job, [])
        text = "".join(part for part in parts if part != gap)
        return KeptLog(parts=len(parts), size=sum(map(len, parts)), tail=text[-window:])

    def write_job_log(self, where: JobLog, parts: list[LogPart]) -> bool:
        self.kept[where.job] += [part.text for part in parts]
        return True


@pytest.fixture
def account() -> Account:
    return Account()


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def sut(account: Account, clock: TurnedClock) -> LogTail:
    return LogTail(account, store=account, clock=clock, limit=100 * WINDOW)  # type: ignore[arg-type]


def test_a_turn_reads_a_bounded_number_of_logs_and_everybody_has_a_turn(
    account: Account, clock: TurnedClock, sut: LogTail
) -> None:
    watches = [account.watch(number) for number in range(1_000)]
    for _ in range(2 * 1_000 // READS):  # two looks at each tell how fast it is
        assert sut.follow(watches) == READS
        clock.turn(1.0)
    assert set(account.asked) == {watch["job_name"] for watch in watches}


def test_whoever_prints_fast_is_read_at_each_turn_and_loses_nothing(
    account: Account, clock: TurnedClock, sut: LogTail
) -> None:
    watches = [account.watch(number) for number in range(500)]
    fast, line = "J0", 0
    for _ in range(60):
        sut.follow(watches)
        clock.turn(1.0)
        for _ in range(400):  # a window in five seconds
            account.printed[fast] += f"line {line:06} {'x' * 37}\n"
            line += 1
    sut.last(watches[0])
    assert "".join(account.kept[fast]) == account.printed[fast]
    assert account.asked.count(fast) > 20
    assert len(set(account.asked)) == 500


def test_a_job_that_is_about_to_outrun_its_window_shortens_the_pause(
    account: Account, clock: TurnedClock, sut: LogTail
) -> None:
    watches = [account.watch(1)]
    sut.follow(watches)
    assert sut.danger_in() > LIVELY
    clock.turn(2 * LIVELY)
    account.printed["J1"] = "x" * (WINDOW // 2)
    sut.follow(watches)
    assert 0 < sut.danger_in() <= LIVELY
    sut.forget([])
    assert sut.danger_in() == float("inf")


def test_a_silent_job_is_asked_less_and_less_often(account: Account, clock: TurnedClock, sut: LogTail) -> None:
    watches = [account.watch(1)]
    for _ in range(600):
        sut.follow(watches)
        clock.turn(0.5)
    assert 300 / SLOWEST <= len(account.asked) < 300 / SLOWEST + 10


def test_what_was_lost_between_two_looks_is_marked_in_one_line(
    account: Account, clock: TurnedClock, sut: LogTail
) -> None:
    watches = [account.watch(1)]
    account.printed["J1"] = "the beginning\n"
    sut.follow(watches)
    account.printed["J1"] += "".join(f"line {number:06}\n" for number in range(20_000))
    sut.last(watches[0])
    text = "".join(account.kept["J1"])
    assert text.count("[Freshet: lines may be missing here") == 1
    assert text.startswith("the beginning\n")
    assert text.endswith("line 019999\n")
    assert sut.last(watches[0]) == account.printed["J1"][-WINDOW:]
    assert "".join(account.kept["J1"]) == text  # looked at again, nothing is new


def test_a_log_that_is_full_is_not_read_any_more(account: Account, clock: TurnedClock) -> None:
    sut = LogTail(account, store=account, clock=clock, limit=10)  # type: ignore[arg-type]
    watches = [account.watch(1)]
    account.printed["J1"] = "0123456789 and more"
    assert sut.follow(watches) == 1
    clock.turn(SLOWEST)
    assert sut.follow(watches) == 0
    assert "".join(account.kept["J1"]).startswith("0123456789\n[Freshet: the log of this attempt is cut here")


def test_a_log_that_is_refused_is_tried_again_and_said_at_the_end_once(
    account: Account, clock: TurnedClock, sut: LogTail
) -> None:
    watches = [account.watch(1)]
    account.refuses = True
    assert sut.follow(watches) == 1
    assert account.kept == {}
    for _ in range(2):
        assert "the node is gone" in sut.last(watches[0])
    assert "".join(account.kept["J1"]).count("Snowflake refused to hand out the log: the node is gone") == 1
