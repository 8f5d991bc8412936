from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshet.definition.durations import LONGEST, parse, render


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("PT5S", 5),
        ("PT1H30M", 5400),
        ("P1D", 86_400),
        ("P1DT1S", 86_401),
        ("P2W", 1_209_600),
        ("PT0.25S", 0.25),
        ("PT0,5S", 0.5),
        ("PT90M", 5400),
        ("PT0S", 0),
        (3, 3),
        (1.5, 1.5),
    ],
)
def test_a_duration_is_read_as_seconds(text: Any, seconds: float) -> None:
    assert parse(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "P", "PT", "P1", "5", "5m", "PT5", "P1M", "P1Y", "PT1M1H", "-PT5S", "pt5s", "PT1.5H", True, None, [], -1],
)
def test_anything_else_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match=r"duration|out of range"):
        parse(text)


@pytest.mark.parametrize("text", ["P3651D", LONGEST * 2, float("inf"), float("nan")])
def test_a_duration_beyond_all_reason_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match="out of range"):
        parse(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "PT0S"),
        (59, "PT59S"),
        (60, "PT1M"),
        (3540, "PT59M"),
        (90_061.5, "P1DT1H1M1.5S"),
        (86_400, "P1D"),
        (1e-7, "PT0.0000001S"),
    ],
)
def test_a_duration_is_written_in_its_shortest_form(seconds: float, text: str) -> None:
    assert render(seconds) == text


@given(st.floats(min_value=0, max_value=LONGEST) | st.integers(min_value=0, max_value=int(LONGEST)))
def test_what_is_written_reads_back_exactly(seconds: float) -> None:
    assert parse(render(seconds)) == seconds
