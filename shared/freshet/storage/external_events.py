"""Events from other systems.

Purpose: to store each once, together with the runs that it starts. Guarantee: an event sent again, also at the same
moment by two, is stored once and starts nothing twice; an event is stored with all its runs or not at all. Never: an
expression evaluated; which runs an event starts is asked of the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from freshet.storage.database import Database, Row
from freshet.storage.requests import Asked, NewRun, insert_runs
from freshet.storage.statements import statement


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredEvent:
    """A CloudEvent to be stored; `body` is the whole of it."""

    source: str
    id: str
    type: str
    subject: str | None
    body: Mapping[str, Any]

    @property
    def key(self) -> tuple[str, str]:
        """What makes an event one (CloudEvents 1.0, section "id")."""
        return self.source, self.id


@dataclass(frozen=True, kw_only=True, slots=True)
class Received:
    """What became of a batch of events."""

    accepted: int
    duplicates: int
    runs: list[Asked]


#: Answers the runs that an event starts, given the triggers of its type.
RunsOf = Callable[[StoredEvent, Sequence[Row]], Sequence[NewRun]]


class ExternalEvents:
    """The inbox of events."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def receive(self, events: Sequence[StoredEvent], runs_of: RunsOf) -> Received:
        """Store the events that are new and make their runs, in one transaction.

        A trigger's row has workflow, position, event_type, condition, params, version and document; a paused
        workflow's triggers do not fire.
        """
        unique = list({event.key: event for event in reversed(events)}.values())[::-1]
        with self._database.transaction() as session:
            rows = session.execute(
                statement("EventsInsert"), {"events": Jsonb([_row(event) for event in unique])}
            ).fetchall()
            new = {(row["source"], row["id"]) for row in rows}
            fresh = [event for event in unique if event.key in new]
            triggers = session.execute(
                statement("TriggersOf"), {"types": sorted({event.type for event in fresh})}
            ).fetchall()
            wanted = [run for event in fresh for run in runs_of(event, _of_type(triggers, event.type))]
            runs = insert_runs(session, wanted)
        return Received(accepted=len(fresh), duplicates=len(events) - len(fresh), runs=runs)


def _of_type(triggers: Sequence[Row], event_type: str) -> list[Row]:
    return [trigger for trigger in triggers if trigger["event_type"] == event_type]


def _row(event: StoredEvent) -> dict[str, Any]:
    return {
        "source": event.source,
        "id": event.id,
        "type": event.type,
        "subject": event.subject,
        "body": dict(event.body),
    }
