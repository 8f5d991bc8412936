"""Which fault strikes whom and when: a function of the seed.

Guarantees: the same seed, length and abilities give the same faults; every kind that the machine allows comes about
in each run that is long enough; every fault is over when the plan is. Never: a look at the clock or at a process.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

WORKERS = ("worker-1", "worker-2", "worker-3")
DISPATCHERS = ("dispatcher-1", "dispatcher-2", "dispatcher-3")
#: The copies that can be cut off; of each there is another one that goes on.
CUT_OFF = ("worker-3", "dispatcher-3", "recorder-2")
KILLED = (
    "api",
    "scheduler-1",
    "scheduler-2",
    *DISPATCHERS,
    *WORKERS,
    *WORKERS,
    "recorder-1",
    "recorder-2",
    "emulator",
)
#: Seconds between two faults, on average, beside the restarts of Postgres.
GAP = 4.0
#: Seconds without a fault at the beginning, so that there is something to lose.
CALM = 5.0
#: Seconds of a cycle; in its first part Postgres is left alone, in the rest it restarts every 5 to 20 s.
CYCLE, QUIET = 75.0, 30.0


class Kind(StrEnum):
    """What can happen."""

    KILL = "kill -9"
    FLUSH = "redis flushall"
    REDIS_KEPT = "redis restart, append-only file kept"
    REDIS_LOST = "redis restart, append-only file lost"
    POSTGRES_FAST = "postgres restart, fast"
    POSTGRES_IMMEDIATE = "postgres restart, immediate"
    STOP_SUPERVISOR = "SIGSTOP of a supervisor, less than the lease"
    STOP_WORKER = "SIGSTOP of supervisor and child, less than the lease"
    STOP_WORKER_LONG = "SIGSTOP of supervisor and child, more than the lease"
    STOP_DISPATCHER = "SIGSTOP of a dispatcher, less than the lease"
    STOP_DISPATCHER_LONG = "SIGSTOP of a dispatcher, more than the lease"
    DISK_FULL = "disk full"
    CUT = "cut off from both servers"
    CUT_IN_RESTART = "cut off while postgres restarts"


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One blow: `at` seconds after the beginning, lasting `seconds` (0: a moment)."""

    at: float
    kind: Kind
    target: str = ""
    seconds: float = 0.0


def plan(seed: int, *, length: float, lease: float, disk: bool) -> tuple[Fault, ...]:
    """The faults of a run of `length` seconds, in order. `disk`: whether a disk can be filled."""
    draw = random.Random(seed)
    faults = [*_dealt(draw, length, lease, disk=disk), *_restarts(draw, length)]
    return tuple(sorted((each for each in faults if each.at + each.seconds <= length), key=lambda each: each.at))


def _dealt(draw: random.Random, length: float, lease: float, *, disk: bool) -> Iterator[Fault]:
    """Faults from a shuffled deck, so that rare kinds come about in short runs too."""
    deck: list[Kind] = []
    first, at = True, CALM
    while at < length:
        if not deck:
            deck = _deck(draw, first=first, disk=disk)
            first = False
        yield _fault(draw, deck.pop(), at, lease)
        at += draw.uniform(0.3, 2 * GAP - 0.3)


def _deck(draw: random.Random, *, first: bool, disk: bool) -> list[Kind]:
    """A shuffled deck. What takes longer than a lease is dealt once, and then now and then; it lies on top."""
    deck = [Kind.KILL] * 10 + [Kind.STOP_SUPERVISOR, Kind.STOP_WORKER, Kind.STOP_DISPATCHER]
    deck += [Kind.FLUSH, Kind.REDIS_KEPT, Kind.REDIS_LOST, Kind.CUT, Kind.CUT_IN_RESTART]
    deck += [Kind.DISK_FULL] if disk else []
    draw.shuffle(deck)
    long = [Kind.STOP_WORKER_LONG, Kind.STOP_DISPATCHER_LONG]
    return deck + [kind for kind in long if first or draw.random() < 0.15]


#: Whom a kind of fault meets, and the shortest and longest time it takes: in seconds, or in leases.
_TARGETS: dict[Kind, Sequence[str]] = {
    Kind.KILL: KILLED,
    Kind.STOP_SUPERVISOR: WORKERS,
    Kind.STOP_WORKER: WORKERS,
    Kind.STOP_WORKER_LONG: WORKERS,
    Kind.STOP_DISPATCHER: DISPATCHERS,
    Kind.STOP_DISPATCHER_LONG: DISPATCHERS,
    Kind.CUT: CUT_OFF,
    Kind.CUT_IN_RESTART: CUT_OFF,
}
_SECONDS = {
    Kind.REDIS_KEPT: (0.2, 3.0),
    Kind.REDIS_LOST: (0.2, 3.0),
    Kind.DISK_FULL: (1.0, 4.0),
    Kind.CUT: (1.0, 20.0),
    Kind.CUT_IN_RESTART: (6.0, 15.0),
}
_LEASES = {
    Kind.STOP_SUPERVISOR: (0.03, 0.8),
    Kind.STOP_WORKER: (0.03, 0.8),
    Kind.STOP_DISPATCHER: (0.03, 0.8),
    Kind.STOP_WORKER_LONG: (1.2, 1.3),
    Kind.STOP_DISPATCHER_LONG: (1.2, 1.3),
}


def _fault(draw: random.Random, kind: Kind, at: float, lease: float) -> Fault:
    targets = _TARGETS.get(kind, ("",))
    seconds = draw.uniform(*_SECONDS.get(kind, (0.0, 0.0))) + lease * draw.uniform(*_LEASES.get(kind, (0.0, 0.0)))
    return Fault(at=round(at, 3), kind=kind, target=draw.choice(targets), seconds=round(seconds, 3))


def _restarts(draw: random.Random, length: float) -> Iterator[Fault]:
    """Postgres restarts every 5 to 20 s in phases: always, and nothing would move."""
    at = 0.0
    while at < length:
        until, at = at + CYCLE, at + QUIET
        while at < min(until, length):
            kind = draw.choice((Kind.POSTGRES_FAST, Kind.POSTGRES_IMMEDIATE))
            yield Fault(at=round(at, 3), kind=kind, seconds=round(draw.uniform(0.0, 2.0), 3))
            at += draw.uniform(5.0, 20.0)
        at = until


def counts(faults: Sequence[Fault]) -> dict[str, int]:
    """How many of each kind; kills by service."""
    found: dict[str, int] = {}
    for each in faults:
        word = f"{each.kind} {each.target.partition('-')[0]}" if each.kind is Kind.KILL else str(each.kind)
        found[word] = found.get(word, 0) + 1
    return dict(sorted(found.items()))
