"""CloudEvents 1.0: our facts as events, and other systems' events as values.

Purpose: the only place that reads and writes the JSON of events (https://github.com/cloudevents/spec, v1.0.2).
Guarantees: the same fact always makes the same id; what is parsed can be stored, or is refused with a pointer.
Never: a look at what an event means.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import orjson

from freshet.domain.errors import DefinitionError
from freshet.events.catalogue import noun_and_state
from freshet.events.storable import check_storable, read_json

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
SPEC_VERSION = "1.0"
#: Where our own events come from; a run's come from below it.
SOURCE = "/freshet"

#: Bytes of UTF-8: the two make a primary key.
MAX_SOURCE = 1024
MAX_ID = 512
MAX_TYPE = 256
MAX_SUBJECT = 1024
MAX_BATCH = 1000

_ATTRIBUTE = re.compile(r"[a-z0-9]{1,64}")
_BOUNDS = {"id": MAX_ID, "source": MAX_SOURCE, "type": MAX_TYPE, "subject": MAX_SUBJECT}
_REQUIRED = ("id", "source", "type")
_RESERVED = frozenset(
    {*_REQUIRED, "specversion", "subject", "time", "data", "data_base64", "datacontenttype", "dataschema"}
)

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class CloudEvent:
    """An event of another system, checked."""

    id: str
    source: str
    type: str
    subject: str | None = None
    time: str | None = None
    datacontenttype: str | None = None
    dataschema: str | None = None
    data: Any = None
    extensions: Mapping[str, Any] = field(default_factory=dict)

    @property
    def body(self) -> Json:
        """The event in CloudEvents' JSON format; what `event` is in expressions."""
        optional = {
            name: value
            for name in ("subject", "time", "datacontenttype", "dataschema")
            if (value := getattr(self, name)) is not None
        }
        required = {"specversion": SPEC_VERSION, "id": self.id, "source": self.source, "type": self.type}
        return {**required, **optional, **self.extensions, "data": self.data}


# --- ours -----------------------------------------------------------------------------------------------------------


def facts_of(body: bytes) -> list[Json]:
    """The facts in a stream entry's or outbox row's body, a JSON array."""
    facts: list[Json] = orjson.loads(body)
    return facts


def describe(fact: Mapping[str, Any]) -> Json:
    """A fact in its short form as a CloudEvent. Raises ValueError for a type that is not in the catalogue."""
    run_id = fact.get("run_id")
    event: Json = {
        "specversion": SPEC_VERSION,
        "id": event_id(fact),
        "source": f"{SOURCE}/runs/{run_id}" if run_id else f"{SOURCE}/workers",
        "type": fact["type"],
        "subject": _subject(fact),
        "time": fact["at"],
        "datacontenttype": "application/json",
        "traceparent": fact.get("traceparent"),
        "data": {name: value for name, value in fact.items() if name not in {"type", "traceparent"}},
    }
    return {name: value for name, value in event.items() if value is not None}


def event_id(fact: Mapping[str, Any]) -> str:
    """The natural key: run/task/index path/index/attempt/claim/state. Of many items, the first one stands for all."""
    noun, state = noun_and_state(fact["type"])
    if noun == "run":
        parts: tuple[Any, ...] = (fact["run_id"], state)
    elif noun == "worker":
        parts = (fact["worker"], state, fact["at"])
    else:
        index, attempt = ((fact.get("items") or [[None, None]])[0])[:2]
        path = fact.get("index_path") or ""
        parts = (fact["run_id"], fact["task"], path, index, attempt, fact.get("claim"), state)
    return "/".join(str(part) for part in parts if part is not None)


def serialise(event: Mapping[str, Any]) -> bytes:
    """An event as JSON bytes without line breaks."""
    return orjson.dumps(event)


def _subject(fact: Mapping[str, Any]) -> str | None:
    if "task" not in fact:
        return fact.get("worker") or fact.get("workflow")
    path = fact.get("index_path")
    return f"{fact['task']}[{path}]" if path else str(fact["task"])


# --- other systems' -------------------------------------------------------------------------------------------------


def parse_events(headers: Mapping[str, str], body: bytes) -> list[CloudEvent]:
    """The events of a request, by its content type: structured, batch or, with ce-* headers, binary.

    Header names are in lower case. Raises DefinitionError with a pointer into the body, or the header's name.
    """
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == BATCH:
        return _batch(read_json(body))
    if content_type == STRUCTURED:
        return [_structured(read_json(body), "")]
    if "ce-specversion" in headers or "ce-id" in headers:
        return [_binary(headers, body, content_type)]
    text = (
        f"Send an event as {STRUCTURED}, several as {BATCH}, or its data with the headers ce-specversion, ce-id, "
        "ce-source and ce-type."
    )
    raise DefinitionError(text, code="not_a_cloudevent")


