"""What the routes work with.

Purpose: one object per process that holds the stores and the bus, found by every route through the request. Guarantee:
a wake-up that can't be delivered fails no request, for what it tells of is committed. Never: a route.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request

from freshet.bus import Bus
from freshet.definition import compile_workflow
from freshet.domain.cost import Rates
from freshet.domain.errors import UnreachableError
from freshet.domain.model import Workflow
from freshet.runtime import fault, log
from freshet.storage.costs import Costs
from freshet.storage.database import Database, Row
from freshet.storage.definitions import Definitions
from freshet.storage.external_events import ExternalEvents
from freshet.storage.fleet import Fleet
from freshet.storage.items import Items
from freshet.storage.payloads import Payloads
from freshet.storage.reads import Reads
from freshet.storage.requests import Requests
from freshet.storage.tables import Tables
from freshet.storage.tokens import Tokens
from freshet.telemetry import Telemetry
from freshet_api.live_feed import LiveFeed

SCHEDULER = "scheduler"


@dataclass(frozen=True, kw_only=True)
class Door:
    """One process of the api."""

    database: Database
    bus: Bus
    telemetry: Telemetry
    token: str | None = None  # always accepted, besides those in the database
    rates: Rates = field(default_factory=Rates)  # what an hour in a compute pool costs
    feed: LiveFeed = field(init=False)

    def __post_init__(self) -> None:
        """Make what belongs to this process alone."""
        object.__setattr__(self, "feed", LiveFeed(self.bus))

    @property
    def definitions(self) -> Definitions:
        """Workflows."""
        return Definitions(self.database)

    @property
    def requests(self) -> Requests:
        """Asking for runs."""
        return Requests(self.database)

    @property
    def reads(self) -> Reads:
        """Runs."""
        return Reads(self.database)

    @property
    def costs(self) -> Costs:
        """Estimated credits."""
        return Costs(self.database, self.rates)

    def run_object(self, run_id: uuid.UUID) -> dict[str, Any]:
        """The run as users see it, with what its job services cost. Raises NotFoundError."""
        return self.costs.add_to_run(self.reads.run_object(run_id))

    @property
    def items(self) -> Items:
        """Items, results and logs."""
        return Items(self.database)

    @property
    def fleet(self) -> Fleet:
        """Queues and workers."""
        return Fleet(self.database)

    @property
    def tables(self) -> Tables:
        """The logging tables."""
        return Tables(self.database)

    @property
    def payloads(self) -> Payloads:
        """Payloads that containers fetch."""
        return Payloads(self.database)

    @property
    def tokens(self) -> Tokens:
        """Bearer tokens."""
        return Tokens(self.database)

    @property
    def events(self) -> ExternalEvents:
        """Events from outside."""
        return ExternalEvents(self.database)

    def wake_dispatcher(self, partitions: Iterable[int]) -> None:
        """Tell of committed requests."""
        fault.reach("request.committed")
        self._tell(lambda: self.bus.wake_dispatcher(partitions))

    def wake_scheduler(self) -> None:
        """Tell of a changed schedule."""
        self._tell(lambda: self.bus.wake(SCHEDULER))

    def _tell(self, send: Callable[[], None]) -> None:
        try:
            send()
        except UnreachableError as error:
            log.logger().warning("wake_lost", message=f"{error.message}; the rows are there and will be found.")

    def close(self) -> None:
        """End every connection."""
        self.feed.close()
        self.telemetry.close()
        self.database.close()
        self.bus.close()


def compiled(row: Row) -> Workflow:
    """The workflow of a definition's row."""
    return compile_workflow(row["document"])


def door_of(request: Request) -> Door:
    """The door that this app was made with."""
    door: Door = request.app.state.door
    return door


TheDoor = Annotated[Door, Depends(door_of)]
Json = dict[str, Any]
