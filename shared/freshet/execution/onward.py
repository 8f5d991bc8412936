"""How a worker goes on with a run whose task it has just ended.

Purpose: between two tasks of a chain no queue and no other process, as long as nobody waits for this worker.
Guarantees: it goes on only while nothing waits in its queues, seen at the claim of the bundle in hand; what was claimed
is worked on, or is asked for again when the answer got lost. Never: an end that is not reported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol
from uuid import UUID

from freshet.bus import Bus
from freshet.domain.errors import UnreachableError
from freshet.runtime import log
from freshet.storage.worker_store import Claimed, Fact


class EagerDispatch(Protocol):
    """What the engine has for this: see `freshet.engine.eager`."""

    def may_end(self, claimed: Claimed) -> bool:
        """Whether it may decide the end of a bundle."""
        ...

    def end(
        self, claimed: Claimed, outcomes: Sequence[bytes], *, claim: UUID, note: Callable[[int], None]
    ) -> tuple[Claimed | None, list[Fact]] | None:
        """Report, decide and claim; None: nothing of this happened."""
        ...


class Onward:
    """One worker's next bundle, and the facts that it has committed and not announced."""

    def __init__(
        self,
        bus: Bus,
        dispatch: EagerDispatch | None,
        *,
        queues: Sequence[str],
        new_claim: Callable[[], UUID],
    ) -> None:
        """Without a `dispatch`, every end is the dispatcher's."""
        self._bus = bus
        self._dispatch = dispatch
        self._queues = tuple(queues)
        self._new_claim = new_claim
        self._free = False  # the end of the bundle in hand may be decided here, and nothing waited in our queues
        self._next: Claimed | None = None
        self._facts: list[Fact] = []
        self.asked: tuple[int, UUID] | None = None  # a claim of ours, which may be committed

    def announce(self, claimed: Claimed) -> None:
        """Tell of a claim and of what was decided before it; see whether anything waits."""
        self._facts.append(claimed.fact)
        may = self._dispatch is not None and self._dispatch.may_end(claimed)
        self._free = self._tell(watched=self._queues if may else ()) and may

    def _tell(self, watched: Sequence[str] = ()) -> bool:
        """Announce what is not announced yet; whether the watched queues are known to be empty."""
        facts, self._facts = self._facts, []
        if not facts:
            return False
        try:
            return self._bus.announce(facts, watched=watched) == 0
        except UnreachableError as error:
            log.logger().debug("wake_lost", message=error.message)  # the recorder reads gaps from Postgres
            return False

    def end(self, claimed: Claimed, outcomes: Sequence[bytes]) -> bool:
        """End a bundle of one item and decide what follows; False: nothing of this happened."""
        if self._dispatch is None or not self._free:
            return False
        claim = self._new_claim()
        ended = self._dispatch.end(claimed, outcomes, claim=claim, note=lambda bundle: self._note(bundle, claim))
        if ended is None:
            return False
        self._next, facts = ended
        self._facts += facts
        if self._next is None:
            self._tell()
        return True

    def leave(self, claimed: Claimed) -> None:
        """What is reported of a bundle is the dispatcher's: wake it."""
        try:
            self._bus.wake_dispatcher([claimed.document["bundle"]["partition"]])
        except UnreachableError as error:
            # A wake-up is a hint: what it is about stands in Postgres, and is looked for there.
            log.logger().debug("wake_lost", message=error.message)

    def take(self) -> Claimed | None:
        """The bundle to go on with, once."""
        claimed, self._next = self._next, None
        if claimed is not None:
            self.asked = None
        return claimed

    def _note(self, bundle: int, claim: UUID) -> None:
        self.asked = bundle, claim
