"""Plant each bug in a copy of the tree and see its tests go red: `python -m tests.mutants [WORD…]`.

Words choose the bugs whose name holds one of them. Exit code 1: a bug survived, or the tests are red without one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from . import MUTANTS
from .mutant import ROOT, Mutant

PARTS = ("pyproject.toml", "shared", "services", "tests", "docs")
#: Seconds after which a test run counts as hung; a bug that hangs its tests has been found.
PATIENCE = 300
#: pytest's exit code for tests that ran and failed; any other one but 0 means that they did not run.
RED = 1


def main(words: Sequence[str]) -> int:
    chosen = [mutant for mutant in MUTANTS if not words or any(word in mutant.name for word in words)]
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = copied(Path(folder))
        if problem := problem_without_a_bug(tree, chosen):
            print(problem)
            return 1
        survivors = [mutant for mutant in chosen if not report(mutant, tree)]
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} bugs were found.")
    return 1 if survivors or not chosen else 0


def copied(folder: Path) -> Path:
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            # A compiled file is taken for fresh by time and length, and a bug may leave both as they were.
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        else:
            shutil.copy(source, folder / part)
    return folder


def problem_without_a_bug(tree: Path, mutants: Iterable[Mutant]) -> str | None:
    rotten = [mutant.name for mutant in mutants if mutant.occurrences(tree) != 1]
    if rotten:
        return f"The old text of these bugs does not stand exactly once in its file: {', '.join(rotten)}"
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    answer = run(tests, tree)
    return f"The tests are red without a bug:\n{answer.stdout}{answer.stderr}" if answer.returncode else None


def report(mutant: Mutant, tree: Path) -> bool:
    began = time.monotonic()
    verdict = verdict_on(mutant, tree)
    print(f"{verdict:<12} {time.monotonic() - began:5.1f} s  {mutant.name}", flush=True)
    return verdict in {"found", "found (hung)"}


def verdict_on(mutant: Mutant, tree: Path) -> str:
    file = tree / mutant.file
    sound = file.read_text(encoding="utf-8")
    file.write_text(sound.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        code = run(mutant.tests, tree).returncode
    except subprocess.TimeoutExpired:
        return "found (hung)"
    finally:
        file.write_text(sound, encoding="utf-8")
    return {0: "SURVIVED", RED: "found"}.get(code, "DID NOT RUN")


def run(tests: Iterable[str], tree: Path) -> subprocess.CompletedProcess[str]:
    # -x: one red test is enough. The seed is fixed, so that a bug is found today as it was yesterday. How small the
    # example can be that shows it is nobody's question here, and finding out took five minutes for one of them.
    command = [sys.executable, "-m", "pytest", "-n0", "-q", "-x", "-p", "no:cacheprovider"]
    command += ["--hypothesis-seed=0", "--hypothesis-profile=unshrunk"]
    sources = [tree / "shared", *sorted(path for path in (tree / "services").iterdir() if path.is_dir())]
    environment = {
        **os.environ,
        # Before the installed package, which is the tree that was copied.
        "PYTHONPATH": os.pathsep.join(map(str, sources)),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(
        [*command, *tests], cwd=tree, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
