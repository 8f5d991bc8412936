"""One child at a time, always a living one.

Guarantees: a child that died, or that was killed, is replaced before it is needed; one that has served its share goes
on until its successor is ready, so that no bundle waits for a start; modules that suddenly can't be imported any more
are told, and tried again. Used by the supervisor's main thread alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from freshet.execution.warm_child import ChildOptions, WarmChild


class Nursery:
    """Makes children."""

    def __init__(
        self, options: ChildOptions, *, items_per_child: int, make: Callable[[ChildOptions], WarmChild] = WarmChild
    ) -> None:
        self._options = options
        self._make = make
        self._share = items_per_child
        self._child: WarmChild | None = None
        self._next: WarmChild | None = None  # gets ready, while the present child has had its share and serves on

    @property
    def processes(self) -> Mapping[str, str]:
        """Isolation by `name@version` of what is served. Raises DefinitionError, ChildEndedError."""
        return self.child().processes

    def child(self) -> WarmChild:
        """The present child, ready. Raises DefinitionError, ChildEndedError."""
        if self._child is None:
            self._child = self._make(self._options)
        try:
            self._child.processes  # noqa: B018  (waits until it is ready)
        except BaseException:
            self.close()
            raise
        return self._child

    def renew(self) -> None:
        """End the present child and start the next one, which gets ready meanwhile."""
        following, self._next = self._next, None
        self.close()
        self._child = following or self._make(self._options)

    def refresh(self) -> None:
        """Between bundles: replace a child that has died or served its share."""
        child = self._child
        if child is None:
            return
        if not child.alive or (self._next is not None and self._next.has_spoken):
            self.renew()
        elif child.items >= self._share and self._next is None:
            self._next = self._make(self._options)

    def close(self) -> None:
        """End the present child, and the next one."""
        for child in (self._child, self._next):
            if child is not None:
                child.close()
        self._child = self._next = None
