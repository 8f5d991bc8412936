"""What the statements of one query work with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from freshet_emulator.catalog import Catalog
from freshet_emulator.keys import PublicKeys
from freshet_emulator.queries import Query
from freshet_emulator.results import Result
from freshet_emulator.sessions import Session
from freshet_emulator.spcs.platform import Platform
from freshet_emulator.stages import Stages
from freshet_emulator.tables.database import Tables


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """Everything that statements can see or change.

    `scan` gives an earlier query's result, `abort` stops a query, `record` runs one of several statements
    as a query of its own, `history` lists the queries, `wait` lets a query sleep for some seconds.
    """

    catalog: Catalog
    platform: Platform
    tables: Tables
    stages: Stages
    keys: PublicKeys
    scan: Callable[[str], Result]
    abort: Callable[[str], bool]
    record: Callable[[str, Session, str, Callable[[], Result]], tuple[str, Result]]
    history: Callable[[], Sequence[Query]]
    wait: Callable[[str, float], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """One query: its session and its id."""

    world: World
    session: Session
    query_id: str

    @property
    def platform(self) -> Platform:
        """Pools and jobs."""
        return self.world.platform
