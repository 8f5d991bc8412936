"""`freshet demo` for real: what a user sees first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("up")

FRESHET = Path(sys.executable).with_name("freshet")


def _demo(cwd: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FRESHET_")}
    env = {**kept, "TMPDIR": str(cwd), "XDG_STATE_HOME": str(cwd / "state"), **settings}
    return subprocess.run(
        [FRESHET, "demo", *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=170
    )


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A temporary directory that an account of Postgres can walk to."""
    return tmp_path


def test_the_demo_prints_one_object_and_leaves_nothing(place: Path) -> None:
    done = _demo(place, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    shown = json.loads(done.stdout)
    assert list(shown) == ["elapsed_s", "runs", "jobs_run_stats", "task_logging_stats", "workers"]
    assert [run["state"] for run in shown["runs"]] == ["succeeded", "succeeded"]
    assert [row["job_status"] for row in shown["jobs_run_stats"]] == ["DONE"] * 6
    assert all(set(worker) == {"id", "busy_s", "idle_s", "wall_s"} for worker in shown["workers"])
    assert list(place.iterdir()) == []


def test_a_demo_that_can_not_start_names_the_service_and_its_reason(place: Path) -> None:
    done = _demo(place, "--json", FRESHET_LEASE="soon")
    assert (done.returncode, done.stdout) == (1, "")
    assert "does not start" in done.stderr
    assert "FRESHET_LEASE has a wrong value" in done.stderr
    assert list(place.iterdir()) == []
