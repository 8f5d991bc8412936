"""One bundle in the child, as the supervisor sees it.

Purpose: send items, hear outcomes, enforce timeouts, answer what the child asks, report. Guarantees: an item that
overruns its timeout or takes the child with it fails alone, and the rest goes on in a new child; outcomes stay in
memory until they are committed or the claim is lost; a draining worker gives the rest back. Never: user code.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from freshet.domain.errors import ClaimLostError, UnreachableError
from freshet.execution.bundle_logs import BundleLogs
from freshet.execution.channel import Sent
from freshet.execution.contract import Item, Outcome, failed
from freshet.execution.ledger import Ledger
from freshet.execution.nursery import Nursery
from freshet.execution.onward import Onward
from freshet.execution.payload import Preparation, Prepared, spec_of
from freshet.execution.results import answered
from freshet.execution.shared_turns import HELD_EVERY
from freshet.execution.signals import Signals
from freshet.runtime import fault, log
from freshet.runtime.service import backoff
from freshet.storage.database import StatementError
from freshet.storage.worker_store import WorkerStore

#: Outcomes are committed after so many seconds or bytes, although the bundle goes on.
REPORT_AFTER, REPORT_BYTES = 1.0, 1 << 20
#: Seconds that a cancelled item has to notice it.
CANCEL_GRACE = 2.0
#: Outcomes of short items come in crowds: having heard one, or of ones that wait for a commit, wait so long for more.
CROWD = 0.001
#: Seconds between two wake-ups of the dispatcher by one bundle that goes on.
WAKE_EVERY = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What holds for one bundle."""

    timeout: float | None  # seconds of one try
    isolated: bool  # a fresh child for each item
    max_log_bytes: int


