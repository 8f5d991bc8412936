"""One thing beside another: a chain beside a mass of blocked tasks, a small map beside a wide one.

Guarantee: the same is measured alone on the same engine just before. Never: a peer's mass is called blocked when it
can't express what blocks it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.engine import Engine, measure
from benchmarks.figures import Figure
from benchmarks.scale import Scale, capped, chain_length
from benchmarks.workloads.cases import fan_case, hop_case

ALONE = "alone"
BLOCKED = "blocked-mass"
NOISY = "noisy-neighbour"
PEERS_CONTENDED = 20
PEERS_HEAD_START_S = (
    3.0  # until the first task of a wide map has queued its items; the peers' take half a minute or more
)


def blocked_mass(scale: Scale, engine: Engine) -> Iterator[Figure]:
    """A chain's hops alone, then beside tasks that wait for what never ends."""
    runs, width = scale.blocked
    chain = hop_case(chain_length(scale.hop, engine.name))
    yield measure(engine, BLOCKED, replace(chain, label=ALONE), times=times_of(scale, engine))
    mass = engine.start("blocked", {"runs": runs, "width": width})
    engine.settle()
    beside = replace(chain, label=f"beside {runs * width:,} blocked")
    yield measure(engine, BLOCKED, beside, times=times_of(scale, engine))
    engine.cancel(mass)


def noisy_neighbour(scale: Scale, engine: Engine) -> Iterator[Figure]:
    """A small map's seconds alone, then beside a wide one of the same process; CPU is that of both."""
    wide, small = capped(scale.noisy[0], engine.name), scale.noisy[1]
    case = fan_case(small, kind="small")
    yield measure(engine, NOISY, replace(case, label=ALONE), times=times_of(scale, engine))
    neighbour = engine.start("fan", {"n": wide})
    time.sleep(scale.head_start_s if engine.name == "freshet" else PEERS_HEAD_START_S)
    beside = replace(case, label=f"beside {wide:,}")
    figure = measure(engine, NOISY, beside, times=times_of(scale, engine), settle=False)
    began = time.monotonic()
    answer = engine.finish(neighbour)
    rest = {"neighbour_ran_on_s": time.monotonic() - began, "neighbour_joined": answer.get("joined")}
    yield replace(figure, details={**figure.details, **rest}, problem=figure.problem or answer.get("problem"))
    engine.settle()


def times_of(scale: Scale, engine: Engine) -> int:
    """A p99 wants more than a hundred measurements; peers of which one takes a second get fewer."""
    return scale.contended if engine.name == "freshet" else min(PEERS_CONTENDED, scale.contended)
