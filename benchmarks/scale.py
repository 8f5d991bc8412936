"""How large the workloads are.

Guarantee: one table of sizes for each scale; a peer that is slow gets a smaller N, and its size is shown. Never: a size
that depends on what was measured before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

Sizes = tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """Counts of items, tasks and runs; minutes; and how often each case is repeated."""

    name: str
    repeats: int
    hop: int  # tasks of the chain
    chains: int  # chains in one measurement
    fan: Sizes
    rows: Sizes
    nested: tuple[int, int]  # groups, items of each
    diamonds: int
    payload_items: int
    payload_bytes: Sizes
    fibo: tuple[tuple[int, int], ...]  # tasks, argument
    blocked: tuple[int, int]  # runs, tasks behind the gate of each
    contended: int  # measurements beside a mass or a neighbour
    noisy: tuple[int, int]  # items of the big one, of the small one
    head_start_s: float  # of the big one, on Freshet
    history: Sizes  # finished items stored
    endurance_s: float  # of hops back to back
    growth_items: Sizes
    growth_workers: Sizes
    growth_dispatchers: Sizes
    growth_blocked: Sizes
    memory_items: int


FULL = Scale(
    name="full",
    repeats=3,
    hop=50,
    chains=5,
    fan=(100, 1_000, 10_000, 100_000, 1_000_000),
    rows=(1_000, 10_000, 100_000),
    nested=(1_000, 1_000),
    diamonds=1_000,
    payload_items=200,
    payload_bytes=(1_000, 16_000, 160_000),
    fibo=((40, 10), (10, 33)),
    blocked=(50, 100),
    contended=200,
    noisy=(400_000, 10),
    head_start_s=1.0,
    history=(10_000_000,),
    endurance_s=1_800.0,
    growth_items=(100, 1_000, 10_000, 100_000),
    growth_workers=(1, 2, 4, 8),
    growth_dispatchers=(1, 2, 4),
    growth_blocked=(0, 1_000, 5_000, 20_000),
    memory_items=100_000,
)
QUICK = replace(
    FULL,
    name="quick",
    repeats=1,
    chains=2,
    fan=(1_000, 10_000),
    rows=(1_000,),
    nested=(30, 30),
    diamonds=100,
    payload_items=20,
    fibo=((40, 10),),
    blocked=(5, 100),
    contended=5,
    noisy=(10_000, 10),
    head_start_s=0.2,
    history=(100_000,),
    endurance_s=30.0,
    growth_items=(100, 1_000, 10_000),
    growth_workers=(1, 2),
    growth_dispatchers=(1, 2),
    growth_blocked=(0, 500),
    memory_items=10_000,
)
TINY = replace(
    QUICK,
    name="tiny",
    hop=10,
    chains=1,
    fan=(100, 300),
    rows=(100,),
    nested=(5, 5),
    diamonds=10,
    payload_items=3,
    fibo=((5, 10),),
    blocked=(2, 10),
    contended=2,
    noisy=(1_000, 10),
    head_start_s=0.02,
    history=(2_000,),
    endurance_s=5.0,
    growth_items=(100, 300),
    growth_blocked=(0, 20),
    memory_items=1_000,
)
SCALES = {scale.name: scale for scale in (TINY, QUICK, FULL)}

#: Items that an engine gets at most in one request: about a minute's work. Freshet is not limited.
LIMITS = {"rq": 10_000, "celery": 10_000, "dbos": 2_000, "procrastinate": 10_000, "prefect": 500, "airflow": 30}
#: The engines that take seconds for a hop get shorter chains and fewer of them.
SLOW = {"airflow": 10}


def sizes(wanted: Sizes, engine: str) -> Sizes:
    """The sizes that an engine is asked for: those within its limit, or its limit if all are above."""
    limit = LIMITS.get(engine)
    if limit is None:
        return wanted
    return tuple(size for size in wanted if size <= limit) or (limit,)


def capped(count: int, engine: str) -> int:
    """A count within an engine's limit."""
    return min(count, LIMITS.get(engine, count))


def chain_length(wanted: int, engine: str) -> int:
    """How many tasks a chain has on this engine."""
    return min(wanted, SLOW.get(engine, wanted))
