"""What may be a result."""

import datetime as dt
import math

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshet.execution.values import ValueRefusedError, encode

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | TEXT
    | st.floats(allow_nan=False, allow_infinity=False)
)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=20)


@given(JSON)
def test_what_is_accepted_is_read_back_equal(value: object) -> None:
    assert orjson.loads(encode(value, limit=1 << 20)) == value


@given(
    JSON, st.sampled_from([math.nan, math.inf, -math.inf, "a\0b", 2**64, -(2**63) - 1, {1}, b"", "\ud800", object()])
)
def test_one_bad_value_is_found_wherever_it_stands(good: object, bad: object) -> None:
    for value in (bad, [good, bad], {"a": good, "b": [bad]}, {"a": {"b": (bad,)}}):
        with pytest.raises(ValueRefusedError):
            encode(value, limit=1 << 20)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ([1, {"score": math.nan}], "its value at [1]['score'] is nan, which JSON does not have"),
        ("a\0", "it is text with a NUL character, which Postgres can't keep"),
        ({"n": 2**70}, "its value at ['n'] is a number beyond 64 bits"),
        ({3: 4}, "it has the key 3 of type int, and keys are text in JSON"),
        ({"a\0": 4}, "its value at ['a\\x00'] (the key) is text with a NUL character, which Postgres can't keep"),
        (dt.date(2026, 1, 1), "it is of type date, which JSON does not have"),
        ("x" * 99, "it has 101 bytes as JSON, and the limit is 64"),
    ],
)
def test_a_refusal_says_where_and_why(value: object, sentence: str) -> None:
    with pytest.raises(ValueRefusedError) as refused:
        encode(value, limit=64)
    assert refused.value.message == sentence


def test_a_value_that_contains_itself_is_refused() -> None:
    value: list[object] = []
    value.append(value)
    with pytest.raises(ValueRefusedError):
        encode(value, limit=64)
