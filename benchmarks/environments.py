"""An environment for each peer, made by uv from a file of names and versions, and kept in a cache.

Guarantee: an environment is made whole or made again; when the file's lines for a peer change, it gets a new one.
Never: a package in Freshet's own environment.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

VERSIONS = Path(__file__).parent / "peers" / "versions.json"
MADE = "made"


PLOTS = "plots"  # the environment that draws


def names() -> list[str]:
    """The peers there are."""
    return [name for name in _requirements() if name != PLOTS]


def default_cache() -> Path:
    """`$XDG_CACHE_HOME/freshet/benchmarks`, by default below ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "freshet" / "benchmarks"


def environment(name: str, cache: Path) -> Path:
    """The Python of an environment, which is made if there is none."""
    requirements = _requirements()[name]
    state = json.dumps([requirements, sys.version_info[:2]])
    directory = cache / f"{name}-{hashlib.sha256(state.encode()).hexdigest()[:10]}"
    python = directory / "bin" / "python"
    if not (directory / MADE).exists():
        shutil.rmtree(directory, ignore_errors=True)
        _uv("venv", "--python", sys.executable, str(directory))
        _uv("pip", "install", "--python", str(python), *requirements)
        (directory / MADE).touch()
    return python


def versions(python: Path) -> dict[str, str]:
    """What is installed there, for the report."""
    done = _uv("pip", "list", "--format", "json", "--python", str(python))
    return {package["name"]: package["version"] for package in json.loads(done)}


def _requirements() -> dict[str, list[str]]:
    found: dict[str, list[str]] = json.loads(VERSIONS.read_text("utf-8"))
    return found


def _uv(*arguments: str) -> str:
    """Run uv, whose settings (an index of one's own, say) are the user's."""
    done = subprocess.run(["uv", *arguments, "--quiet"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"uv {' '.join(arguments[:2])} failed:\n{done.stderr}")
    return done.stdout
