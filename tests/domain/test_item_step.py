from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshet.domain.item_step import End, Item, Outcome, Requeue, Retry, Step, Verdict, item_step
from freshet.domain.model import RetryPolicy
from freshet.domain.retry import LOSS_LIMIT
from freshet.domain.states import ItemState, is_final

TWICE = RetryPolicy(limit=2, delay=5, factor=2, jitter=0.2)
ITEM = Item(attempt=3, failures=1, losses=2, handbacks=4)


def step(verdict: Verdict, item: Item = ITEM, policy: RetryPolicy = TWICE, **fields: object) -> Step:
    return item_step(item, Outcome(verdict=verdict, **fields), policy, 0.5)  # type: ignore[arg-type]


def test_success_ends_the_item() -> None:
    assert step(Verdict.SUCCEEDED) == End(state=ItemState.SUCCEEDED)


def test_cancel_ends_the_item() -> None:
    assert step(Verdict.CANCELLED) == End(state=ItemState.CANCELLED)


@pytest.mark.parametrize("verdict", [Verdict.FAILED, Verdict.TIMED_OUT])
def test_failed_try_makes_a_new_attempt_after_its_delay(verdict: Verdict) -> None:
    assert step(verdict) == Retry(attempt=4, failures=2, losses=0, handbacks=0, delay=10.0)


def test_delay_follows_the_draw() -> None:
    low = item_step(Item(), Outcome(verdict=Verdict.FAILED), TWICE, 0.0)
    high = item_step(Item(), Outcome(verdict=Verdict.FAILED), TWICE, 0.75)
    assert isinstance(low, Retry)
    assert isinstance(high, Retry)
    assert (low.delay, high.delay) == (4.0, 5.5)


def test_last_failed_try_ends_the_item_as_failed() -> None:
    last = Item(attempt=3, failures=2)
    assert step(Verdict.FAILED, last) == End(state=ItemState.FAILED, error_class="user")
    assert step(Verdict.FAILED, last, error_class="ValueError") == End(state=ItemState.FAILED, error_class="ValueError")


def test_last_timed_out_try_ends_the_item_as_expired() -> None:
    last = Item(attempt=3, failures=2)
    assert step(Verdict.TIMED_OUT, last) == End(state=ItemState.EXPIRED, error_class="timeout")


def test_item_without_retries_ends_with_its_first_failure() -> None:
    assert step(Verdict.FAILED, Item(), RetryPolicy()) == End(state=ItemState.FAILED, error_class="user")


@pytest.mark.parametrize(
    ("verdict", "error_class"), [(Verdict.ENDED_TRANSACTION, "transaction_ended"), (Verdict.FATAL, "fatal")]
)
def test_what_cannot_be_helped_is_never_tried_again(verdict: Verdict, error_class: str) -> None:
    assert step(verdict, Item()) == End(state=ItemState.FAILED, error_class=error_class)


def test_lost_claim_keeps_the_attempt_and_is_due_at_once() -> None:
    assert step(Verdict.LOST) == Requeue(attempt=3, failures=1, losses=3, handbacks=4, delay=0)


def test_lost_bundle_of_several_charges_nobody() -> None:
    assert step(Verdict.LOST, charged=False) == Requeue(attempt=3, failures=1, losses=2, handbacks=4, delay=0)


def test_ended_job_makes_a_new_attempt_without_using_up_retries() -> None:
    spent = Item(attempt=3, failures=2)
    assert step(Verdict.LOST, spent, ended=True) == Retry(attempt=4, failures=2, losses=1, handbacks=0, delay=1)


def test_fifth_loss_in_a_row_ends_the_item_as_lost() -> None:
    for ended in (False, True):
        answer = step(Verdict.LOST, Item(losses=LOSS_LIMIT - 1), ended=ended)
        assert answer == End(state=ItemState.FAILED, error_class="lost")


def test_fourth_loss_in_a_row_does_not_end_the_item() -> None:
    assert isinstance(step(Verdict.LOST, Item(losses=LOSS_LIMIT - 2)), Requeue)


def test_uncharged_losses_never_end_the_item() -> None:
    item = Item(losses=LOSS_LIMIT - 1)
    for _ in range(20):
        answer = step(Verdict.LOST, item, charged=False)
        assert isinstance(answer, Requeue)
        item = follow(answer)