def _batch(document: Any) -> list[CloudEvent]:
    if not isinstance(document, list):
        raise _refusal("", "A batch is a JSON array of events.")
    if len(document) > MAX_BATCH:
        raise _refusal("", f"A batch has at most {MAX_BATCH} events; this one has {len(document)}.")
    return [_structured(event, f"/{place}") for place, event in enumerate(document)]


def _structured(document: Any, at: str) -> CloudEvent:
    if not isinstance(document, dict):
        raise _refusal(at, "An event is a JSON object.")
    attributes = {name: value for name, value in document.items() if name not in {"data", "data_base64"}}
    if "data_base64" in document:
        _check_base64(document, at)
    data = document["data_base64"] if "data_base64" in document else document.get("data")
    return _event(attributes, data, lambda name: f"{at}/{name}")


def _binary(headers: Mapping[str, str], body: bytes, content_type: str) -> CloudEvent:
    attributes: Json = {
        # CloudEvents HTTP binding 3.1.3.2: values are percent-encoded
        name.removeprefix("ce-"): unquote(value)
        for name, value in headers.items()
        if name.startswith("ce-")
    }
    check_storable(attributes, "")
    if content_type:
        attributes["datacontenttype"] = content_type
    return _event(attributes, _binary_data(body, content_type), lambda name: f"/ce-{name}")


def _binary_data(body: bytes, content_type: str) -> Any:
    if not body:
        return None
    if content_type in {"", "application/json"} or content_type.endswith("+json"):
        return read_json(body)
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return base64.b64encode(body).decode()
    check_storable(text, "")
    return text


def _event(attributes: Json, data: Any, pointer: Any) -> CloudEvent:
    _check_version(attributes, pointer)
    for name in _REQUIRED:
        if not attributes.get(name):
            raise _refusal(pointer(name), f"An event needs `{name}`, a text that is not empty.")
    _check_texts(attributes, pointer)
    extensions = {name: value for name, value in attributes.items() if name not in _RESERVED and value is not None}
    _check_extensions(extensions, pointer)
    texts = {name: attributes.get(name) for name in ("subject", "time", "datacontenttype", "dataschema")}
    return CloudEvent(
        id=attributes["id"],
        source=attributes["source"],
        type=attributes["type"],
        data=data,
        extensions=extensions,
        **texts,
    )


def _check_version(attributes: Json, pointer: Any) -> None:
    version = attributes.get("specversion")
    if version != SPEC_VERSION:
        raise _refusal(pointer("specversion"), f"`specversion` has to be {SPEC_VERSION!r}, not {version!r}.")


def _check_texts(attributes: Json, pointer: Any) -> None:
    for name in (*_REQUIRED, "subject", "time", "datacontenttype", "dataschema"):
        value = attributes.get(name)
        if value is not None and not isinstance(value, str):
            raise _refusal(pointer(name), f"`{name}` has to be text.")
        if value and len(value.encode()) > _BOUNDS.get(name, MAX_SUBJECT):
            raise _refusal(pointer(name), f"`{name}` has at most {_BOUNDS.get(name, MAX_SUBJECT)} bytes.")
    if attributes.get("time") is not None:
        _check_time(attributes["time"], pointer("time"))


def _check_time(text: str, at: str) -> None:
    try:
        zone = datetime.fromisoformat(text).tzinfo
    except ValueError:
        zone = None
    if zone is None:
        raise _refusal(at, "`time` has to be an RFC 3339 time with its zone, like 2026-01-31T12:00:00Z.")


def _check_extensions(extensions: Json, pointer: Any) -> None:
    for name, value in extensions.items():
        if not _ATTRIBUTE.fullmatch(name):
            text = f"{name!r} can't name an attribute: lower-case letters and digits only."
            raise _refusal(pointer(_escaped(name)), text)
        if not isinstance(value, str | int | bool):
            text = f"Attribute {name!r} has to be a text, a whole number, true or false; the rest belongs into `data`."
            raise _refusal(pointer(name), text)


def _check_base64(document: Json, at: str) -> None:
    if "data" in document:
        raise _refusal(f"{at}/data_base64", "An event has `data` or `data_base64`, not both.")
    try:
        base64.b64decode(document["data_base64"], validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise _refusal(f"{at}/data_base64", "`data_base64` is not base64.") from None


def _escaped(part: str | int) -> str:
    # RFC 6901, section 3
    return str(part).replace("~", "~0").replace("/", "~1")


def _refusal(pointer: str, message: str) -> DefinitionError:
    return DefinitionError(message, code="event_refused", pointer=pointer)
