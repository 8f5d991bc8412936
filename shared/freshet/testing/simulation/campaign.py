"""Many seeds, in one process or in several.

Guarantees: every seed asked for is played once, in whatever process; a verdict comes as soon as its chunk is played.
Never: output.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from functools import partial

from freshet.testing.simulation.seed import Verdict, play

#: Seeds that a process plays before it answers.
CHUNK = 20


def campaign(seeds: range, *, jobs: int = 1, seconds: float = float("inf")) -> Iterator[Verdict]:
    """Verdicts over the seeds; none is begun after so many seconds."""
    chunks = [seeds[place : place + CHUNK] for place in range(0, len(seeds), CHUNK)]
    deadline = time.monotonic() + seconds
    if jobs == 1:
        for chunk in chunks:
            yield from played(deadline, chunk)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for verdicts in pool.imap_unordered(partial(played, deadline), chunks):
            yield from verdicts


def played(deadline: float, seeds: range) -> list[Verdict]:
    """A chunk. The monotonic clock is the machine's, so that all processes share it."""
    return [play(seed) for seed in seeds if time.monotonic() < deadline]
