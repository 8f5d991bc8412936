"""Schedules become runs.

Purpose: the clockwork of `every` and `cron`, and the pass that turns due ticks into runs. Guarantee: a tick makes one
run, whoever ticks and however often. Never: a loop (that is `freshet.runtime`).
"""

from freshet.scheduling.clockwork import first_tick, next_after
from freshet.scheduling.tick import Ticked, Ticker

__all__ = ["Ticked", "Ticker", "first_tick", "next_after"]
