"""How many items travel in one bundle, and how many of a map are in flight.

Purpose: short items go in bundles, so that the queue costs less than the work; long ones go one at a time, so that no
worker idles beside a full one. Guarantees: nothing beyond the map's end, nothing above the window, and a map with
nothing in flight always goes on. Never: a queue, a clock; the mean is measured elsewhere, in seconds per item.
"""

from __future__ import annotations

from collections.abc import Iterator

#: Seconds that a bundle of short items should take. From there on, larger bundles gain little (a spike ran 300
#: tasks/s at size 1, 3,300 at 20, 7,600 at 50, 14,000 at 100) and lose more when a worker dies.
BUNDLE_SECONDS = 0.05
BUNDLE_CAP = 200
#: The same while another run has little work under way: it waits for a bundle in a worker's hands at every step. Then
#: each worker gets one bundle at a time, and what it leaves of the machine is for the others.
SHARED_CAP = 50

WINDOW_FLOOR = 64
WINDOW_CAP = 4000
#: Bundles that a window holds at least, and for each worker. Not more: a refill of half a window is one transaction,
#: and whoever wants something of the dispatcher meanwhile waits for it.
WINDOW_BUNDLES, WINDOW_SHARE = 10, 4

#: Seconds of work below which items are not shared out: a bundle costs more than it would save.
LITTLE = 0.005

#: Bundles for each worker: one to run, one that waits, so that none idles between two.
SHARE = 2


def bundle_size(mean_s: float | None, remaining: int, workers: int, *, cap: int = BUNDLE_CAP) -> int:
    """Answer how many items to put in one bundle, at most `cap`; 1 while the mean is unknown."""
    if mean_s is None:
        return 1
    size = min(cap, int(BUNDLE_SECONDS / max(mean_s, 1e-6)))
    share = -(-remaining // (SHARE * max(1, workers)))
    return max(1, min(size, max(share, int(LITTLE / max(mean_s, 1e-6)))))


def window(size: int, *, workers: int = 1, floor: int = WINDOW_FLOOR) -> int:
    """Answer how many items of one map may be in flight at this bundle size.

    Never fewer than keep every worker busy. A higher `floor` suits items that hold no worker while they run.
    """
    bundles = max(WINDOW_BUNDLES, WINDOW_SHARE * workers)
    return max(floor, SHARE * workers, min(WINDOW_CAP, bundles * size))


def plan(
    total: int,
    mark: int,
    in_flight: int,
    *,
    mean_s: float | None,
    measured: int,
    workers: int,
    floor: int = WINDOW_FLOOR,
    cap: int = BUNDLE_CAP,
) -> tuple[int, ...]:
    """Answer the sizes of the bundles to open next, for a map of `total` items of which `mark` were opened.

    While no item is `measured`, a few singles probe; then it jumps to the size that the mean allows. It refills
    only below half a window, so that refills are few and large.
    """
    remaining = total - mark
    if measured == 0 or mean_s is None:
        probes = SHARE * max(1, workers) - in_flight
        return (1,) * max(0, min(probes, remaining))
    size = bundle_size(mean_s, remaining, workers, cap=cap)
    limit = window(size, workers=workers, floor=floor) if cap == BUNDLE_CAP else max(floor, max(1, workers) * size)
    if 2 * in_flight >= limit:
        return ()
    return tuple(_bundles(size, min(limit - in_flight, remaining)))


def _bundles(size: int, items: int) -> Iterator[int]:
    full, rest = divmod(items, size)
    yield from (size,) * full
    if rest:
        yield rest
