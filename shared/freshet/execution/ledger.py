"""What is known about a bundle's items, and what of it is committed.

Purpose: outcomes are reported in order, each once, whatever dies in between. Guarantees: an outcome leaves the memory
only when it is committed, by us or by the child, or when the claim is lost; a result that Postgres refuses as data
fails its own item and nobody else's; any other refusal (a schema that is being changed, a standby) fails no item.
Never: an outcome out of order; the fence would refuse it.
"""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

import orjson

from freshet.domain.errors import ClaimLostError
from freshet.execution.channel import Sent
from freshet.storage.database import DataError


class ReportStore(Protocol):
    """What the worker's store has for reports."""

    def finish(self, bundle: int, claim: UUID, outcomes: list[orjson.Fragment]) -> bool:
        """End the next items."""
        ...

    def progress(self, bundle: int, claim: UUID) -> int | None:
        """Items reported, or None."""
        ...


class Ledger:
    """One claimed bundle."""

    def __init__(self, store: ReportStore, *, bundle: int, claim: UUID, total: int, done: int = 0) -> None:
        self._store = store
        self._bundle = bundle
        self._claim = claim
        self.total = total
        self.done = done  # items whose report is committed
        self.pending: list[bytes] = []  # outcomes of the next ones
        self.size = 0  # bytes of them

    @property
    def position(self) -> int:
        """The item in hand: the first without an outcome."""
        return self.done + len(self.pending)

    @property
    def complete(self) -> bool:
        """Whether every item has its outcome."""
        return self.position >= self.total

    def add(self, sent: Sent) -> None:
        """Take an outcome of the item in hand."""
        if sent.position < self.position:
            return  # known already: the child's commit was found in its bundle's row
        if sent.committed:
            self.done = sent.position + 1
        else:
            self.pending.append(sent.body)
            self.size += len(sent.body)

    def flush(self) -> None:
        """Commit the pending outcomes. Raises ClaimLostError; UnreachableError or StatementError: they still wait."""
        if not self.pending:
            return
        try:
            self._finish(self.pending)
        except ClaimLostError:
            self._reconcile()
            self.flush()
        except DataError:
            self._finish_singly()

    def note_committed(self) -> None:
        """What was pending has been committed by somebody else."""
        self._drop(len(self.pending))

    def holds(self) -> bool:
        """Whether the claim is still ours. Raises UnreachableError."""
        return self._store.progress(self._bundle, self._claim) is not None

    def catch_up(self) -> None:
        """Learn what a child that is gone may have committed. Raises ClaimLostError, UnreachableError."""
        done = self._store.progress(self._bundle, self._claim)
        if done is None:
            raise ClaimLostError
        self._drop(min(max(0, done - self.done), len(self.pending)))
        self.done = max(self.done, done)

    def _finish(self, outcomes: list[bytes]) -> None:
        self._store.finish(self._bundle, self._claim, [orjson.Fragment(body) for body in outcomes])
        self._drop(len(outcomes))

    def _finish_singly(self) -> None:
        """Postgres refuses something: find the outcome, and let its item fail for it."""
        for body in list(self.pending):
            try:
                self._finish([body])
            except DataError as error:
                self._finish_refused(body, error.message)

    def _finish_refused(self, body: bytes, reason: str) -> None:
        outcome = orjson.loads(body)
        outcome.pop("r", None)
        outcome["s"] = "failed"
        outcome["e"] = {"class": "user", "message": f"Postgres can't keep the result: {reason}", "type": "ValueError"}
        self.pending[0] = orjson.dumps(outcome)
        self.size += len(self.pending[0]) - len(body)
        self._finish(self.pending[:1])

    def _reconcile(self) -> None:
        """A commit whose answer got lost, ours or the child's, shows in the row; else the claim is lost."""
        before = self.done
        self.catch_up()
        if self.done <= before:
            raise ClaimLostError

    def _drop(self, count: int) -> None:
        self.size -= sum(len(body) for body in self.pending[:count])
        del self.pending[:count]
        self.done += count
