"""What failed, waits or was lost: outcome rows to rows of the decision, by the core's item_step.

Guarantees: a retry is a new attempt with a bundle of its own; a lost bundle's items come back as singles; what was
handed back or returned comes back as it was. Never: a success (SQL has folded it).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from freshet.domain.item_step import End, Item, Outcome, Requeue, Retry, Step, Verdict, item_step
from freshet.domain.states import ItemState
from freshet.engine.decision import Decision
from freshet.engine.facts import item_facts
from freshet.engine.loaded import LoadedTask
from freshet.storage.engine_rows import OutcomeRow, RunRow

#: Which counter of the TaskRun an item's final state adds to. Expired counts as failed.
COUNTER = {ItemState.FAILED: "failed", ItemState.EXPIRED: "failed", ItemState.CANCELLED: "cancelled"}

#: Outcomes in which the user's code was tried.
TRIED = {Verdict.FAILED, Verdict.TIMED_OUT, Verdict.ENDED_TRANSACTION, Verdict.FATAL}

Queue = Callable[[LoadedTask], dict[str, Any]]


class Outcomes:
    """The outcomes of one run within a batch."""

    def __init__(self, run: RunRow, *, now: str, draw: Callable[[], float], queue: Queue) -> None:
        """`queue` makes the common part of a bundle's row; `draw` is the jitter's randomness, in [0, 1)."""
        self._run = run
        self._now = now
        self._draw = draw
        self._queue = queue
        self._ended: list[tuple[LoadedTask, OutcomeRow, str, object]] = []
        self._together: dict[tuple[int, int, float], list[tuple[LoadedTask, OutcomeRow]]] = defaultdict(list)
        self.decision = Decision()

    def apply(self, loaded: LoadedTask, outcome: OutcomeRow, *, last: bool) -> None:
        """Decide about one item. `last`: its run was cancelled, so nothing is tried again."""
        verdict = Verdict(outcome.outcome)
        step = item_step(_item(outcome), _outcome(outcome, verdict), loaded.task.retries, self._draw())
        if last and not isinstance(step, End):
            step = End(state=ItemState.CANCELLED)
        tries = _tries(outcome, verdict)
        loaded.tries += tries
        self.decision.items.append(_row(outcome, step))
        if isinstance(step, End) and step.state is ItemState.CANCELLED and not tries:
            # Its bundle was in a worker's hands, the item was not: that leaves no attempt in the log.
            outcome = replace(outcome, worker=None, claimed_at=None, seconds=None)
        match step:
            case End():
                self._end(loaded, outcome, step)
            case Retry():
                self._note(loaded, outcome, "retrying")
                self._single(loaded, outcome, attempt=step.attempt, delay=step.delay)
            case Requeue():
                self._requeue(loaded, outcome, step, verdict)

    def finished(self) -> Decision:
        """The rows and facts of all of them."""
        for (_, _, delay), items in self._together.items():
            loaded = items[0][0]
            self.decision.again.append(
                self._queue(loaded)
                | {
                    "items": [outcome.item for _, outcome in items],
                    "attempts": [outcome.attempt for _, outcome in items],
                    "delay_s": delay,
                }
            )
        facts = item_facts(self._run, self._ended, now=self._now)
        if facts:
            self.decision.facts.append({"run_id": self._run.id, "body": facts})
        return self.decision

    def _end(self, loaded: LoadedTask, outcome: OutcomeRow, step: End) -> None:
        loaded.add(COUNTER[step.state])
        if step.state is not ItemState.CANCELLED:
            loaded.fail({"class": step.error_class, **_error(outcome), "item": outcome.item & 0xFFFFFF})
        self._note(loaded, outcome, step.state)

    def _requeue(self, loaded: LoadedTask, outcome: OutcomeRow, step: Requeue, verdict: Verdict) -> None:
        self._note(loaded, outcome, "queued")
        if verdict is Verdict.LOST:
            # Nobody knows which item of a bundle killed its worker: alone, it charges itself.
            self._single(loaded, outcome, attempt=step.attempt, delay=step.delay)
        else:
            self._together[loaded.row.id, outcome.bundle_id, step.delay].append((loaded, outcome))

    def _single(self, loaded: LoadedTask, outcome: OutcomeRow, *, attempt: int, delay: float) -> None:
        row = self._queue(loaded) | {"items": [outcome.item], "attempts": [attempt], "delay_s": delay}
        self.decision.again.append(row)

    def _note(self, loaded: LoadedTask, outcome: OutcomeRow, state: str) -> None:
        self._ended.append((loaded, outcome, str(state), dict(outcome.error) if outcome.error else None))


def _tries(outcome: OutcomeRow, verdict: Verdict) -> int:
    if verdict is Verdict.CANCELLED:
        return int(bool(outcome.charged))  # it was in a worker's hands
    return int(verdict in TRIED or (verdict is Verdict.LOST and bool(outcome.ended)))


def _item(row: OutcomeRow) -> Item:
    return Item(attempt=row.attempt, failures=row.failures, losses=row.losses, handbacks=row.handbacks)


def _outcome(row: OutcomeRow, verdict: Verdict) -> Outcome:
    named = row.error.get("class") if row.error else None
    charged = True if row.charged is None else row.charged
    return Outcome(verdict=verdict, error_class=named, charged=charged, ended=bool(row.ended))


def _row(outcome: OutcomeRow, step: Step) -> dict[str, Any]:
    numbers = {"failures": outcome.failures, "losses": outcome.losses, "handbacks": outcome.handbacks}
    if isinstance(step, End):
        row = {"state": step.state, "attempt": outcome.attempt, **numbers}
    else:
        row = {"state": "queued", "attempt": step.attempt}
        row |= {name: getattr(step, name) for name in numbers}
    return {"id": outcome.item, **row, "error": dict(outcome.error) if outcome.error else None}


def _error(outcome: OutcomeRow) -> dict[str, Any]:
    error = dict(outcome.error or {})
    error.pop("traceback", None)
    return error
