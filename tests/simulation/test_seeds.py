"""Seeds: none breaks a law, and each is the same history whenever it is played."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from freshet.testing.simulation.__main__ import main
from freshet.testing.simulation.campaign import CHUNK, campaign
from freshet.testing.simulation.seed import play

#: Histories of the suite; the command plays as many as wanted.
SEEDS = 120


@pytest.mark.parametrize("start", range(0, SEEDS, CHUNK))
def test_no_seed_breaks_a_law(start: int) -> None:
    broken = [(each.seed, each.breaks) for each in campaign(range(start, start + CHUNK)) if each.breaks]
    assert broken == []


@pytest.mark.parametrize("seed", [3, 30])
def test_a_seed_is_the_same_history_again(seed: int) -> None:
    first, second = play(seed, traced=True), play(seed, traced=True)
    assert first.trace == second.trace
    assert first.digest == second.digest
    assert len(first.trace) > 100


def test_a_history_does_not_depend_on_being_watched() -> None:
    watched, unwatched = play(9, traced=True), play(9)
    assert (watched.steps, watched.seconds, watched.items) == (unwatched.steps, unwatched.seconds, unwatched.items)


def test_another_process_plays_the_same_history() -> None:
    def told(hashing: str) -> str:
        command = [sys.executable, "-m", "freshet.testing.simulation", "--trace", "6"]
        env = {**os.environ, "PYTHONHASHSEED": hashing}
        return subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=60).stdout

    first = told("1")
    assert first == told("2")
    assert "0 breaks" in first.splitlines()[-1]


def test_other_seeds_are_other_histories() -> None:
    assert len({play(seed, traced=True).digest for seed in range(5)}) == 5


def test_the_command_says_how_many_it_played(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "3", "--start", "5"]) == 0
    assert "3 seeds, 0 broken" in capsys.readouterr().out
