"""The pools that there are, kept over a restart. Guarded by the platform's lock: nothing here locks."""

from __future__ import annotations

import time
from collections.abc import Callable

from freshet_emulator.errors import missing, taken
from freshet_emulator.spcs.pools import Pool, stored_pool
from freshet_emulator.state import StateStore


class PoolTable:
    """Pools by name. `waiting` tells how many replicas wait for a pool; `delay` is how long a node takes to start."""

    def __init__(self, store: StateStore, *, waiting: Callable[[str], int], jobs_per_node: int, delay: float) -> None:
        self._store = store
        self._waiting = waiting
        self._jobs_per_node = jobs_per_node
        self._delay = delay
        self._pools = {pool.name: pool for pool in map(stored_pool, store.load("pool"))}

    def all(self) -> list[Pool]:
        """All pools, by name."""
        return sorted(self._pools.values(), key=lambda pool: pool.name)

    def find(self, name: str) -> Pool | None:
        """One pool, if there is such a one."""
        return self._pools.get(name)

    def get(self, name: str) -> Pool:
        """One pool. Raises SqlError 2003."""
        if name not in self._pools:
            raise missing("Compute Pool", name)
        return self._pools[name]

    def add(self, pool: Pool) -> None:
        """A new pool, whose first nodes start. Raises SqlError 2002."""
        if pool.name in self._pools:
            raise taken(pool.name)
        self._pools[pool.name] = pool
        self.changed(pool)

    def remove(self, name: str) -> None:
        """Forget a pool."""
        del self._pools[name]
        self._store.remove("pool", name)

    def changed(self, pool: Pool) -> None:
        """Write a pool down, and start the nodes that it needs now."""
        self.provision(pool)
        self._store.save("pool", pool.name, pool.document())

    def provision(self, pool: Pool) -> None:
        """Start the nodes that a pool needs now."""
        pool.provision(
            time.monotonic(),
            waiting=self._waiting(pool.name),
            jobs_per_node=self._jobs_per_node,
            delay=self._delay,
        )

    def pause(self) -> float | None:
        """Seconds until a node is up or a pool has rested long enough; None: nothing happens by itself."""
        now = time.monotonic()
        for pool in self._pools.values():
            self.provision(pool)
            suspended = pool.suspended
            pool.rest(now, waiting=self._waiting(pool.name))
            if pool.suspended is not suspended:
                self._store.save("pool", pool.name, pool.document())
        moments = [pool.next_moment() for pool in self._pools.values()]
        due = min((moment for moment in moments if moment is not None), default=None)
        return None if due is None else max(0.0, due - now)
