"""`Results` is the list of the values, without holding it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshet.execution.results import KEPT, Results

VALUES = st.lists(st.none() | st.integers(), max_size=60)


def results(values: list[Any], page: int = 7, asked: list[int] | None = None) -> Results:
    def fetch(first: int, count: int) -> dict[int, Any]:
        if asked is not None:
            asked.append(first)
        # A row that is missing and a null are the same: null.
        found = enumerate(values[first : first + count], start=first)
        return {index: value for index, value in found if value is not None}

    return Results(len(values), fetch, page=page)


@given(VALUES)
def test_it_iterates_and_counts_like_the_list(values: list[Any]) -> None:
    assert list(results(values)) == values
    assert len(results(values)) == len(values)
    assert list(reversed(results(values))) == values[::-1]
    assert results(values) == values


@given(VALUES, st.integers(-80, 80))
def test_it_indexes_like_the_list(values: list[Any], index: int) -> None:
    try:
        expected = values[index]
    except IndexError:
        with pytest.raises(IndexError):
            results(values)[index]
    else:
        assert results(values)[index] == expected


@given(VALUES, st.slices(70))
def test_it_slices_like_the_list(values: list[Any], part: slice) -> None:
    assert results(values)[part] == values[part]


@given(VALUES, st.integers())
def test_it_searches_like_the_list(values: list[Any], value: int) -> None:
    assert (value in results(values)) == (value in values)
    assert results(values).count(value) == values.count(value)


def test_walking_through_reads_each_page_once_and_keeps_few() -> None:
    asked: list[int] = []
    sequence = results(list(range(1000)), page=10, asked=asked)
    assert sum(sequence) == sum(range(1000))
    assert asked == list(range(0, 1000, 10))
    assert len(sequence._pages) == KEPT
