"""Eager dispatch: the worker that ends a task decides what follows, and goes on with it.

Purpose: a hop in one transaction (report, decision, claim of the next bundle) instead of three and a queue between
them. Guarantees: the same core decides, under the same lock of the run, on the same rows as in a dispatcher's batch;
what is not plain (maps, job services, failures, cancels) is left to the dispatcher, and so is whatever goes wrong.
Never: a wait for a lock, and no bundle that is neither claimed, published nor found again by its age.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from uuid import UUID

import orjson

from freshet.bus import Bus, Message
from freshet.domain.errors import FreshetError, UnreachableError
from freshet.engine.decision import Decision
from freshet.engine.fold import Definitions, decide_run
from freshet.engine.loaded import is_plain
from freshet.engine.pace import AT_LEAST, Pace
from freshet.engine.run_fold import RunFold
from freshet.runtime import fault, log
from freshet.storage.engine_rows import Put, Taken
from freshet.storage.engine_store import EngineBatch, EngineStore
from freshet.storage.worker_store import Claimed, Fact

#: What a worker has from the end of a task: the next bundle, claimed, and the facts to announce.
Onward = tuple[Claimed | None, list[Fact]]


class _LeftError(Exception):
    """The decision is the dispatcher's."""


class EagerDispatch:
    """One worker's."""

    def __init__(
        self,
        store: EngineStore,
        bus: Bus,
        definitions: Definitions,
        *,
        worker: str,
        queues: Sequence[str],
        draw: Callable[[], float] = random.random,
    ) -> None:
        """`queues` are those that the worker serves."""
        self._store = store
        self._bus = bus
        self._definitions = definitions
        self._worker = worker
        self._queues = tuple(queues)
        self._draw = draw
        # No plain task asks how wide a window is, nor how long a queue; the worker has seen that its queues are empty.
        self._pace = Pace(queue_depth=AT_LEAST, depths=lambda queues: dict.fromkeys(queues, 0))

    def may_end(self, claimed: Claimed) -> bool:
        """Whether a bundle is one whose end this may decide: of a plain task that only plain ones follow."""
        document = claimed.document
        if document["mapped"] or document["task"]["scope"] is not None:
            return False
        workflow = self._definitions(document["run"]["workflow"], document["run"]["version"])
        path = document["task"]["path"]
        return all(is_plain(workflow.task(each)) for each in (path, *workflow.children(path)))

    def end(
        self, claimed: Claimed, outcomes: Sequence[bytes], *, claim: UUID, note: Callable[[int], None]
    ) -> Onward | None:
        """Report the outcome (none: it is committed), decide, and claim what follows under `claim`; None: nothing of
        this happened. `note` is told the next bundle before the commit, whose answer may be lost.
        """
        put = Put()
        try:
            with self._store.batch() as batch:
                taken = batch.finish_and_take(
                    claimed.document["bundle"], claimed.claim, [orjson.Fragment(body) for body in outcomes]
                )
                next_one = None
                if taken is not None:
                    put, next_one = self._put(self._decided(taken, batch), taken, batch, claim)
                if next_one is not None:
                    note(next_one.bundle)
                fault.reach("eager.decided")
        except _LeftError:
            return None
        except Exception as error:  # noqa: BLE001  (whatever it is: the dispatcher meets it too, and knows what to do)
            sentence = error.message if isinstance(error, FreshetError) else f"{type(error).__name__}: {error}"
            log.logger().debug("eager_dispatch_left", message=sentence)
            return None
        fault.reach("eager.committed")
        self._publish(claimed, put, next_one)
        return next_one, [*(taken.announced if taken else []), *put.announced]

    def _decided(self, taken: Taken, batch: EngineBatch) -> Decision:
        run = taken.runs[0]
        workflow = self._definitions(run.workflow, run.version)
        fold = RunFold(run, workflow, taken.nodes, batch=batch, now=taken.now, pace=self._pace, draw=self._draw)
        decision = decide_run(fold, [], [])
        if not fold.is_plain or decision.again or decision.stops or len(decision.fresh) > AT_LEAST:
            raise _LeftError
        return decision

    def _put(self, decision: Decision, taken: Taken, batch: EngineBatch, claim: UUID) -> tuple[Put, Claimed | None]:
        for row in decision.fresh:
            row["published"] = True
        return batch.put_and_claim(
            decision.rows(), now=taken.now, queues=self._queues, worker=self._worker, claim=claim
        )

    def _publish(self, claimed: Claimed, put: Put, next_one: Claimed | None) -> None:
        """What others go on with. Lost here, it is found again: bundles by their age, reports by the dispatcher."""
        messages = [
            Message(queue=queue, bundle_id=key)
            for key, queue in put.bundles
            if next_one is None or key != next_one.bundle
        ]
        try:
            if messages:
                self._bus.publish(messages)
            # Who stops here has left something to the dispatcher, or takes from a queue that it should fill again.
            own = [claimed.document["bundle"]["partition"]] if next_one is None else []
            if put.released or own:
                self._bus.wake_dispatcher([*put.released, *own])
        except UnreachableError as error:
            log.logger().debug("wake_lost", message=error.message)