class BundleRun:
    """From a claim to the last report."""

    def __init__(
        self,
        preparation: Preparation,
        *,
        store: WorkerStore,
        nursery: Nursery,
        signals: Signals,
        rules: Rules,
        insist: Callable[[Callable[[], None]], None],
        onward: Onward,
        monotonic: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """`insist` repeats what Postgres' absence has stopped; `onward` may decide what follows."""
        claimed = preparation.claimed
        self._preparation = preparation
        self._claimed = claimed
        self._items: list[Prepared] = preparation.items()
        self._store = store
        self._nursery = nursery
        self._signals = signals
        self._rules = rules
        self._insist = insist
        self._onward = onward
        self._monotonic, self._pause = monotonic, pause
        done = claimed.document["bundle"]["done"]
        self._ledger = Ledger(store, bundle=claimed.bundle, claim=claimed.claim, total=len(self._items), done=done)
        self._logs = BundleLogs(
            preparation, self._items, nursery=nursery, store=store, limit=rules.max_log_bytes, monotonic=monotonic
        )
        self._item_since = monotonic()
        self._pending_since: float | None = None
        self._failures = 0  # to report, in a row
        self._retry_at = 0.0
        self._begin_asked = False
        self._stop_since: float | None = None
        self._unheard = False  # the child has committed something that the dispatcher was not told of
        self._woken_at = float("-inf")
        self._drain_told = False
        self._stopped = False  # the child starts no further item
        self._fed = 0  # items sent to the present child
        self._held = 0  # outcomes that wait in the child for the commit that they share
        self._apart = False  # no item shares a transaction any more

    def run(self) -> None:
        """Until every item is reported. Raises ClaimLostError, and UnreachableError once it has to give up."""
        try:
            self._feed()
            self._onward.announce(self._claimed)
            while not self._over():
                self._turn()
            self._return_rest()
            if not self._go_on():
                self._report_all()
                self._wake_if_due()
        finally:
            self._leave()

    def _over(self) -> bool:
        return self._ledger.complete or self._stopped

    def _turn(self) -> None:
        heard = self._await_child()
        self._enforce()
        self._report_if_due()
        if self._over():
            return
        self._wake_if_due()
        if (heard or self._held) and not self._begin_asked:
            self._pause(CROWD)

    # --- the child --------------------------------------------------------------------------------------------------

    def _feed(self) -> None:
        """Give the child the rest of the bundle, or the next item if each has a child of its own."""
        position = self._ledger.position
        if self._signals.draining:
            self._stopped = True
            return
        end = position + 1 if self._rules.isolated else len(self._items)
        child = self._nursery.child()
        run = self._preparation.document["run"]
        self._logs.begin(position)
        self._fed = end
        self._item_since = self._monotonic()
        child.items += end - position
        child.send(
            {
                "bundle": self._claimed.bundle,
                "claim": str(self._claimed.claim),
                "task": self._preparation.task.path,
                "kind": self._preparation.kind.value,
                "spec": spec_of(self._preparation.task),
                "run": {
                    "run_id": str(self._preparation.run_id),
                    **{name: run[name] for name in ("workflow", "params", "scheduled_for")},
                },
                "first": position,
                "apart": self._apart,
                "done": self._ledger.done,
                "items": [item.message() for item in self._items[position:end]],
            }
        )

    def _await_child(self) -> bool:
        """Wait for the child, a signal or a deadline; whether outcomes came."""
        child = self._nursery.child()
        child.await_heard(self._signals, self._patience())
        before = self._ledger.position
        alive = self._hear()
        if not alive and not self._ledger.complete and self._ledger.position < self._fed:
            self._bury(child.end_of())
        elif self._ledger.position > before and self._rules.isolated and not self._over():
            self._renew()
        return self._ledger.position > before

    def _hear(self) -> bool:
        """Take in what the child has sent and printed; whether it still lives."""
        child = self._nursery.child()
        frames, alive = child.heard()
        # Printed after heard: an outcome is sent after the mark that ends its item's output.
        self._logs.listen()
        for frame in frames:
            if isinstance(frame, Sent):
                self._take(frame)
            else:
                self._answer(frame)
        return alive

    def _take(self, sent: Sent) -> None:
        self._ledger.add(sent)
        self._held = 0
        now = self._item_since = self._monotonic()
        if sent.committed:
            self._unheard = True
        elif self._pending_since is None:
            self._pending_since = now

    def _answer(self, question: dict[str, Any]) -> None:
        match question["op"]:
            case "begin":
                self._begin_asked = True
                self._retry_at = 0.0
            case "page":
                self._nursery.child().send(answered(self._store, question))
            case "lost":
                self._outlive_commit()
            case "stopped":
                self._stopped = True
            case "held":
                self._held += 1
                self._item_since = self._monotonic() + HELD_EVERY
            case "apart":
                self._logs.end()
                self._go_apart()

    def _bury(self, how: str) -> None:
        """The child died over the item in hand: that is the item's failure."""
        self._logs.end()
        if self._held:
            self._renew_apart()
            return
        self._fail(failed(f"The process ended its worker's child {how}.", type="ChildEnded"))
        self._renew()

    def _fail(self, outcome: Outcome) -> None:
        """An outcome for the item in hand, on behalf of a child that can't give one."""
        position = self._ledger.position
        prepared = self._items[position]
        item = Item(key=prepared.key, attempt=prepared.attempt, index=prepared.index, payload=None)
        document = outcome.document(item, self._monotonic() - self._item_since)
        self._take(Sent(position, committed=False, body=orjson.dumps(document)))

    def _renew(self) -> None:
        """A new child, which goes on with the rest."""
        self._nursery.renew()
        self._begin_asked = False
        if not self._over():
            self._feed()

    def _outlive_commit(self) -> None:
        """The child was fenced off: by another claim, or by the commit of a child that was killed over it."""
        before = self._ledger.done
        self._insist(self._ledger.catch_up)
        if self._ledger.done == before:
            raise ClaimLostError
        self._logs.end()
        self._renew()

    def _go_apart(self) -> None:
        """Serve again what had shared a transaction, each item with its own: then the one to blame fails alone."""
        self._held, self._apart = 0, True
        self._feed()

    def _renew_apart(self) -> None:
        """The child went with what shared its transaction: all of that is taken back, or committed and not told."""
        self._nursery.renew()
        self._insist(self._ledger.catch_up)
        if not self._over():
            self._go_apart()

    # --- deadlines --------------------------------------------------------------------------------------------------

    def _patience(self) -> float | None:
        """Seconds until something is due without the child's doing."""
        now = self._monotonic()
        stop = None if self._stop_since is None else self._stop_since + CANCEL_GRACE
        known = (self._item_due(), self._report_due(), stop, self._signals.drain_deadline, self._logs.due)
        due = [each for each in known if each is not None]
        if self._unheard:
            due.append(self._woken_at + WAKE_EVERY)
        return max(0.0, min(due) - now) if due else None

    def _item_due(self) -> float | None:
        return None if self._rules.timeout is None else self._item_since + self._rules.timeout

    def _report_due(self) -> float | None:
        if self._begin_asked:
            return self._retry_at
        if self._pending_since is None:
            return None
        return max(self._pending_since + REPORT_AFTER, self._retry_at)

    def _enforce(self) -> None:
        now = self._monotonic()
        if self._over():
            return
        self._heed_stop(now)
        self._heed_drain(now)
        due = self._item_due()
        if due is not None and now >= due and not self._over():
            self._time_out()

    def _time_out(self) -> None:
        position = self._ledger.position
        self._nursery.child().kill()
        self._hear()  # it may have made it in the last moment
        if self._ledger.position == position:
            self._logs.end()
            if self._held:
                self._renew_apart()
                return
            message = f"The try ran longer than its timeout of {self._rules.timeout:g} s and was killed."
            self._fail(failed(message, kind="timeout", status="timed_out"))
        self._renew()

    def _heed_stop(self, now: float) -> None:
        """A stop is a hint that the claim is gone: believe the row, then give the item a moment to notice."""
        if self._stop_since is None and self._signals.take_stop(self._claimed.bundle) and self._is_lost():
            self._stop_since = now
            self._nursery.child().tell(b"c")
        if self._stop_since is not None and now >= self._stop_since + CANCEL_GRACE:
            raise ClaimLostError

    def _is_lost(self) -> bool:
        try:
            return not self._ledger.holds()
        except (UnreachableError, StatementError):
            return False  # the report will find out

    def _heed_drain(self, now: float) -> None:
        deadline = self._signals.drain_deadline
        if deadline is None:
            return
        if not self._drain_told:
            self._drain_told = True
            self._nursery.child().tell(b"d")
        if now >= deadline:
            self._nursery.child().kill()
            self._hear()
            self._stopped = True

    # --- reports ----------------------------------------------------------------------------------------------------

    def _report_if_due(self) -> None:
        now = self._monotonic()
        if self._logs.due is not None and now >= self._logs.due:
            self._logs.write()
        if self._stop_since is not None and self._ledger.pending:
            raise ClaimLostError
        due = self._report_due()
        if self._over() or due is None:
            return
        if now >= due or self._ledger.size >= REPORT_BYTES:
            self._report()

    def _report(self) -> bool:
        """Commit what is known; False when Postgres can't be reached or won't, and then it is tried again later."""
        self._logs.write()
        fault.reach("worker.heard")
        try:
            self._ledger.flush()
        except (UnreachableError, StatementError) as error:
            self._failures += 1
            self._retry_at = self._monotonic() + backoff(self._failures)
            if self._failures == 1:
                log.logger().warning("report_waits", message=error.message, bundle=self._claimed.bundle)
            return False
        fault.reach("worker.reported")
        self._failures, self._pending_since = 0, None
        self._wake()
        if self._begin_asked:
            self._begin_asked = False
            self._nursery.child().send({})
        return True

    def _report_all(self) -> None:
        while self._ledger.pending and not self._report():
            deadline = self._signals.drain_deadline
            if deadline is not None and self._monotonic() >= deadline:
                raise UnreachableError("Postgres can't be reached, and the worker has to end.")
            self._signals.wait(max(0.0, self._retry_at - self._monotonic()))
        self._logs.write()

    def _go_on(self) -> bool:
        """Report and decide what follows in one transaction, where that is ours; False: nothing of this happened."""
        if len(self._items) > 1 or self._signals.draining or self._stop_since is not None:
            return False
        self._logs.write()
        if not self._onward.end(self._claimed, self._ledger.pending):
            return False
        self._ledger.note_committed()
        return True

    def _return_rest(self) -> None:
        """What a draining worker has not begun is free for another at once."""
        while not self._ledger.complete:
            self._fail(Outcome(status="returned"))

    def _wake_if_due(self) -> None:
        """Tell the dispatcher of what the child has committed: of a crowd together, of the last at once."""
        if self._unheard and (self._over() or self._monotonic() - self._woken_at >= WAKE_EVERY):
            self._wake()

    def _wake(self) -> None:
        self._unheard, self._woken_at = False, self._monotonic()
        self._onward.leave(self._claimed)

    def _leave(self) -> None:
        """A child that is still busy with a bundle that is over for us is killed; so is one that was told to end."""
        self._logs.end()
        self._logs.write()
        busy = self._ledger.position < self._fed
        if busy or self._stop_since is not None or self._rules.isolated:
            self._nursery.renew()
