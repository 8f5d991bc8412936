"""How long to wait before trying again.

Purpose: the arithmetic of delays, in seconds. Guarantee: a delay is never negative and never above its cap. Never:
randomness; a draw in [0, 1) comes in as a value.
"""

from __future__ import annotations

from freshet.domain.model import RetryPolicy

#: So many charged losses in a row end an item as failed with class `lost`.
LOSS_LIMIT = 5

#: Seconds: the first and the longest wait after a hand-back.
BACKOFF_FIRST = 1.0
BACKOFF_CAP = 60.0


def delay(policy: RetryPolicy, failures: int, draw: float) -> float:
    """Answer the seconds to wait after the `failures`-th failure of the user's (1 is the first).

    `draw` in [0, 1) spreads the delay over [1 - jitter, 1 + jitter]. The cap holds before the jitter, so that
    long delays are still spread, and after it.
    """
    base = min(_grown(policy, failures), policy.cap)
    spread = 1.0 - policy.jitter + 2.0 * policy.jitter * draw
    return max(0.0, min(base * spread, policy.cap))


def backoff(times: int) -> float:
    """Answer the seconds to wait after the `times`-th hand-back in a row: 1, 2, 4, … up to 60."""
    return min(BACKOFF_CAP, BACKOFF_FIRST * 2.0 ** min(times - 1, 10))


def _grown(policy: RetryPolicy, failures: int) -> float:
    if policy.delay <= 0.0:
        return 0.0
    try:
        return policy.delay * policy.factor ** (failures - 1)
    except OverflowError:
        return policy.cap
