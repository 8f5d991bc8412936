"""The shows of job services, small: the same code and the same promises as `python -m tests.chaos.jobs`."""

import pytest
from tests.chaos.jobs.deaths import deaths
from tests.chaos.jobs.flight import flight
from tests.chaos.jobs.pools import pools

pytestmark = [pytest.mark.xdist_group("chaos-jobs"), pytest.mark.timeout(300)]


def test_jobs_in_flight_cost_one_status_statement_a_turn_and_each_of_their_lines_is_kept_once() -> None:
    report = flight(6, 10.0)
    assert report["broken"] == []
    assert report["bytes printed by each"] > report["bytes that the emulator shows of it"]
    assert report["complete logs"] == 6


def test_whoever_is_killed_while_jobs_run_none_is_launched_twice_and_none_is_lost() -> None:
    report = deaths(12, 2)
    assert report["broken"] == []
    assert (report["launched twice"], report["lost"], report["succeeded"]) == (0, 0, 12)


def test_a_pool_never_runs_more_jobs_than_it_has_nodes_and_show_says_who_waits_for_what() -> None:
    assert pools(3, 1.0)["broken"] == []
