"""Items of one bundle that share a transaction: `commit="bundle"`.

Purpose: to pay for one commit, not for one of each item. Guarantees: an outcome is sent when it is committed, together
with what its item wrote, or when nothing of its transaction is left; an item that fails is taken back alone, or
all of its transaction is, and served again item by item. Never: an outcome before one that still waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from freshet.domain.errors import ClaimLostError, TransactionEndedError, UnreachableError
from freshet.execution.channel import Channel, Sent
from freshet.execution.contract import Item, Outcome, encoded, ended_transaction, failed, server_lost
from freshet.runtime import fault
from freshet.storage.session import FinishRefusedError, InseparableError, ProcessSession

#: Items that share a transaction at most: Postgres keeps 64 subtransactions of a session at hand, and looks further
#: ones up on disk.
SHARED_ITEMS = 50
#: Seconds after which a transaction takes no further item, and bytes of outcomes: what a death costs is done again.
SHARED_SECONDS, SHARED_BYTES = 0.25, 1 << 20
#: Seconds between two words about items that wait, at least; by so much an item's timeout may be late.
HELD_EVERY = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """A try whose outcome waits for the commit."""

    position: int
    item: Item
    seconds: float
    body: bytes


class SharedTurns:
    """The open transaction of one bundle, and the outcomes that wait for it."""

    def __init__(
        self,
        channel: Channel,
        session: ProcessSession,
        *,
        complain: Callable[[BaseException], None],
        end_output: Callable[[int], None],
        committed: Callable[[int], None],
        failed: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`complain` puts an error into the log; `end_output` ends an item's share of it; `committed` is told how many
        items are; `failed`, that an item could not be taken back alone.
        """
        self._channel = channel
        self._session = session
        self._complain = complain
        self._end_output = end_output
        self._committed = committed
        self._failed = failed
        self._monotonic = monotonic
        self._held: list[Held] = []
        self._size = 0
        self._since = 0.0
        self._said = 0.0

    def take(self, position: int, item: Item, outcome: Outcome, seconds: float) -> bool:
        """A try is over; False when the bundle is, for this child."""
        trouble = self._trouble()
        if trouble is None:
            try:
                outcome = self._leave(outcome)
            except InseparableError as error:
                return self._take_back(position, item, outcome, seconds, reason=error.message)
            except TransactionEndedError:
                trouble = ended_transaction()
            except UnreachableError:
                trouble = server_lost()
        self._end_output(position)
        held = Held(position=position, item=item, seconds=seconds, body=encoded(outcome, item, seconds))
        if trouble is not None:
            self._held.append(held)
            self._fail_all(trouble)
            return True
        return self._hold(held) if self._session.begun else self._send([held], committed=False)

    def commit(self) -> bool:
        """Commit what waits, if anything; False when the bundle is over for this child."""
        if not self._held:
            return True
        try:
            fault.reach("shared.ran")
            self._session.finish(b"[" + b",".join(each.body for each in self._held) + b"]")
            fault.reach("shared.committed")
        except ClaimLostError:
            self._channel.send({"op": "lost"})
            return False
        except FinishRefusedError:
            return self._go_apart()
        except TransactionEndedError:
            self._fail_all(ended_transaction())
        except UnreachableError:
            # Committed or not: the supervisor asks the bundle's row before it believes this.
            self._fail_all(server_lost())
        else:
            self._committed(self._held[-1].position + 1)
            self._send(self._held, committed=True)
            self._clear()
        return True

    def _trouble(self) -> Outcome | None:
        """What became of all that share the transaction, if the item has not left it as it was."""
        if self._session.ended:
            return ended_transaction()
        return server_lost() if self._session.lost else None

    def _leave(self, outcome: Outcome) -> Outcome:
        try:
            self._session.leave(keep=outcome.status == "succeeded")
        except FinishRefusedError as error:
            self._complain(error)
            return failed(error.message, type=type(error).__name__)
        return outcome

    def _take_back(self, position: int, item: Item, outcome: Outcome, seconds: float, *, reason: str) -> bool:
        """A failed item takes all that shares its transaction with it: these are served again, if there are any."""
        self._failed()
        self._session.abandon()
        if self._held:
            return self._go_apart()
        if outcome.status == "succeeded":
            outcome = failed(reason, type=FinishRefusedError.__name__)
        self._end_output(position)
        held = Held(position=position, item=item, seconds=seconds, body=encoded(outcome, item, seconds))
        return self._send([held], committed=False)

    def _hold(self, held: Held) -> bool:
        if not self._held:
            self._since = self._monotonic() - held.seconds
        self._held.append(held)
        self._size += len(held.body)
        self._say_held()
        full = len(self._held) >= SHARED_ITEMS or self._size >= SHARED_BYTES
        return self.commit() if full or self._monotonic() - self._since >= SHARED_SECONDS else True

    def _say_held(self) -> None:
        """The next item's time begins; whose fault it is if this process dies, nobody can tell from the first one on.
        Short ones are not told of one by one.
        """
        now = self._monotonic()
        if len(self._held) == 1 or now - self._said >= HELD_EVERY:
            self._said = now
            self._channel.send({"op": "held"})

    def _go_apart(self) -> bool:
        """One of them wrote what can't be committed: which one shows when each has its own transaction."""
        self._clear()
        self._channel.send({"op": "apart"})
        return False

    def _fail_all(self, outcome: Outcome) -> None:
        self._session.abandon()
        bodies = [encoded(outcome, each.item, each.seconds) for each in self._held]
        self._channel.send_outcomes(
            Sent(each.position, committed=False, body=body) for each, body in zip(self._held, bodies, strict=True)
        )
        self._clear()

    def _send(self, tries: list[Held], *, committed: bool) -> bool:
        self._channel.send_outcomes(Sent(each.position, committed, each.body) for each in tries)
        return True

    def _clear(self) -> None:
        self._held, self._size = [], 0
