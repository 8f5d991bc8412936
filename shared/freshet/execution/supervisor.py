"""A worker: one supervisor, one warm child.

Purpose: pop a message, claim its bundle, have it worked through, report. Guarantees: user code never runs in this
process; what can't be served here is handed back; SIGTERM finishes the item in hand and returns the rest; a bundle
popped while Postgres is away is claimed when it is back. Never: a claim that nobody answers for; whatever goes wrong
in here, the rest of the bundle is given back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar
from uuid import UUID, uuid4

from freshet.bus import Bus, QueueWorker
from freshet.domain.errors import ClaimLostError, FreshetError, UnreachableError
from freshet.domain.model import ENGINE, Kind, Task
from freshet.execution.bundle_run import BundleRun, Rules
from freshet.execution.nursery import Nursery
from freshet.execution.onward import EagerDispatch, Onward
from freshet.execution.payload import Definitions, Preparation
from freshet.execution.pulse import Pulse
from freshet.execution.signals import Signals
from freshet.execution.times import Stopwatch
from freshet.runtime import fault, log
from freshet.runtime.service import PassResult, backoff
from freshet.storage.database import StatementError
from freshet.storage.reads import Reads
from freshet.storage.worker_store import Claimed, WorkerStore

Answer = TypeVar("Answer")


class Launcher(Protocol):
    """Submits what runs in another system: job services, scripts on Snowflake."""

    def launch(self, preparation: Preparation) -> str | None:
        """Submit the item of a claimed bundle; a reason if it has to be handed back."""
        ...


class Watch(Protocol):
    """Watches what was submitted, beside the work."""

    def begin(self) -> None:
        """In a thread."""
        ...

    def end(self) -> None:
        """No more."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a worker allows."""

    max_log_bytes: int = 1 << 20
    items_per_child: int = 100_000
    drain_grace: float = 30.0  # seconds


class Holding:
    """The bundle in hand, for the heartbeat."""

    def __init__(self) -> None:
        self.bundle: int | None = None

    def __call__(self) -> int | None:
        """The bundle's id, if there is one."""
        return self.bundle

    def of(self, bundle: int) -> Holding:
        """For `with`: while it lasts, this bundle."""
        self.bundle = bundle
        return self

    def __enter__(self) -> None:
        """The bundle is set already."""

    def __exit__(self, *_error: object) -> None:
        self.bundle = None


