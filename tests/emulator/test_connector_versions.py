"""The same claims with the connector that is installed, and with the last of the 4.x line."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from tests.emulator.server import EmulatorProcess

import freshet

OLD_CONNECTOR = "4.8.1"
PROGRAM = Path(__file__).with_name("connector_contract.py")
LIBRARIES = [str(Path(freshet.__file__).parents[1]), sysconfig.get_path("purelib")]
UNREACHABLE = ("dns error", "Failed to fetch", "error sending request", "Network is unreachable", "timed out")


def hold(python: str, port: int) -> dict[str, Any]:
    command = [python, str(PROGRAM), str(port), *LIBRARIES]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert finished.returncode == 0, finished.stderr
    found: dict[str, Any] = json.loads(finished.stdout)
    return found


def test_the_installed_connector_holds_the_contract(emulator: EmulatorProcess) -> None:
    assert hold(sys.executable, emulator.port)["connector"] == version("snowflake-connector-python")


def test_connector_4_holds_the_contract(emulator: EmulatorProcess) -> None:
    assert hold(str(old_interpreter()), emulator.port)["connector"] == OLD_CONNECTOR


def old_interpreter() -> Path:
    """The interpreter of an environment with the old connector, made once and kept."""
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    home = Path(tempfile.gettempdir()) / f"freshet-tests-connector-{OLD_CONNECTOR}-{ours}"
    home.mkdir(exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        python, ready = home / "venv" / "bin" / "python", home / "ready"
        if not ready.exists():
            make_environment(home / "venv")
            ready.touch()
    return python


def make_environment(path: Path) -> None:
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not installed, so connector 4 can't be either")
    subprocess.run([uv, "venv", "--clear", "--python", sys.executable, str(path)], check=True, capture_output=True)
    wanted = f"snowflake-connector-python=={OLD_CONNECTOR}"
    install = [uv, "pip", "install", "--python", str(path / "bin" / "python"), wanted]
    finished = subprocess.run(install, capture_output=True, text=True, timeout=150, check=False)
    if finished.returncode and any(word in finished.stderr for word in UNREACHABLE):
        pytest.skip(f"the package index can't be reached: {finished.stderr.strip().splitlines()[-1]}")
    assert finished.returncode == 0, finished.stderr
