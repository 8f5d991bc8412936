"""Locks on tables: who changes rows of a table keeps the others off until its transaction ends."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from freshet_emulator.errors import SqlError
from freshet_emulator.sql.names import FullName


class TableLocks:
    """Who holds which table. Waiting is limited to `patience` seconds, which also ends a deadlock."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._changed = threading.Condition()
        self._owners: dict[FullName, int] = {}

    def acquire(self, owner: int, tables: Sequence[FullName]) -> None:
        """Take tables, those held already too. Raises SqlError 625 when others keep one for too long."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._free(owner, tables), self._patience):
                raise SqlError(625, "57014", "Statement aborted: it waited too long for a lock on a table.")
            self._owners |= dict.fromkeys(tables, owner)

    def _free(self, owner: int, tables: Sequence[FullName]) -> bool:
        return all(self._owners.get(table, owner) == owner for table in tables)

    def release(self, owner: int) -> None:
        """Give back everything."""
        with self._changed:
            self._owners = {table: holder for table, holder in self._owners.items() if holder != owner}
            self._changed.notify_all()
