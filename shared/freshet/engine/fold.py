"""The batch: fold, decide, commit, publish.

Purpose: everything that the inbox holds becomes decisions, in one transaction for many runs. Guarantees: state, items,
bundles and facts commit together; what is published was committed; a crash in between is repaired from rows. A batch
that fails with a data error is halved until the culprit stands alone and is parked. Never: a wait.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from freshet.bus import Bus, Message
from freshet.domain.errors import FreshetError, UnreachableError
from freshet.domain.model import Workflow
from freshet.engine.decision import Decision
from freshet.engine.pace import Pace
from freshet.engine.run_fold import RunFold
from freshet.runtime import fault, log
from freshet.storage.database import StatementError
from freshet.storage.engine_rows import OutcomeRow, Put, RunRow, Taken, TaskRunRow
from freshet.storage.engine_store import EngineBatch, EngineStore

Definitions = Callable[[str, int], Workflow]

#: What says nothing about the runs of a batch: a server that is away, or one whose schema is not ours (yet).
RETRIED = (UnreachableError, StatementError)


@dataclass(frozen=True, kw_only=True, slots=True)
class Folded:
    """What a batch did."""

    runs: int = 0
    outcomes: int = 0
    bundles: int = 0
    again: bool = False  # the inbox holds more
    hop_s: float | None = None  # from the oldest report's commit to its successors' publication
    backlog: frozenset[str] = frozenset()  # queues that got more bundles than they have room for


class Folder:
    """Folds the inbox of partitions."""

    def __init__(
        self,
        store: EngineStore,
        bus: Bus,
        definitions: Definitions,
        pace: Pace,
        *,
        limit: int = 200,
        draw: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`definitions` gives a version's workflow; `limit` bounds the reports and requests of one batch."""
        self._clock = clock
        self._store = store
        self._bus = bus
        self._definitions = definitions
        self._pace = pace
        self._limit = limit
        self._draw = draw
        self._log = log.logger()

    def fold(self, partitions: Sequence[int]) -> Folded:
        """One batch. Raises UnreachableError or StatementError; nothing is lost by either."""
        try:
            first = self._little_first(partitions)
            rest = self._batch(partitions, None)
            return replace(rest, runs=first.runs + rest.runs, backlog=first.backlog | rest.backlog)
        except RETRIED:
            raise
        except Exception as error:  # noqa: BLE001  (a data error or the core's: the culprit is found and parked)
            self._log.warning("batch_failed", message=f"A batch failed and is halved: {error}")
            return self._halve(partitions, self._store.runs_in_inbox(partitions, limit=self._limit))

    def _little_first(self, partitions: Sequence[int]) -> Folded:
        """Runs with little work do not wait for what a wide map costs: they have a batch of their own before it."""
        if not self._pace.is_crowded:
            return Folded()
        little = self._pace.little(self._store.runs_in_inbox(partitions, limit=self._limit))
        return self._batch(partitions, little) if little else Folded()

    def _halve(self, partitions: Sequence[int], runs: Sequence[str]) -> Folded:
        try:
            return self._batch(partitions, runs)
        except RETRIED:
            raise
        except Exception as error:  # noqa: BLE001  (as above: the culprit is found and parked)
            if len(runs) <= 1:
                return self._park(runs, error)
            middle = len(runs) // 2
            self._halve(partitions, runs[:middle])
            self._halve(partitions, runs[middle:])
            return Folded(again=True)

    def _park(self, runs: Sequence[str], error: Exception) -> Folded:
        for run in runs:
            sentence = error.message if isinstance(error, FreshetError) else f"{type(error).__name__}: {error}"
            self._log.exception("run_parked", message=f"Run {run} can't be decided: {sentence}", run_id=run)
            fact = {"type": "freshet.run.failed.v1", "root_task_name": None, "traceparent": None}
            self._bus.announce(self._store.park(run, sentence, fact))
        return Folded(again=True)

    def _batch(self, partitions: Sequence[int], runs: Sequence[str] | None) -> Folded:
        began = self._clock()
        with self._store.batch() as batch:
            taken = batch.take(partitions, limit=self._limit, runs=runs)
            if taken is None:
                return Folded()
            fault.reach("fold.taken")
            decision = self._decide(taken, batch)
            backlog = self._mark_published(decision)
            put = batch.put(decision.rows(), now=taken.now)
            fault.reach("fold.decided")
        fault.reach("fold.committed")
        self._publish(taken, decision, put)
        return Folded(
            runs=len(taken.runs),
            outcomes=len(taken.outcomes),
            bundles=len(put.bundles),
            again=taken.full,
            hop_s=None if taken.waited is None else taken.waited + self._clock() - began,
            backlog=backlog,
        )

    def _decide(self, taken: Taken, batch: EngineBatch) -> Decision:
        nodes: dict[str, list[TaskRunRow]] = defaultdict(list)
        for row in taken.nodes:
            nodes[row.run_id].append(row)
        outcomes: dict[str, list[OutcomeRow]] = defaultdict(list)
        for outcome in taken.outcomes:
            outcomes[outcome.run_id].append(outcome)
        decision = Decision()
        for run in taken.runs:
            kinds = [kind for run_id, kind in taken.requests if run_id == run.id]
            fold = self._run_fold(run, nodes[run.id], batch, taken.now)
            decision.extend(decide_run(fold, outcomes[run.id], kinds))
        return decision

    def _run_fold(self, run: RunRow, nodes: Sequence[TaskRunRow], batch: EngineBatch, now: str) -> RunFold:
        workflow = self._definitions(run.workflow, run.version)
        return RunFold(run, workflow, nodes, batch=batch, now=now, pace=self._pace, draw=self._draw)

    def _mark_published(self, decision: Decision) -> frozenset[str]:
        """Say which bundles have room in their queue; the queues for which some have not."""
        # Places in a compute pool are counted by the refill alone, so what takes one waits for it.
        limited = {row["queue"] for row in decision.bundles() if row["limit_key"] is not None}
        free = [row for row in decision.bundles() if row["limit_key"] is None]
        wanted: dict[str, int] = defaultdict(int)
        for row in free:
            wanted[row["queue"]] += 1
        room = {queue: self._pace.room(queue, count) for queue, count in wanted.items()}
        for row in free:
            queue, priority = row["queue"], row["priority"]
            row["ahead"] = row["behind"] and self._pace.may_go_ahead(queue, priority)
            row["published"] = row["ahead"] or room[queue] > 0
            room[queue] -= not row["ahead"]
            if row["published"] and not row["ahead"]:
                self._pace.published(queue, row["turn"], priority)
        return frozenset(queue for queue, left in room.items() if left < 0) | limited

    def _publish(self, taken: Taken, decision: Decision, put: Put) -> None:
        """After the commit. What is lost here is found again: bundles by their age, facts by the recorder's sweep."""
        if put.bundles:
            self._pace.lengths(self._bus.publish(_messages(decision, put)))
        fault.reach("fold.published")
        announced = [*taken.announced, *put.announced]
        if announced:
            self._bus.announce(announced)
        if put.released:
            self._bus.wake_dispatcher(put.released)
        self._stop(decision)

    def _stop(self, decision: Decision) -> None:
        """Hints that work goes on for nothing: the claims are gone already."""
        for worker, bundle in decision.stops:
            if worker is not None:
                self._bus.request_stop(worker, bundle)
        if any(worker is None for worker, _ in decision.stops):
            self._bus.wake_watcher()  # a job service in flight is nobody's now, and is reaped at the next look


def _messages(decision: Decision, put: Put) -> list[Message]:
    # New bundles come first and have their ids in the order of their rows; a mistake here would cost a place in line.
    ahead = [row["ahead"] for row in decision.bundles() if row.get("published")]
    known = len(ahead) == len(put.bundles)
    return [
        Message(queue=queue, bundle_id=key, ahead=known and ahead[place])
        for place, (key, queue) in enumerate(put.bundles)
    ]


def decide_run(fold: RunFold, outcomes: Sequence[OutcomeRow], kinds: Sequence[str]) -> Decision:
    """What follows for one run from what came in."""
    if "start" in kinds:
        fold.start()
    # Reports before a cancel: what was committed wins over what was not.
    fold.apply(outcomes, cancelling="cancel" in kinds)
    if "cancel" in kinds:
        fold.cancel()
    fold.settle()
    return fold.decided()
