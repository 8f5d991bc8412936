"""`GET /events` and `GET /runs/{id}/events`: the live feed as server-sent events.

Guarantees: a run's stream begins with the run object, goes on with its events, and ends with the run object once the
run is recorded; after a gap the run object comes again; `Last-Event-ID` goes on where a client was cut off. The format
is https://html.spec.whatwg.org/multipage/server-sent-events.html. Never: a write.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Header
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from freshet.domain.states import RunState, is_final
from freshet.events import EVENT_TYPES, describe, facts_of, serialise
from freshet.events.catalogue import noun_and_state
from freshet_api.door import Door, Json, TheDoor
from freshet_api.live_feed import GAP, Entry, Subscription, stream_key
from freshet_api.problems import Problem
from freshet_api.strict_route import StrictRoute

KEEP_ALIVE = 15.0  # seconds
HERE = b": here\n\n"
RECORD_FIRST, RECORD_LAST = 0.02, 1.0  # seconds between two looks whether an ended run is recorded
#: Milliseconds that the clocks of Redis and Postgres may differ.
SKEW_MS = 5_000

router = APIRouter(prefix="/api/v1", route_class=StrictRoute, tags=["live feed"])

LastEventId = Annotated[str | None, Header(alias="Last-Event-ID", max_length=64, description="The last id seen")]
Answer = TypeVar("Answer")

STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "A stream of CloudEvents", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
}


@router.get("/events", response_class=StreamingResponse, responses=STREAM)
async def all_events(door: TheDoor, last_event_id: LastEventId = None) -> StreamingResponse:
    """Every event from now on, or after `Last-Event-ID` as far as the capped stream goes back."""
    last = _checked(last_event_id)
    return _stream(_all_events(door, last))


@router.get("/runs/{run_id}/events", response_class=StreamingResponse, responses=STREAM)
async def run_events(door: TheDoor, run_id: uuid.UUID, last_event_id: LastEventId = None) -> StreamingResponse:
    """The run object, the run's events until it is recorded, and the run object again."""
    last = _checked(last_event_id)
    await run_in_threadpool(door.reads.state, run_id)
    return _stream(_RunStream(door=door, run_id=run_id, last=last).events())


def _stream(events: AsyncIterator[bytes]) -> StreamingResponse:
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


def _checked(last_event_id: str | None) -> str | None:
    try:
        if last_event_id:
            stream_key(last_event_id)
    except ValueError:
        text = "Last-Event-ID is not an id of this stream."
        raise Problem(422, "bad_cursor", text, errors=[("/header/Last-Event-ID", text)]) from None
    return last_event_id or None


async def _all_events(door: Door, last: str | None) -> AsyncIterator[bytes]:
    async with _Subscribed(door) as subscription:
        yield HERE  # from now on, nothing is missed
        async for entry in _entries(door, subscription, last or subscription.after):
            if entry is None:
                yield HERE
            for event in _events_of(entry, None) if entry else ():
                yield event


@dataclass(kw_only=True)
class _RunStream:
    """One client that watches a run."""

    door: Door
    run_id: uuid.UUID
    last: str | None
    _seen: dict[str, Any] = field(default_factory=dict)

    async def events(self) -> AsyncIterator[bytes]:
        async with _Subscribed(self.door) as subscription:
            run = await self._run()
            yield _run_event(run)
            if run["recorded"]:
                return
            start = self.last or _before(run["created_at"])
            async for entry in _entries(self.door, subscription, start):
                if entry is None or entry is GAP:
                    run = await self._run()
                    if run["recorded"]:
                        break
                    yield HERE if entry is None else _run_event(run)
                    continue
                for event in _events_of(entry, self.run_id):
                    yield event
                if _ends(entry, self.run_id):
                    break
            yield _run_event(await self._recorded())

    async def _run(self) -> Json:
        return await run_in_threadpool(self.door.run_object, self.run_id)

    async def _recorded(self) -> Json:
        """The run object once all is recorded; a run that goes on (the feed was cut off) as it is."""
        wait = RECORD_FIRST
        while True:
            run = await self._run()
            if run["recorded"] or not is_final(RunState(run["state"])):
                return run
            await asyncio.sleep(wait)
            wait = min(RECORD_LAST, wait * 1.5)


class _Subscribed:
    """A subscription taken and given back outside the event loop."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def __aenter__(self) -> Subscription:
        self._context = self._door.feed.subscribe(asyncio.get_running_loop())
        return await run_in_threadpool(self._context.__enter__)

    async def __aexit__(self, *_error: object) -> None:
        self._context.__exit__(None, None, None)


async def _entries(door: Door, subscription: Subscription, after: str) -> AsyncIterator[Entry | None]:
    """History first, then live; None when nothing came for a while. Ends when the subscription does."""
    seen = stream_key(after)
    for entry in await run_in_threadpool(_list, lambda: door.feed.history(after, until=subscription.after)):
        seen = stream_key(entry.id)
        yield entry
    while True:
        try:
            live = await asyncio.wait_for(subscription.queue.get(), KEEP_ALIVE)
        except TimeoutError:
            yield None
            continue
        if live is None:
            return
        if live is GAP or stream_key(live.id) > seen:
            yield live


def _list(make: Callable[[], Any]) -> list[Entry]:
    return list(make())


def _events_of(entry: Entry, run_id: uuid.UUID | None) -> list[bytes]:
    """The events of an entry, of one run if named; the last one carries the entry's id, so that none is left out."""
    facts = _facts(entry, run_id)
    return [
        _format(fact["type"], serialise(describe(fact)), entry.id if place == len(facts) - 1 else None)
        for place, fact in enumerate(facts)
    ]


def _facts(entry: Entry, run_id: uuid.UUID | None) -> list[Json]:
    """Its facts, of one run if named. What a later version says beyond our catalogue is left to that version's api."""
    if run_id is not None and str(run_id).encode() not in entry.body:
        return []
    known = [fact for fact in facts_of(entry.body) if fact["type"] in EVENT_TYPES]
    return [fact for fact in known if run_id is None or fact.get("run_id") == str(run_id)]


def _ends(entry: Entry, run_id: uuid.UUID) -> bool:
    return any(noun == "run" and is_final(RunState(state)) for noun, state in _nouns_and_states(entry, run_id))


def _nouns_and_states(entry: Entry, run_id: uuid.UUID) -> list[tuple[str, str]]:
    return [noun_and_state(fact["type"]) for fact in _facts(entry, run_id)]


def _before(created_at: str) -> str:
    """The stream id from which a run's entries may begin."""
    return f"{max(0, int(datetime.fromisoformat(created_at).timestamp() * 1000) - SKEW_MS)}-0"


def _run_event(run: Json) -> bytes:
    return _format("run", serialise(run), None)


def _format(event: str, data: bytes, event_id: str | None) -> bytes:
    mark = f"id: {event_id}\n".encode() if event_id else b""
    return mark + b"event: " + event.encode() + b"\ndata: " + data + b"\n\n"
