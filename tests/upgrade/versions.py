"""Code of an earlier version of this repository, taken out of its history."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from tests.house.measure import ROOT

#: The version before this one. What it wrote and said stands in tests/golden/<name>.
PREVIOUS = "ba04828"


def unpack(commit: str, directory: Path) -> Path:
    """The packages of a commit, below `directory`. Skips where the history is not at hand."""
    archive = subprocess.run(
        ["git", "archive", "--format=tar", commit, "shared", "services"], cwd=ROOT, capture_output=True, check=False
    )
    if archive.returncode:
        pytest.skip(f"The history does not reach back to {commit}, so its code can't be run beside today's.")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(directory, filter="data")
    return directory


def python_path(directory: Path) -> str:
    """A PYTHONPATH by which the unpacked packages come before the installed ones."""
    return ":".join(map(str, [directory / "shared", *sorted((directory / "services").iterdir())]))
