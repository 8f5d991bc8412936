"""The end of a process at a named point, and the mark of the test that shows what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest

from freshet.runtime import fault

Test = TypeVar("Test", bound=Callable[..., Any])


class ProcessEnded(BaseException):
    """The process ends here. Not an Exception: no handler for errors may see it, as none sees a kill -9."""


def window(*points: str) -> Callable[[Test], Test]:
    """This test shows what a crash at these points leaves behind; test_points.py and docs/guarantees.md read it."""
    assert set(points) <= set(fault.POINTS), f"unknown points: {set(points) - set(fault.POINTS)}"
    return lambda test: test


@contextmanager
def crash_at(point: str, *, reach: int = 1) -> Iterator[None]:
    """What runs inside has to come to this point, and ends there, the `reach`-th time it does."""
    times = 0

    def end(reached: str) -> None:
        nonlocal times
        times += reached == point
        if reached == point and times == reach:
            raise ProcessEnded(point)

    with fault.armed(end), pytest.raises(ProcessEnded):
        yield
