"""What the README tells a newcomer to type, typed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.installation import ROOT, Installation

pytestmark = [pytest.mark.xdist_group("readme"), pytest.mark.timeout(600)]

README = (ROOT / "README.md").read_text(encoding="utf-8")
FILE = re.compile(r"<!-- file: (?P<name>[\w.]+) -->\n```\w+\n(?P<text>.*?)```", re.DOTALL)
COMMANDS = re.compile(r"<!-- (?P<mark>up|run) -->\n```console\n(?P<text>.*?)```", re.DOTALL)


def commands(mark: str) -> list[str]:
    blocks = [found["text"] for found in COMMANDS.finditer(README) if found["mark"] == mark]
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Installation]:
    for found in FILE.finditer(README):
        (tmp_path / found["name"]).write_text(found["text"], encoding="utf-8")
    (up,) = commands("up")
    made = Installation(tmp_path, processes=up.rpartition(" ")[2], code=tmp_path)
    yield made
    made.close()


def test_the_first_workflow_of_the_readme_runs_as_it_says(newcomer: Installation, tmp_path: Path) -> None:
    typed = commands("run")
    assert len(typed) >= 4
    for command in typed:
        program, *words = command.split()
        assert program == "freshet"
        newcomer.cli(*words, directory=tmp_path)
    assert newcomer.one("select count(*) from greetings") == 5


def test_every_command_that_the_readme_names_exists(newcomer: Installation) -> None:
    (named,) = re.findall(r"`freshet --help` has the rest: (.*?)\.\n", README, re.DOTALL)
    known = newcomer.cli("--help")
    for command in re.findall(r"`([\w-]+)", named):
        assert command in known
