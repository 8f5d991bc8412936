"""`python -m freshet.testing.simulation --seeds N --start S [--jobs J] [--minutes M]`, or `--trace SEED`.

Exit code 1 when a law was broken; the seed, the law and the last events before the end are printed then.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from freshet.testing.simulation.campaign import campaign
from freshet.testing.simulation.seed import Verdict, play

#: Events that are shown of a history that broke a law, and histories that are shown.
SHOWN, TOLD = 60, 5
#: Seeds between two lines that say how far it is.
PROGRESS = 1000


@dataclass(kw_only=True)
class Tally:
    """What was played."""

    seeds: int = 0
    steps: int = 0
    items: int = 0
    seconds: float = 0.0
    broken: list[Verdict] = field(default_factory=list)

    def add(self, verdict: Verdict) -> None:
        """One more."""
        self.seeds += 1
        self.steps += verdict.steps
        self.items += verdict.items
        self.seconds += verdict.seconds
        if verdict.breaks:
            self.broken.append(verdict)


def main(arguments: Sequence[str] | None = None) -> int:
    """Play seeds; the exit code."""
    given = _arguments(arguments)
    if given.trace is not None:
        return _trace(given.trace)
    began = time.monotonic()
    seconds = given.minutes * 60 if given.minutes else float("inf")
    tally = Tally()
    for verdict in campaign(range(given.start, given.start + given.seeds), jobs=given.jobs, seconds=seconds):
        tally.add(verdict)
        if tally.seeds % PROGRESS == 0:
            _say(f"{tally.seeds} seeds after {time.monotonic() - began:.0f} s, {len(tally.broken)} broken")
        if verdict.breaks:
            _say(f"seed {verdict.seed}: " + " | ".join(f"{each.law}: {each.what}" for each in verdict.breaks)[:2000])
            if given.first:
                _say(f"broken after {tally.seeds} seeds")
                return 1
    _conclude(tally, time.monotonic() - began)
    return 1 if tally.broken else 0


def _conclude(tally: Tally, seconds: float) -> None:
    for verdict in tally.broken[:TOLD]:
        again = play(verdict.seed, traced=True)
        _say(f"\nseed {verdict.seed}, trace {again.digest}: its last events")
        _say("\n".join(again.trace[-SHOWN:]))
    laws = Counter(each.law for verdict in tally.broken for each in verdict.breaks)
    for law, count in laws.most_common():
        _say(f"{count} breaks of: {law}")
    _say(
        f"{tally.seeds} seeds, {len(tally.broken)} broken, {tally.items} items, {tally.steps} steps,"
        f" {tally.seconds / 3600:.1f} h of virtual time in {seconds:.0f} s: {tally.seeds / max(seconds, 0.001):.1f}"
        " seeds per second"
    )


def _trace(seed: int) -> int:
    verdict = play(seed, traced=True)
    _say("\n".join(verdict.trace))
    for each in verdict.breaks:
        _say(f"BROKEN {each.law}: {each.what}")
    _say(
        f"seed {seed}: {verdict.items} items, {verdict.steps} steps, {verdict.seconds:.1f} s, trace {verdict.digest},"
        f" {len(verdict.breaks)} breaks"
    )
    return 1 if verdict.breaks else 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m freshet.testing.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--start", type=int, default=0, help="the first one")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--minutes", type=float, default=0.0, help="stop after so many; 0: when all are played")
    parser.add_argument("--first", action="store_true", help="stop at the first history that breaks a law")
    parser.add_argument("--trace", type=int, metavar="SEED", help="print everything that happens in one seed")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
