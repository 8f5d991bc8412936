"""A random history, told to several sides at once, with the same choices on each."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import orjson
from tests.twins.side import PARTITIONS, Side

from freshet.domain.model import Trigger
from freshet.storage.requests import NewRun
from freshet.testing.twins.rows import Bundle

_RETRIED = {"limit": 2, "delay": "PT30S"}
_PROCESS = {"process": "p@1.0.0"}

DOCUMENTS: Sequence[dict[str, Any]] = (
    {
        "name": "fan",
        "params": {"n": {"type": "integer", "default": 3}},
        "tasks": {
            "a": _PROCESS,
            "m": {**_PROCESS, "after": ["a"], "for_each": "tasks.a.result", "retries": _RETRIED},
            "over": {**_PROCESS, "after": ["m"], "for_each": "tasks.m.result", "on_failure": "continue"},
            "z": {**_PROCESS, "after": ["over"], "run_if": "all_done"},
            "wide": {**_PROCESS, "for_each": "${{ params.n }}", "retries": _RETRIED, "timeout": "PT2S"},
            "sized": {**_PROCESS, "after": ["a"], "for_each": "${{ size(tasks.a.result) }}"},
        },
        "finally": {"end": {"process": "q@1.0.0"}},
    },
    {
        "name": "nest",
        "params": {"n": {"type": "integer", "default": 3}},
        "priority": 50,
        "tasks": {
            "docs": {
                "for_each": "${{ params.n }}",
                "on_failure": "continue",
                "tasks": {
                    "split": _PROCESS,
                    "own": {**_PROCESS, "for_each": "${{ item }}"},
                    "part": {**_PROCESS, "after": ["split"], "for_each": "tasks.split.result"},
                    "whole": {**_PROCESS, "after": ["part"], "timeout": "PT20S", "retries": _RETRIED},
                },
                "result": "whole",
            },
            "sum": {**_PROCESS, "after": ["docs"], "for_each": "tasks.docs.result"},
        },
    },
    {
        "name": "chain",
        "tasks": {
            "a": _PROCESS,
            "b": {**_PROCESS, "after": ["a"]},
            "c": {**_PROCESS, "after": ["a"], "retries": _RETRIED},
            "d": {**_PROCESS, "after": ["b", "c"], "on_failure": "continue"},
            "never": {**_PROCESS, "after": ["b"], "run_if": "any_failed"},
            "e": {"process": "q@1.0.0", "after": ["d", "never"], "run_if": "all_done"},
            # So many that a decision sees a part of them.
            **{f"t{n}": {**_PROCESS, "after": [f"t{n - 1}" if n else "e"]} for n in range(12)},
            "map": {**_PROCESS, "after": ["t3"], "for_each": "2"},
        },
        "finally": {"end": _PROCESS},
    },
    {
        "name": "jobs",
        "params": {"n": {"type": "integer", "default": 3}},
        "tasks": {
            "train": {
                "job_service": {"image": "/d/s/r/i:1", "compute_pool": "P"},
                "for_each": "${{ params.n }}",
                "timeout": "PT30S",
                "retries": _RETRIED,
            },
            "use": {**_PROCESS, "after": ["train"], "timeout": "PT10S"},
            "either": {**_PROCESS, "after": ["train"], "run_if": "any_failed"},
        },
    },
)
_RESULTS: Sequence[Any] = (
    None,
    7,
    0,
    "text",
    [1, 2],
    [],
    ["a", {"b": [1.5, None]}, 3],
    {"k": [1], "n": {"x": True}},
    2.5,
)
_ENDS = ("succeeded",) * 8 + ("failed", "timed_out", "handed_back", "returned", "lost", "ended_transaction", "fatal")
_WORKERS = ("w1", "w2", "w3")
_AGES = (0.63, 8.37, 61.9, 700.0)

Step = Callable[[Side], Any]
Drawn = tuple[str, Step]  # what it is, and how to take it on a side


class Script:
    """Draws one step after the other. What is drawn hangs on the seed and on the first side's tables alone."""

    def __init__(self, seed: int, first: Side) -> None:
        self._random = random.Random(seed)
        self._first = first
        # Only items that are short travel together.
        self._seconds = self._random.choice(((0.001, 0.002), (0.001, 0.002), (0.001, 0.25, 4.0)))
        self._runs: list[UUID] = []
        self._tokens: list[UUID] = [self._uuid()]  # the first was never any bundle's
        self._steps: Sequence[tuple[int, Callable[[], Drawn | None]]] = (
            (3, self._start),
            (14, self._fold),
            (10, self._claim),
            (12, self._end),
            (3, self._end_with_effect),
            (8, self._shift),
            (12, self._go_on),
            (4, self._submit),
            (3, self._end_job),
            (2, self._ring),
            (3, self._age),
            (2, self._refill),
            (1, self._flush),
            (4, self._bury),
            (1, self._cancel),
            (1, self._rerun),
            (1, self._park),
            (1, self._release_held),
        )

    def draw(self) -> Drawn:
        """The next step that can be taken at all."""
        weights = [weight for weight, _ in self._steps]
        drawn = None if self._runs else self._start()
        while drawn is None:
            ((_, make),) = self._random.choices(self._steps, weights)
            drawn = make()
        return drawn

    # --- requests --------------------------------------------------------------------------------------------------

    def _start(self) -> Drawn:
        choice = self._random.random()
        origin = f"call:{self._random.randrange(4)}" if choice < 0.3 else None
        run = NewRun(
            id=self._uuid(),
            workflow=self._random.choice(DOCUMENTS)["name"],
            version=1,
            trigger=Trigger.CALL,
            params={"n": self._random.choice((0, 1, 2, 3, 5, 40, 40, "three"))},
            origin=origin,
            priority=self._random.choice((50, 100)),
            held=choice > 0.85,
        )
        self._runs.append(run.id)
        return f"start {run.workflow}", lambda side: side.start(run)

    def _cancel(self) -> Drawn | None:
        run = self._random.choice(self._runs)
        return "cancel", lambda side: side.cancel(run)

    def _rerun(self) -> Drawn | None:
        tables = self._first.backing.tables()
        ended = [run for run in self._runs if str(run) in tables.runs and tables.runs[str(run)].final]
        old, new = self._random.choice(ended or self._runs), self._uuid()
        again = self._random.choice((None, ("z", "end"), ("sum",), ("use", "either"), ("over", "z")))
        self._runs.append(new)
        return f"rerun {again}", lambda side: side.rerun(old, new, again)

    def _release_held(self) -> Drawn | None:
        return "release held", lambda side: side.release_held()

    # --- the dispatcher --------------------------------------------------------------------------------------------

    def _fold(self) -> Drawn | None:
        tables = self._first.backing.tables()
        if not (tables.reports or tables.requests) and self._random.random() < 0.9:
            return None
        partitions = PARTITIONS if self._random.random() < 0.7 else tuple(self._random.sample(PARTITIONS, 8))
        return "fold", lambda side: side.fold(partitions)

    def _ring(self) -> Drawn | None:
        return "ring", lambda side: side.ring_once()

    def _age(self) -> Drawn | None:
        seconds = self._random.choice(_AGES)

        def pass_and_ring(side: Side) -> Any:
            side.age(seconds)
            return side.ring_once()

        return f"age {seconds}", pass_and_ring

    def _refill(self) -> Drawn | None:
        return "refill", lambda side: side.refill_all()

    def _flush(self) -> Drawn | None:
        return "flush", lambda side: side.flush()

    def _bury(self) -> Drawn | None:
        holders = sorted({bundle.worker for bundle in self._first.bundles() if bundle.worker is not None})
        if not holders:
            return None
        worker = self._random.choice(holders)
        return f"bury {worker}", lambda side: side.bury(worker)

    # --- workers ---------------------------------------------------------------------------------------------------

    def _park(self) -> Drawn | None:
        run = self._random.choice(self._runs)
        return None if self._random.random() < 0.7 else ("park", lambda side: side.park(run))

    def _claim(self) -> Drawn | None:
        widest = max((len(bundle.items) for bundle in self._first.bundles()), default=0)
        least = self._random.choice((1, widest))
        place = self._place(lambda bundle: bundle.unheld and bundle.due_at is None and len(bundle.items) >= least)
        if place is None:
            return None
        worker, token = self._random.choice(_WORKERS), self._uuid()
        if self._random.random() < 0.1:
            token = self._random.choice(self._tokens)
        self._tokens.append(token)
        return f"claim {place}", lambda side: side.claim(place, worker, token)

    def _end(self) -> Drawn | None:
        ending = self._ending()
        if ending is None:
            return None
        place, token, body = ending
        return f"end {place} {body}", lambda side: side.end(place, token, body)

    def _end_with_effect(self) -> Drawn | None:
        ending = self._ending()
        if ending is None:
            return None
        place, token, body = ending
        values = None
        if self._random.random() < 0.5:
            yielded = self._random.choices(_RESULTS, k=self._random.randrange(4))
            values = orjson.dumps(yielded)
            body = [{"place": 0, "s": "succeeded", "n": len(yielded), "d": 0.5}]
        step = f"end {place} with an effect {body} {values!r}"
        return step, lambda side: side.end_with_effect(place, token, body, values)

    def _shift(self) -> Drawn | None:
        """A worker that mostly does well takes what is published, one bundle after the other."""
        worker, tokens = self._random.choice(_WORKERS), [self._uuid() for _ in range(6)]
        ends = [self._outcome(0) if self._random.random() < 0.2 else self._success() for _ in range(6)]
        if not any(bundle.published_at and bundle.unheld for bundle in self._first.bundles()):
            return None
        return f"shift {ends}", lambda side: side.work(worker, tokens, ends)

    def _go_on(self) -> Drawn | None:
        place = self._place(lambda bundle: bundle.unheld and bundle.due_at is None and len(bundle.items) == 1)
        if place is None:
            return None
        tokens = [self._uuid(), self._uuid()]
        self._tokens += tokens
        end = self._outcome(0) if self._random.random() < 0.15 else self._success()
        worker, before = self._random.choice(_WORKERS), self._random.random() < 0.3
        return f"go on {place} {end} {before}", lambda side: side.go_on(place, worker, tokens, end, before=before)

    def _submit(self) -> Drawn | None:
        place = self._place(lambda bundle: bundle.claim is not None and len(bundle.items) == 1)
        if place is None:
            return None
        token, job = self._token(place), f"JOB_{len(self._tokens)}"
        return f"submit {place}", lambda side: side.submit(place, token, job)

    def _end_job(self) -> Drawn | None:
        place = self._place(lambda bundle: bundle.submitted_at is not None)
        if place is None:
            return None
        body = [self._outcome(0, ended=True)]
        return f"end job {place} {body}", lambda side: side.end_job(place, body)

    def _ending(self) -> tuple[int, UUID, list[dict[str, Any]]] | None:
        place = self._place(lambda bundle: bundle.claim is not None)
        if place is None:
            return None
        bundle = self._first.bundles()[place]
        count = bundle.left if self._random.random() < 0.6 else self._random.randint(0, bundle.left + 1)
        shift = int(self._random.random() < 0.04)  # not the next items
        return place, self._token(place), [self._outcome(k + shift) for k in range(count)]

    def _outcome(self, place: int, *, ended: bool = False) -> dict[str, Any]:
        state = self._random.choice(_ENDS)
        if state == "succeeded":
            return self._success() | {"place": place}
        outcome: dict[str, Any] = {"place": place, "s": state}
        if self._random.random() < 0.8:
            outcome["d"] = self._random.choice(self._seconds)
        if state == "lost":
            outcome |= {"c": self._random.random() < 0.8, "x": ended}
        return outcome | {"e": {"class": self._random.choice(("user", "oom")), "message": "It broke."}}

    def _success(self) -> dict[str, Any]:
        result = self._random.choice(_RESULTS)
        return {"place": 0, "s": "succeeded", "r": result, "d": self._random.choice(self._seconds)}

    def _place(self, wanted: Callable[[Bundle], bool]) -> int | None:
        """Mostly a bundle that suits, now and then any."""
        bundles = self._first.bundles()
        suitable = [place for place, bundle in enumerate(bundles) if wanted(bundle)]
        among = suitable if self._random.random() < 0.9 else list(range(len(bundles)))
        return self._random.choice(among) if among else None

    def _token(self, place: int) -> UUID:
        """Mostly the bundle's own."""
        held = self._first.bundles()[place].claim
        return held if held is not None and self._random.random() < 0.95 else self._random.choice(self._tokens)

    def _uuid(self) -> UUID:
        return UUID(int=(1_700_000_000_000 + 1000 * self._random.randrange(1000) << 80) | self._random.getrandbits(76))
