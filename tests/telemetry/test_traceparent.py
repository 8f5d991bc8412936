"""W3C trace context."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freshet.telemetry.trace import span_id
from freshet.telemetry.traceparent import TraceParent, child_of, make, parse

EXAMPLE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"  # from the specification


@settings(deadline=None)
@given(
    st.integers(min_value=1, max_value=2**128 - 1),
    st.integers(min_value=1, max_value=2**64 - 1),
    st.integers(min_value=0, max_value=255),
)
def test_what_is_written_is_read_back(trace: int, span: int, flags: int) -> None:
    value = TraceParent(trace_id=trace, span_id=span, flags=flags)
    assert parse(str(value)) == value


@settings(deadline=None)
@given(st.text())
def test_any_text_is_a_trace_or_none_and_never_an_error(text: str) -> None:
    assert parse(text) is None or parse(str(parse(text))) == parse(text)


def test_a_new_trace_is_sampled_and_new() -> None:
    first, second = parse(make()), parse(make())
    assert first is not None
    assert second is not None
    assert first.sampled
    assert first.trace_id != second.trace_id


def test_a_child_is_a_new_span_in_the_same_trace() -> None:
    parent, child = parse(EXAMPLE), parse(child_of(EXAMPLE))
    assert parent is not None
    assert child is not None
    assert child.trace_id == parent.trace_id
    assert child.span_id != parent.span_id
    assert child.sampled


def test_a_child_of_an_unsampled_span_is_unsampled() -> None:
    child = parse(child_of(EXAMPLE[:-2] + "02"))
    assert child is not None
    assert not child.sampled
    assert child.flags == 2


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "ff" + EXAMPLE[2:],
        EXAMPLE.upper(),
        EXAMPLE + "-more",
        EXAMPLE.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32),
        EXAMPLE.replace("00f067aa0ba902b7", "0" * 16),
        EXAMPLE[:-1],
    ],
)
def test_what_is_malformed_is_no_trace_and_its_child_begins_one(text: str | None) -> None:
    assert parse(text) is None
    assert parse(child_of(text)) is not None


def test_a_later_version_may_say_more() -> None:
    assert parse("01" + EXAMPLE[2:] + "-more") == parse(EXAMPLE)


def test_a_spans_id_comes_from_its_key() -> None:
    assert span_id("a") == span_id("a") != span_id("b")
    assert 0 < span_id("a") < 2**64
