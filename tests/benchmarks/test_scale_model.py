"""The model on paper."""

from dataclasses import replace

from benchmarks.scale_model import Costs, limits, page, read_costs
from tests.house.measure import ROOT

COSTS = Costs(
    postgres_us=30.0,
    dispatchers_session_us=10.0,
    worker_us=20.0,
    dispatcher_us=4.0,
    recorder_us=2.0,
    redis_us=1.0,
    written_ahead=900.0,
    stored=600.0,
    redis_traffic=100.0,
    measured="nowhere",
)


def test_the_page_is_what_the_measured_costs_say() -> None:
    assert (ROOT / "docs" / "scale.md").read_text("utf-8") == page(read_costs())


def test_the_first_limit_is_the_lowest_and_is_named() -> None:
    found = limits(COSTS)
    assert [limit.rate for limit in found] == sorted(limit.rate for limit in found)
    assert f"The first limit is {found[0].what}, at {found[0].rate:,.0f}" in page(COSTS)


def test_a_dispatcher_and_its_session_take_turns() -> None:
    # 14 µs one after the other, at 70 %.
    assert any(round(limit.rate) == 50_000 for limit in limits(COSTS))
    assert "| Dispatchers | 2 processes |" in page(COSTS)


def test_what_costs_nothing_never_comes_first() -> None:
    cheap = replace(COSTS, written_ahead=1e-6)
    assert "log" not in limits(cheap)[0].what


def test_storage_follows_the_rate() -> None:
    # 600 bytes of 100,000 items a second, for a day.
    assert "| 5.2 TB;" in page(COSTS).replace("Storage, 24 hours kept ", "")
