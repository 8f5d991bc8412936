"""How the work gets on while it is hit, and how long a blow is felt.

Purpose: a thread that looks four times a second whether another effect was committed. Never: a verdict.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence

import psycopg
from tests.chaos.plan import Fault

EVERY = 0.25  # seconds between two looks


class Progress:
    """Moments at which there was another effect."""

    def __init__(self, database_url: str) -> None:
        self.moments: list[float] = []
        self._url = database_url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def begin(self) -> None:
        """Look from now on."""
        self._thread.start()

    def end(self) -> None:
        """Look no more."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(10.0)

    def recoveries(self, struck: Iterable[tuple[float, Fault]]) -> dict[str, dict[str, float]]:
        """For each kind of blow: seconds until the next effect was committed."""
        found: dict[str, list[float]] = defaultdict(list)
        for moment, fault in struck:
            following = bisect_right(self.moments, moment)
            if following < len(self.moments):
                found[str(fault.kind)].append(self.moments[following] - moment)
        return {kind: distribution(seconds) for kind, seconds in sorted(found.items())}

    def _run(self) -> None:
        last = 0
        while not self._stop.wait(EVERY):
            now = self._newest()
            if now is not None and now != last:
                self.moments.append(time.monotonic())
                last = now

    def _newest(self) -> int | None:
        try:
            with psycopg.connect(self._url, connect_timeout=2, autocommit=True) as session:
                found = session.execute("select coalesce(max(id), 0) from chaos_effect").fetchone()
        except psycopg.Error:
            return None
        return int(found[0]) if found else None


def distribution(seconds: Sequence[float]) -> dict[str, float]:
    """Count, percentiles and maximum."""
    ordered = sorted(seconds)
    if not ordered:
        return {"count": 0}

    def percentile(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)

    return {
        "count": len(ordered),
        "p50": percentile(0.5),
        "p90": percentile(0.9),
        "p99": percentile(0.99),
        "max": round(ordered[-1], 3),
    }
