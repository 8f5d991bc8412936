"""The wire: which events there are, and how they are written down.

Purpose: `catalogue` names every event with its fields, `envelope` turns facts into CloudEvents 1.0 and reads those of
others. Guarantee: nobody else writes or reads the JSON of an event. Never: a decision, or a connection.
"""

from freshet.events.catalogue import EVENT_TYPES, EventType, Field, document
from freshet.events.envelope import CloudEvent, describe, event_id, facts_of, parse_events, serialise

__all__ = [
    "EVENT_TYPES",
    "CloudEvent",
    "EventType",
    "Field",
    "describe",
    "document",
    "event_id",
    "facts_of",
    "parse_events",
    "serialise",
]
