"""The session of user code, over dictionaries: what an item wrote and its report commit in one step.

Guarantees: `finish` checks the fence, and then writes the item's values, its effects and its report, or nothing of
them; what was staged is gone with `abandon`, a refusal, or the object (its process died). Never: user code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from freshet.domain.errors import ClaimLostError
from freshet.storage.worker_store import Outcome
from freshet.testing.twins import fence
from freshet.testing.twins.passage import Passage, open_passage, verb
from freshet.testing.twins.tables import Tables
from freshet.testing.twins.texts import jsonb


class ProcessSessionTwin:
    """One child's session."""

    def __init__(self, tables: Tables, passage: Passage = open_passage) -> None:
        self._tables = tables
        self._passage = passage
        self._staged: list[tuple[int, int, list[Any]]] = []  # of values: item, first index, and they

    @verb
    def put_values(self, bundle: int, claim: UUID, item: int, first: int, values: Sequence[Any]) -> None:
        """Yielded values join the item's transaction. Raises ClaimLostError."""
        row = self._tables.bundles.get(bundle)
        if row is None or row.claim != claim or item not in row.items:
            self.abandon()
            raise ClaimLostError
        self._staged.append((item, first, jsonb(list(values))))

    def finish(self, bundle: int, claim: UUID, outcomes: Sequence[Outcome], effects: Sequence[Any] = ()) -> bool:
        """Fence, values, effects and report at once; True when that was the last of the bundle.

        Raises ClaimLostError, after which nothing of the item is left. Enters as `session.finish`.
        """
        self._passage.enter("session.finish")
        staged, self._staged = self._staged, []
        with self._tables.transaction():
            for item, first, values in staged:
                self._tables.insert_values(item, first, values)
            for effect in effects:
                self._tables.record_effect(bundle, claim, effect)
            ended = fence.finish(self._tables, bundle, claim, outcomes)
        self._passage.leave("session.finish")
        return ended

    def abandon(self) -> None:
        """Take back what the item wrote."""
        self._staged = []
