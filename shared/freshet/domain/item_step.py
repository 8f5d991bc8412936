"""What becomes of an item after one try.

Purpose: what failed, waits or retries; value in, value out. Guarantees: an item has at most `limit` + 1 failures of
the user's; an attempt's number only grows; charged losses cannot go on for ever. Never: the fence. SQL applies it,
and this module never sees a stale report.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from freshet.domain.model import RetryPolicy
from freshet.domain.retry import LOSS_LIMIT, backoff, delay
from freshet.domain.states import ItemState


class Verdict(StrEnum):
    """How a try ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  # the user's failure: an exception, an exit code, a result that is not JSON
    TIMED_OUT = "timed_out"  # the user's failure too: the try ran longer than its timeout
    LOST = "lost"  # worker, node, pool or platform went away
    HANDED_BACK = "handed_back"  # the worker cannot serve it: unknown process or version
    RETURNED = "returned"  # the worker drains; free for another at once
    CANCELLED = "cancelled"
    ENDED_TRANSACTION = "ended_transaction"  # user code ended the transaction: effects stay, never tried again
    FATAL = "fatal"  # trying again cannot help


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """The numbers that a WorkItem carries."""

    attempt: int = 1  # of the try that was just reported; 1 is the first
    failures: int = 0  # the user's, so far
    losses: int = 0  # charged ones in a row
    handbacks: int = 0  # in a row


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a try ended, and whom to charge."""

    verdict: Verdict
    error_class: str | None = None  # None: the verdict's own
    charged: bool = True  # of LOST: False when a bundle of several was lost, for nobody knows who did it
    ended: bool = False  # of LOST: the job service has ended, so that only a new attempt can go on


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """A new attempt, due `delay` seconds from now; the item is `retrying` until then."""

    attempt: int
    failures: int
    losses: int
    handbacks: int
    delay: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Requeue:
    """The same attempt again, claimable `delay` seconds from now; the item is `queued`."""

    attempt: int
    failures: int
    losses: int
    handbacks: int
    delay: float


@dataclass(frozen=True, kw_only=True, slots=True)
class End:
    """The item is final. `error_class` is None exactly when nothing went wrong."""

    state: ItemState
    error_class: str | None = None


Step = Retry | Requeue | End

#: The class of an error whose report does not name one.
ERROR_CLASSES = {
    Verdict.FAILED: "user",
    Verdict.TIMED_OUT: "timeout",
    Verdict.LOST: "lost",
    Verdict.ENDED_TRANSACTION: "transaction_ended",
    Verdict.FATAL: "fatal",
}


def item_step(item: Item, outcome: Outcome, policy: RetryPolicy, draw: float) -> Step:
    """Answer what becomes of `item` after `outcome`. `draw` in [0, 1) spreads the delay of a retry."""
    match outcome.verdict:
        case Verdict.SUCCEEDED:
            return End(state=ItemState.SUCCEEDED)
        case Verdict.CANCELLED:
            return End(state=ItemState.CANCELLED)
        case Verdict.FAILED | Verdict.TIMED_OUT:
            return _after_failure(item, outcome, policy, draw)
        case Verdict.LOST:
            return _after_loss(item, outcome)
        case Verdict.HANDED_BACK | Verdict.RETURNED:
            return _after_handback(item, outcome)
        case Verdict.ENDED_TRANSACTION | Verdict.FATAL:
            return End(state=ItemState.FAILED, error_class=_error_class(outcome))


def _after_failure(item: Item, outcome: Outcome, policy: RetryPolicy, draw: float) -> Step:
    failures = item.failures + 1
    if failures <= policy.limit:
        return Retry(
            attempt=item.attempt + 1,
            failures=failures,
            losses=0,
            handbacks=0,
            delay=delay(policy, failures, draw),
        )
    state = ItemState.EXPIRED if outcome.verdict is Verdict.TIMED_OUT else ItemState.FAILED
    return End(state=state, error_class=_error_class(outcome))


def _after_loss(item: Item, outcome: Outcome) -> Step:
    losses = item.losses + outcome.charged
    if losses >= LOSS_LIMIT:
        return End(state=ItemState.FAILED, error_class="lost")
    if not outcome.ended:
        # At once: a dead worker's work is claimable again within seconds.
        return _requeue(item, losses=losses)
    return Retry(
        attempt=item.attempt + 1,
        failures=item.failures,
        losses=losses,
        handbacks=0,
        # A pool that is going down would else eat all five tries within a second.
        delay=backoff(max(1, losses)),
    )


def _after_handback(item: Item, outcome: Outcome) -> Requeue:
    # Nothing ran, so the row of losses is neither broken nor lengthened: an item that kills its workers would else
    # live for ever in a fleet of which half hands it back.
    if outcome.verdict is Verdict.RETURNED:
        return _requeue(item)
    return _requeue(item, handbacks=item.handbacks + 1, delay=backoff(item.handbacks + 1))


def _requeue(item: Item, *, losses: int | None = None, handbacks: int | None = None, delay: float = 0.0) -> Requeue:
    return Requeue(
        attempt=item.attempt,
        failures=item.failures,
        losses=item.losses if losses is None else losses,
        handbacks=item.handbacks if handbacks is None else handbacks,
        delay=delay,
    )


def _error_class(outcome: Outcome) -> str:
    return outcome.error_class or ERROR_CLASSES[outcome.verdict]
