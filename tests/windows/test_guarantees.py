"""docs/guarantees.md says what is so: every test, file, command and fault point that it names exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from tests.house.measure import ROOT
from tests.windows.test_points import points_of

from freshet.runtime import fault

PAGE = ROOT / "docs" / "guarantees.md"
TEXT = PAGE.read_text("utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/.]+?)(?:::(\w+))?`", TEXT)))
MODULES = sorted(set(re.findall(r"python -m ([\w.]+)", TEXT)))
ROWS = {
    row[0]: row for row in re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \| (.+?) \| (.+?) \| (.+) \|$", TEXT, re.MULTILINE)
}


@cache
def declared_in(file: Path) -> dict[str, set[str]]:
    """The tests of a file, each with the fault points that it shows."""
    found = (node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.FunctionDef))
    return {node.name: set(points_of(node)) for node in found if node.name.startswith("test_")}


@pytest.mark.parametrize(("file", "test"), NAMED, ids=lambda each: each.rpartition("/")[2] or "all")
def test_every_test_that_the_page_names_exists(file: str, test: str) -> None:
    path = ROOT / file
    assert path.exists(), f"{file} does not exist"
    if test:
        assert test in declared_in(path), f"{file} has no {test}"
    elif path.is_file():
        assert declared_in(path), f"{file} holds no test"


def test_every_fault_point_has_its_row_in_their_order() -> None:
    assert list(ROWS) == list(fault.POINTS)


@pytest.mark.parametrize("point", fault.POINTS)
def test_the_row_of_a_point_names_all_tests_that_show_it_and_no_other(point: str) -> None:
    named = set(re.findall(r"`(tests/windows/\w+\.py)::(\w+)`", ROWS[point][3]))
    shown = {
        (file.relative_to(ROOT).as_posix(), test)
        for file in (ROOT / "tests" / "windows").glob("test_*.py")
        for test, points in declared_in(file).items()
        if point in points
    }
    assert named == shown


@pytest.mark.parametrize("module", MODULES)
def test_every_command_that_the_page_names_can_be_run(module: str) -> None:
    place = Path(*module.split("."))
    places = [
        root / name for root in (ROOT, ROOT / "shared") for name in (place.with_suffix(".py"), place / "__main__.py")
    ]
    assert any(each.is_file() for each in places)


def test_every_link_of_the_page_leads_somewhere() -> None:
    headings = {re.sub(r"[^\w -]", "", line).lower().replace(" ", "-") for line in re.findall(r"^#+ (.+)$", TEXT, re.M)}
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        file, _, anchor = target.partition("#")
        assert (PAGE.parent / file).exists() if file else anchor in headings, target
