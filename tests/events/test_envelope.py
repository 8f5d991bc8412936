"""CloudEvents in and out."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshet.domain.errors import DefinitionError
from freshet.events import EVENT_TYPES, CloudEvent, describe, document, event_id, parse_events, serialise
from freshet.events.envelope import BATCH, STRUCTURED
from freshet.events.storable import MAX_DEPTH, check_storable, read_json

EVENT = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}


def _structured(document: Any) -> CloudEvent:
    (event,) = parse_events({"content-type": STRUCTURED}, orjson.dumps(document))
    return event


def _refused(headers: dict[str, str], body: bytes) -> DefinitionError:
    with pytest.raises(DefinitionError) as refused:
        parse_events(headers, body)
    return refused.value


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=50)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=10,
)  # fmt: skip


@given(names, names, names, values)
def test_a_structured_event_is_read_as_it_was_written(source: str, event_id: str, kind: str, data: Any) -> None:
    event = _structured({**EVENT, "id": event_id, "source": source, "type": kind, "data": data, "shard": 7})
    assert (event.id, event.source, event.type, event.data) == (event_id, source, kind, data)
    assert _structured(event.body) == event
    assert event.body["shard"] == 7


@given(names, values)
def test_the_three_modes_say_the_same(subject: str, data: Any) -> None:
    from urllib.parse import quote

    written = {**EVENT, "subject": subject, "datacontenttype": "application/json", "data": data}
    headers = {f"ce-{name}": quote(str(EVENT[name])) for name in EVENT}
    binary = {**headers, "ce-subject": quote(subject), "content-type": "application/json"}
    (one,) = parse_events(binary, orjson.dumps(data))
    (two,) = parse_events({"content-type": f"{BATCH}; charset=utf-8"}, orjson.dumps([written]))
    assert one == two == _structured(written)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"specversion": "0.3"}, "/specversion"),
        ({"specversion": None}, "/specversion"),
        ({"id": ""}, "/id"),
        ({"id": None}, "/id"),
        ({"id": 7}, "/id"),
        ({"id": "x" * 513}, "/id"),
        ({"source": "ä" * 513}, "/source"),
        ({"type": "x" * 257}, "/type"),
        ({"subject": 1}, "/subject"),
        ({"time": "yesterday"}, "/time"),
        ({"time": "2026-01-01T00:00:00"}, "/time"),
        ({"Upper": "x"}, "/Upper"),
        ({"extension": {"a": 1}}, "/extension"),
        ({"extension": 1.5}, "/extension"),
        ({"data": {"a": ["x", "\0"]}}, "/data/a/1"),
        ({"data": 1, "data_base64": "QQ=="}, "/data_base64"),
        ({"data_base64": "?"}, "/data_base64"),
        ({"data_base64": 7}, "/data_base64"),
    ],
)
def test_what_is_wrong_with_an_event_is_pointed_at(change: dict[str, Any], pointer: str) -> None:
    body = orjson.dumps({**EVENT, **change})
    assert _refused({"content-type": STRUCTURED}, body).pointer == pointer
    assert _refused({"content-type": BATCH}, orjson.dumps([EVENT, {**EVENT, **change}])).pointer == f"/1{pointer}"


def test_what_is_no_event_is_refused() -> None:
    for body in (b"[]", b"7", b"null", b"{", b"\xff", b""):
        assert _refused({"content-type": STRUCTURED}, body)
    assert _refused({"content-type": BATCH}, b"{}")
    assert _refused({"content-type": BATCH}, orjson.dumps([EVENT] * 1001))
    assert _refused({"content-type": "application/json"}, orjson.dumps(EVENT)).code == "not_a_cloudevent"
    assert _refused({"ce-id": "1", "ce-specversion": "1.0"}, b"").pointer == "/ce-source"
    assert _refused({f"ce-{name}": value for name, value in EVENT.items()} | {"ce-id": "%00"}, b"").code == "bad_text"


def test_binary_data_that_is_not_json_stays_text_or_base64() -> None:
    headers = {f"ce-{name}": value for name, value in EVENT.items()}
    for content_type, body, data in (
        ("text/plain", "größe".encode(), "größe"),
        ("image/png", b"\x89PNG", "iVBORw=="),
        ("application/vnd.x+json", b"[1]", [1]),
        ("", b"", None),
    ):
        (event,) = parse_events({**headers, "content-type": content_type}, body)
        assert event.data == data


def _fact(**members: Any) -> dict[str, Any]:
    return {"type": "freshet.run.succeeded.v1", "run_id": "R", "at": "2026-01-01T00:00:00Z", **members}


def test_a_replayed_fact_makes_the_same_id() -> None:
    item = _fact(
        type="freshet.item.failed.v1", task="a.b", index_path="3", claim="C", items=[[17, 2, 0.1, None], [18, 1]]
    )
    assert event_id(item) == event_id(dict(item)) == "R/a.b/3/17/2/C/failed"
    assert event_id(_fact()) == "R/succeeded"
    assert event_id(_fact(type="freshet.task.failed.v1", task="a", index_path="")) == "R/a//failed"
    assert event_id({"type": "freshet.worker.busy.v1", "worker": "w", "at": "T"}) == "w/busy/T"


def test_a_fact_as_an_event_has_source_subject_time_and_trace() -> None:
    event = describe(_fact(task="part", index_path="3", type="freshet.task.failed.v1", traceparent="00-a-b-01"))
    assert event["specversion"] == "1.0"
    assert (event["source"], event["subject"], event["time"]) == ("/freshet/runs/R", "part[3]", "2026-01-01T00:00:00Z")
    assert event["traceparent"] == "00-a-b-01"
    assert event["data"] == {"run_id": "R", "at": "2026-01-01T00:00:00Z", "task": "part", "index_path": "3"}
    assert _structured(orjson.loads(serialise(event))).type == "freshet.task.failed.v1"


def test_a_type_that_is_not_ours_is_an_error() -> None:
    for name in ("other.run.failed.v1", "freshet.run", "freshet.thing.failed.v1"):
        with pytest.raises(ValueError, match="not a type"):
            event_id(_fact(type=name))


def test_the_catalogue_names_every_event_with_its_fields_once() -> None:
    for name, kind in EVENT_TYPES.items():
        fields = [field.name for field in kind.fields]
        assert name == kind.name
        assert len(fields) == len(set(fields))
        assert kind.meaning.endswith(".")
        assert f"`{name}`" in document()


def test_the_published_catalogue_is_fresh() -> None:
    published = Path(__file__).parents[2] / "docs" / "events.md"
    assert published.read_text(encoding="utf-8") == document()


@given(values)
def test_what_can_be_stored_passes_and_comes_back_the_same(value: Any) -> None:
    assert read_json(orjson.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        (b'{"a": ["\\u0000"]}', "/a/0"),
        (b'{"a": 9223372036854775808}', "/a"),
        (b'{"a": [-9223372036854775809]}', "/a/0"),
        (b'{"a/b": {"~": ' + b"1" * 5000 + b"}}", "/a~1b/~0"),
    ],
)
def test_what_no_column_holds_is_refused_where_it_stands(text: bytes, pointer: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        read_json(text)
    assert refused.value.pointer == pointer or refused.value.code == "not_json"


def test_long_digits_within_a_text_are_no_number() -> None:
    assert read_json(b'{"a": "99999999999999999999999999", "b": 9223372036854775807}')["b"] == 2**63 - 1


def test_nesting_has_an_end() -> None:
    deep: Any = None
    for _ in range(MAX_DEPTH):
        deep = [deep]
    check_storable(deep)
    with pytest.raises(DefinitionError):
        check_storable([deep])
    for value in (float("nan"), float("inf"), "\ud800", {"\0": 1}):
        with pytest.raises(DefinitionError):
            check_storable(value)
