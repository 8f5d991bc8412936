from decimal import Decimal

from freshet.domain.cost import CREDITS_PER_HOUR, Rates, pool_key, shown, total
from freshet.domain.job_failure import JobFailure


def test_an_hour_costs_the_rate_and_a_second_its_share() -> None:
    rates = Rates()
    assert rates.credits("P", 3600.0, family="CPU_X64_S") == CREDITS_PER_HOUR["CPU_X64_S"] == Decimal("0.11")
    assert rates.credits("P", 0.1, family="CPU_X64_S") == Decimal("0.011") / 3600
    assert rates.credits("P", 36.0, family="CPU_X64_XS", replicas=3) == Decimal("0.0018")


def test_a_family_that_is_set_goes_before_the_one_that_was_seen() -> None:
    rates = Rates(families={"P": "GPU_NV_S", '"p"': "CPU_X64_L"})
    assert rates.credits("p", 3600.0, family="CPU_X64_XS") == Decimal("0.57")
    assert rates.credits('"p"', 3600.0) == Decimal("0.83")


def test_what_has_no_rate_has_no_estimate_and_neither_has_its_sum() -> None:
    rates = Rates()
    assert rates.credits("P", 1.0) is None
    assert rates.credits("P", 1.0, family="GEN_X64_G2_2") is None
    assert total([Decimal(1), None]) is None
    assert total([]) == 0
    assert (shown(None), shown(Decimal("0.0000014"))) == (None, 0.000001)


def test_sums_are_exact() -> None:
    assert total([Decimal("0.1")] * 10) == 1


def test_a_bare_name_is_folded_and_a_quoted_one_is_not() -> None:
    assert (pool_key("pool"), pool_key('"pool"')) == ("POOL", '"pool"')


def test_only_what_the_user_did_uses_up_retries() -> None:
    users = {"user", "timeout", "oom", "image"}
    assert {kind.value for kind in JobFailure if kind.is_users} == users
    assert {kind.value for kind in JobFailure if not kind.has_run} == {"image", "capacity"}
