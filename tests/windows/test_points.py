"""Every window has its point, its test and its place in the documentation."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.house import measure

from freshet.runtime import fault

HERE = Path(__file__).parent
TESTING = "shared/freshet/testing/"


def reached() -> Iterator[str]:
    """The points that production code comes to, once for each place. (A simulated service stands for the real one.)"""
    for file, source in measure.modules().items():
        if measure.place(file).startswith(TESTING):
            continue
        yield from re.findall(r"fault\.reach\(\"([a-z_.]+)\"\)", source)


def shown() -> Iterator[str]:
    """The points that a test says it shows, once for each test."""
    for file in HERE.glob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield from points_of(node)


def points_of(test: ast.FunctionDef) -> Iterator[str]:
    """The points that a test says it shows."""
    for decorator in test.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "window":
            yield from (ast.literal_eval(argument) for argument in decorator.args)


def test_every_point_stands_once_in_the_code_and_no_other_does() -> None:
    assert Counter(reached()) == Counter(list(fault.POINTS))


def test_every_point_has_its_test() -> None:
    assert set(shown()) == set(fault.POINTS)


def test_a_point_does_nothing_unless_a_test_has_armed_it() -> None:
    fault.reach("fold.committed")
    seen: list[str] = []
    with fault.armed(seen.append):
        fault.reach("fold.committed")
    fault.reach("fold.committed")
    assert seen == ["fold.committed"]


def test_nothing_outside_tests_arms_a_point() -> None:
    armers = [measure.place(file) for file, source in measure.modules().items() if re.search(r"fault\.armed\(", source)]
    assert [place for place in armers if not place.startswith(TESTING)] == []