@dataclass(kw_only=True)
class Supervisor:
    """The loop's pass, and what it needs."""

    worker: str
    store: WorkerStore
    reads: Reads
    bus: Bus
    queue_worker: QueueWorker
    nursery: Nursery
    signals: Signals
    stopwatch: Stopwatch
    pulse: Pulse
    definitions: Definitions
    limits: Limits
    launcher: Launcher | None = None
    watch: Watch | None = None
    query_launchers: dict[str, Launcher] = field(default_factory=dict)  # of scripts, by connection
    query_watches: list[Watch] = field(default_factory=list)
    databases: frozenset[str] = frozenset()  # connections whose scripts run in the child, besides the engine's
    holding: Holding = field(default_factory=Holding)
    monotonic: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep
    new_claim: Callable[[], UUID] = uuid4
    eager: EagerDispatch | None = None
    _popped: tuple[int, UUID] | None = None
    _begun: bool = False
    _onward: Onward = field(init=False)

    def __post_init__(self) -> None:
        queues = self.queue_worker.queue_names()
        self._onward = Onward(self.bus, self.eager, queues=queues, new_claim=self.new_claim)

    def once(self) -> PassResult:
        """Work through the next bundle, waiting a moment for it, and what follows. Raises UnreachableError."""
        self._begin()
        claimed = self._claim()
        if claimed is None:
            return PassResult()
        with self.stopwatch.busy():
            while claimed is not None:
                fault.reach("worker.claimed")
                with self.holding.of(claimed.bundle):
                    self._work(claimed)
                claimed = self._onward.take()
        return PassResult(did=1)

    def _claim(self) -> Claimed | None:
        if self._popped is None:
            self._popped, self._onward.asked = self._onward.asked, None
        if self._popped is None and (bundle := self.queue_worker.pop()) is not None:
            self._popped = bundle, self.new_claim()
        if self._popped is None:
            return None
        # Asked again after an outage, it is the same claim: the first answer may have been lost after its commit.
        bundle, claim = self._popped
        fault.reach("worker.popped")
        claimed = self.store.claim(bundle, self.worker, claim)
        self._popped = None
        return claimed

    def stop(self) -> None:
        """Drain: safe in a signal handler."""
        self.signals.drain(self.limits.drain_grace)

    def close(self) -> None:
        """Say goodbye and end the child."""
        if self._begun:
            for watch in self._watches():
                watch.end()
            self.pulse.end()
        self.nursery.close()
        self.signals.close()

    def _begin(self) -> None:
        if self._begun:
            return
        processes = self.nursery.processes
        self.store.declare([(name, version) for name, _, version in (ref.partition("@") for ref in processes)])
        self.queue_worker.enter()
        self.pulse.begin()
        for watch in self._watches():
            watch.begin()
        self._begun = True
        log.logger().info(
            "worker_available",
            message=f"Worker {self.worker} serves {', '.join(self.queue_worker.queue_names())}.",
            worker=self.worker,
        )

    def _watches(self) -> list[Watch]:
        return [*([] if self.watch is None else [self.watch]), *self.query_watches]

    def _work(self, claimed: Claimed) -> None:
        run = claimed.document["run"]
        logger = log.logger(
            run_id=claimed.document["bundle"]["run_id"], task=claimed.document["task"]["path"], bundle=claimed.bundle
        )
        try:
            workflow = self.definitions(run["workflow"], run["version"])
            self._serve(Preparation(claimed, workflow, self.store, self.reads.run_object))
        except ClaimLostError:
            logger.info("claim_lost", message="The claim was lost; its work changes nothing.")
        except Exception as error:
            self._hand_back(claimed, f"{type(error).__name__}: {error}")
            logger.exception("bundle_handed_back", message=str(error))
            if not isinstance(error, FreshetError):
                raise
        finally:
            self.nursery.refresh()

    def _serve(self, preparation: Preparation) -> None:
        reason = self._unserved(preparation)
        if reason is not None:
            self._onward.announce(preparation.claimed)
            self._hand_back(preparation.claimed, reason)
        elif (launcher := self._launcher(preparation.task)) is not None:
            self._onward.announce(preparation.claimed)
            reason = launcher.launch(preparation)
            if reason is not None:
                self._hand_back(preparation.claimed, reason)
        else:
            self._run(preparation)

    def _launcher(self, task: Task) -> Launcher | None:
        if task.kind is Kind.JOB_SERVICE:
            return self.launcher
        return None if task.sql is None else self.query_launchers.get(task.sql.on)

    def _run(self, preparation: Preparation) -> None:
        self.nursery.refresh()
        process = preparation.task.process
        isolation = self.nursery.processes.get(process.ref, "warm") if process is not None else "warm"
        timeout: float | None = preparation.document["bundle"]["timeout_s"]
        rules = Rules(
            timeout=timeout,
            isolated=isolation == "process" or (process is not None and process.isolation == "process"),
            max_log_bytes=self.limits.max_log_bytes,
        )
        BundleRun(
            preparation,
            store=self.store,
            nursery=self.nursery,
            signals=self.signals,
            rules=rules,
            insist=self.insist,
            onward=self._onward,
            monotonic=self.monotonic,
            pause=self.pause,
        ).run()

    def _unserved(self, preparation: Preparation) -> str | None:
        """Why this worker can't serve the task, if so."""
        task = preparation.task
        if task.process is not None and task.process.ref not in self.nursery.processes:
            return f"This worker does not have the process {task.process.ref}."
        if task.kind is Kind.JOB_SERVICE and self.launcher is None:
            return "This worker has no Snowflake account for job services."
        if task.sql is not None and task.sql.on not in {ENGINE, *self.query_launchers, *self.databases}:
            return f"This worker has no connection {task.sql.on} for sql tasks."
        return None

    def _hand_back(self, claimed: Claimed, reason: str) -> None:
        """The rest of the bundle waits a moment and then goes to whoever can serve it."""
        bundle, claim = claimed.bundle, claimed.claim
        try:
            done = self.insist(lambda: self.store.progress(bundle, claim))
            if done is None:
                return
            rest = _handed_back(claimed.document, done, reason)
            self.insist(lambda: self.store.finish(bundle, claim, rest))
            self._onward.leave(claimed)
        except (ClaimLostError, UnreachableError, StatementError) as error:
            log.logger(bundle=bundle).info("hand_back_lost", message=error.message)

    def insist(self, call: Callable[[], Answer]) -> Answer:
        """Call until Postgres does it: a claim of a living worker is freed by nobody else.

        Raises UnreachableError or StatementError only when a draining worker's time is up.
        """
        failures = 0
        while True:
            try:
                return call()
            except (UnreachableError, StatementError) as error:
                failures += 1
                if failures == 1:
                    log.logger().warning("postgres_awaited", message=error.message)
                if self.signals.overdue:
                    raise
            self.signals.wait(backoff(failures))


def _handed_back(document: Mapping[str, Any], done: int, reason: str) -> list[dict[str, Any]]:
    bundle = document["bundle"]
    error = {"class": "unserved", "message": reason}
    pairs = list(zip(bundle["items"], bundle["attempts"], strict=True))[done:]
    return [{"i": item, "a": attempt, "s": "handed_back", "e": error} for item, attempt in pairs]
