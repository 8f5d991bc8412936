"""The harness's own logic: who is charged for CPU, which answers count, what is compared."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
from benchmarks.__main__ import parser, plan
from benchmarks.engine import Case, measure, problem_of
from benchmarks.figures import Figure, Json, Record, Results, percentile, typical
from benchmarks.peers.session import tally
from benchmarks.processes import Roles, Usage
from benchmarks.report import budgets, comparison, series, tables
from benchmarks.scale import FULL, QUICK, SCALES, TINY, sizes
from benchmarks.workloads import history
from benchmarks.workloads.cases import CASES, fan_case, fibonacci

from benchmarks import processes, running

FIGURE = Figure(workload="fan", engine="freshet", case="N = 10,000", unit="tasks", count=10_000, wall_s=1.0)


class Answering:
    """An engine that answers what it is told to."""

    name = "answering"

    def __init__(self, *answers: Json) -> None:
        self.answers = list(answers)
        self.settings: Json = {}

    def can(self, kind: str) -> bool:
        return True

    def roles(self) -> Roles:
        return {}

    def start(self, kind: str, parameters: object) -> str:
        return kind

    def finish(self, handle: str) -> Json:
        return self.answers.pop(0)

    def cancel(self, handle: str) -> None:
        pass

    def settle(self) -> float:
        return 0.25


def test_a_process_belongs_to_its_nearest_ancestor_with_a_role() -> None:
    table = {
        1: Usage(parent=0, own_s=1.0, waited_s=0.5),
        2: Usage(parent=1, own_s=2.0, waited_s=0.0),
        3: Usage(parent=2, own_s=4.0, waited_s=0.0),
        9: Usage(parent=0, own_s=8.0, waited_s=0.0),
    }
    assert processes.cpu_by_role({"up": [1], "api": [2]}, table) == {"up": 1.5, "api": 6.0}


def test_what_a_worker_waited_for_was_its_child() -> None:
    table = {1: Usage(parent=0, own_s=1.0, waited_s=2.0), 2: Usage(parent=1, own_s=4.0, waited_s=0.0)}
    assert processes.cpu_by_role({"worker-1": [1]}, table) == {"worker-1": 1.0, "worker-1 child": 6.0}


def test_a_program_may_be_called_anything() -> None:
    usage = processes.usage_of("7 (a) b (c)) S 3 " + " ".join(["0"] * 9) + " 100 50 30 20 0")
    assert (usage.parent, usage.own_s, usage.waited_s) == (3, 150 / processes.TICKS, 50 / processes.TICKS)


def test_steal_is_a_share_of_all_ticks() -> None:
    before = processes.Sample(cpu_s={}, ticks=100, stolen=10, at=0.0)
    assert processes.steal_between(before, replace(before, ticks=300, stolen=60)) == 0.25


def test_a_lost_item_is_no_figure() -> None:
    figure = measure(Answering({"joined": 9, "distinct": 9}), "fan", fan_case(10))
    assert figure.problem == "joined is 9, not 10; distinct is 9, not 10"
    assert typical([figure]) is None


def test_an_engine_is_quoted_and_not_asked_again() -> None:
    engine = Answering({"problem": "too large"}, {"joined": 1})
    figure = measure(engine, "payload", Case(label="160 KB", kind="payload", count=1), times=2)
    assert (figure.problem, len(engine.answers)) == ("too large", 1)


def test_hops_of_several_chains_are_one_spread() -> None:
    case = Case(label="2 tasks", kind="hop", count=2, unit="hops", expected={"joined": 2})
    answers = [{"joined": 2, "hops_ms": [1.0]}, {"joined": 2, "hops_ms": [3.0]}]
    figure = measure(Answering(*answers), "hop", case, times=2)
    assert (figure.count, figure.details["hop_ms"]["p50"], figure.details["lag_s"]) == (4, 2.0, 0.25)


@pytest.mark.parametrize("expected", [{}, {"joined": 3}])
def test_a_right_answer_has_no_problem(expected: Json) -> None:
    assert problem_of({"joined": 3}, expected) is None


def test_a_tally_tells_twice_from_once() -> None:
    assert tally([1, 1, 2]) == {"joined": 3, "distinct": 2, "bytes": 0}


def test_what_was_written_is_read_and_not_measured_again(tmp_path: Path) -> None:
    record = Record(workload="fan", engine="freshet", settings={"workers": 2}, figures=[FIGURE])
    results = Results(tmp_path)
    results.write(record)
    assert [asdict(each) for each in results.records()] == [asdict(record)]
    assert results.has("fan", "freshet")
    assert not results.has("fan", "rq")


def test_the_repetition_in_the_middle_counts() -> None:
    repeated = [replace(FIGURE, wall_s=wall) for wall in (3.0, 1.0, 2.0)]
    assert typical(repeated) == repeated[2]


def test_percentiles_are_values_that_were_seen() -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.0
    assert percentile(map(float, range(100)), 0.99) == 98.0
    assert percentile([], 0.99) == 0.0


def test_the_best_peer_is_the_one_to_beat() -> None:
    rates = {"freshet": 1.0, "rq": 20.0, "celery": 10.0}
    records = [
        Record(workload="fan", engine=name, settings={}, figures=[replace(FIGURE, engine=name, wall_s=wall)])
        for name, wall in rates.items()
    ]
    compared = comparison.compare(records)[0]
    assert (compared.best_peer, compared.ratio) == ("celery", 10.0)


def test_a_peer_with_a_problem_is_not_beaten() -> None:
    failed = replace(FIGURE, engine="rq", problem="lost")
    records = [Record(workload="fan", engine=each.engine, settings={}, figures=[each]) for each in (FIGURE, failed)]
    assert comparison.compare(records)[0].ratio is None


def test_a_budget_is_met_missed_or_not_measured() -> None:
    record = Record(workload="fan", engine="freshet", settings={}, figures=[replace(FIGURE, cpu_s={"postgres": 2.0})])
    judged = {each.what: each.met for each in budgets.judge([record])}
    assert (judged["fan, N = 10,000"], judged["fan, CPU in all"], judged["hop, p50"]) == (True, False, None)


def test_the_harness_itself_is_charged_to_nobody() -> None:
    assert replace(FIGURE, cpu_s={"harness": 1.0, "redis": 0.01}).cpu_us_in_all == pytest.approx(1.0)


def test_a_report_quotes_problems_and_plots_none() -> None:
    record = Record(workload="fan", engine="rq", settings={}, figures=[replace(FIGURE, engine="rq", problem="lost it")])
    assert "- rq, N = 10,000: lost it" in tables.document(
        machine={}, records=[record], compared=[], judged=[], plots=[]
    )
    assert series.plots([record]) == []


def test_a_slow_peer_is_asked_for_less() -> None:
    assert sizes(FULL.fan, "airflow") == (30,)
    assert sizes(FULL.fan, "rq") == (100, 1_000, 10_000)
    assert sizes(FULL.fan, "freshet") == FULL.fan


@pytest.mark.parametrize("scale", SCALES.values(), ids=list(SCALES))
@pytest.mark.parametrize("workload", CASES)
def test_every_case_says_what_its_answer_must_hold(workload: str, scale: object) -> None:
    cases, kind = CASES[workload]
    for case in cases(scale, "freshet"):
        assert case.expected
        assert case.kind.removesuffix("-each") == kind
    for case in cases(scale, "rq"):
        assert case.kind == kind


def test_fibonacci_is_right() -> None:
    assert [fibonacci(number) for number in (0, 1, 10, 33)] == [0, 1, 55, 3_524_578]


def test_quick_asks_rq_alone_and_full_asks_everybody() -> None:
    assert (plan(parser().parse_args(["--quick"])).scale, plan(parser().parse_args(["--quick"])).peers) == (
        QUICK,
        ["rq"],
    )
    everything = plan(parser().parse_args([]))
    assert (everything.scale, len(everything.peers), everything.workloads) == (FULL, 6, running.WORKLOADS)


def test_no_peers_can_be_asked_for() -> None:
    asked = plan(parser().parse_args(["--peers", "none", "--scale", "tiny", "--minutes", "2"]))
    assert (asked.peers, asked.scale) == ([], replace(TINY, endurance_s=120.0))


def test_every_statement_of_the_history_is_there() -> None:
    assert {*history.COPIED, "Days"} == history.statements().keys()