def test_hand_back_counts_as_nothing_and_waits_twice_as_long_each_time() -> None:
    item, waits = ITEM, []
    for _ in range(4):
        answer = step(Verdict.HANDED_BACK, item)
        assert isinstance(answer, Requeue)
        waits.append(answer.delay)
        item = follow(answer)
    assert waits == [16, 32, 60, 60]
    assert item == Item(attempt=3, failures=1, losses=2, handbacks=8)


def test_drained_worker_gives_its_item_back_at_once() -> None:
    assert step(Verdict.RETURNED) == Requeue(attempt=3, failures=1, losses=2, handbacks=4, delay=0)


def test_hand_back_between_losses_does_not_save_an_item_that_kills_its_workers() -> None:
    item = Item()
    for _ in range(LOSS_LIMIT - 1):
        for verdict in (Verdict.LOST, Verdict.HANDED_BACK, Verdict.RETURNED):
            item = follow(step(verdict, item))
    assert step(Verdict.LOST, item) == End(state=ItemState.FAILED, error_class="lost")


def test_failure_between_losses_breaks_their_row() -> None:
    item = follow(step(Verdict.FAILED, Item(losses=LOSS_LIMIT - 1)))
    assert isinstance(step(Verdict.LOST, item), Requeue)


def follow(answer: Step) -> Item:
    assert not isinstance(answer, End)
    return Item(attempt=answer.attempt, failures=answer.failures, losses=answer.losses, handbacks=answer.handbacks)


outcomes = st.builds(Outcome, verdict=st.sampled_from(Verdict), charged=st.booleans(), ended=st.booleans())
policies = st.builds(RetryPolicy, limit=st.integers(0, 5), delay=st.floats(0, 10), jitter=st.floats(0, 1))
draws = st.floats(0, 1, exclude_max=True)


@given(st.lists(outcomes, max_size=40), policies, draws)
def test_life_of_an_item_keeps_its_laws(reports: list[Outcome], policy: RetryPolicy, draw: float) -> None:
    item, failed, row = Item(), 0, 0
    for outcome in reports:
        answer = item_step(item, outcome, policy, draw)
        failed += outcome.verdict in {Verdict.FAILED, Verdict.TIMED_OUT}
        row = next_row(row, outcome)
        if isinstance(answer, End):
            assert is_final(answer.state)
            assert (answer.error_class is None) == (answer.state in {ItemState.SUCCEEDED, ItemState.CANCELLED})
            return
        # Only a failed try, or a job that has ended, makes a new attempt.
        tried = outcome.verdict in {Verdict.FAILED, Verdict.TIMED_OUT} or (
            outcome.verdict is Verdict.LOST and outcome.ended
        )
        assert isinstance(answer, Retry) == tried
        assert answer.attempt == item.attempt + tried
        assert answer.failures == failed <= policy.limit
        assert answer.losses == row < LOSS_LIMIT
        assert answer.delay >= 0
        item = follow(answer)


def next_row(row: int, outcome: Outcome) -> int:
    if outcome.verdict is Verdict.LOST:
        return row + outcome.charged
    return row if outcome.verdict in {Verdict.HANDED_BACK, Verdict.RETURNED} else 0


@given(policies, st.sampled_from([Verdict.FAILED, Verdict.TIMED_OUT]))
def test_item_is_tried_once_more_than_its_limit(policy: RetryPolicy, verdict: Verdict) -> None:
    item, tries = Item(), 0
    while not isinstance(answer := item_step(item, Outcome(verdict=verdict), policy, 0.5), End):
        item, tries = follow(answer), tries + 1
    assert tries == policy.limit
    assert item.attempt == policy.limit + 1


@given(outcomes.filter(lambda outcome: outcome.verdict is Verdict.LOST and outcome.charged), policies)
def test_charged_losses_always_end(outcome: Outcome, policy: RetryPolicy) -> None:
    item = Item()
    for _ in range(LOSS_LIMIT - 1):
        item = follow(item_step(item, outcome, policy, 0.5))
    assert item_step(item, outcome, policy, 0.5) == End(state=ItemState.FAILED, error_class="lost")
