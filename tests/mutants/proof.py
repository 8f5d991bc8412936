"""Plant each bug in a copy of the tree and let the proofs look for it: `python -m tests.mutants.proof [WORD…]`.

The provers are the model (on real servers) and the simulator (on the twins, so that a bug of the SQL is planted in its
twin as well). Prints a table: which of them saw the bug, and after how many steps or seeds. Words choose the bugs whose
name holds one of them. Exit code 1: a bug that nobody saw, or a prover that is red without one.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .__main__ import copied
from .mutant import ROOT
from .proof_bugs import BUGS, Bug

#: Seeds that the simulator is given, and the seconds after which a prover counts as hung: then it saw the bug.
SEEDS, PATIENCE = 1000, 420


@dataclass(frozen=True, kw_only=True, slots=True)
class Prover:
    """One of the two, and how to read what it says."""

    name: str
    command: tuple[str, ...]
    effort: re.Pattern[str]  # of its output: how far it came before it saw the bug, or the race that did


MODEL = Prover(
    name="model",
    command=(
        *("-m", "pytest", "-n0", "-q", "-x", "-p", "no:cacheprovider", "--timeout=0", "--hypothesis-seed=0"),
        *("tests/model/test_model.py", "tests/model/test_races.py"),
    ),
    effort=re.compile(r"broken after (\d+ steps)|FAILED \S+::test_(\w+)"),
)
SIMULATOR = Prover(
    name="simulator",
    command=("-m", "freshet.testing.simulation", "--seeds", str(SEEDS), "--start", "0", "--first"),
    effort=re.compile(r"broken after (\d+ seeds)"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What one prover said about one bug."""

    red: bool
    effort: str
    seconds: float


def main(arguments: Sequence[str]) -> int:
    given = _arguments(arguments)
    provers = [each for each in (MODEL, SIMULATOR) if given.only in (None, each.name)]
    chosen = [bug for bug in BUGS if not given.words or any(word in bug.name for word in given.words)]
    if rotten := [bug.name for bug in chosen if not bug.fits(ROOT)]:
        print(f"The old text of these bugs does not stand exactly once in its file: {', '.join(rotten)}")
        return 1
    with tempfile.TemporaryDirectory(prefix="proof-") as folder:
        trees = {prover.name: copied(_made(Path(folder) / prover.name)) for prover in provers}
        if not given.words and (red := [p.name for p in provers if prove(p, trees[p.name]).red]):
            print(f"Red without a bug: {', '.join(red)}")
            return 1
        missed = [bug.name for bug in chosen if not report(bug, provers, trees)]
    print(f"{len(chosen) - len(missed)} of {len(chosen)} bugs were seen." + "".join(f"\nMISSED {m}" for m in missed))
    return 1 if missed or not chosen else 0


def report(bug: Bug, provers: Sequence[Prover], trees: dict[str, Path]) -> bool:
    """One line of the table; whether somebody saw it."""

    def asked(prover: Prover) -> Seen:
        with planted(bug, trees[prover.name]):
            return prove(prover, trees[prover.name])

    with ThreadPoolExecutor(len(provers)) as pool:
        answers = list(pool.map(asked, provers))
    told = [
        f"{p.name}: {a.effort if a.red else '-'} ({a.seconds:.0f} s)" for p, a in zip(provers, answers, strict=True)
    ]
    print(f"| {bug.name} | {' | '.join(told)} |", flush=True)
    return any(answer.red for answer in answers)


@contextmanager
def planted(bug: Bug, tree: Path) -> Iterator[None]:
    """While it lasts, the tree has the bug."""
    sound = {edit.file: (tree / edit.file).read_text(encoding="utf-8") for edit in bug.edits}
    try:
        for edit in bug.edits:
            file = tree / edit.file
            file.write_text(file.read_text(encoding="utf-8").replace(edit.old, edit.new), encoding="utf-8")
        yield
    finally:
        for name, text in sound.items():
            (tree / name).write_text(text, encoding="utf-8")


def prove(prover: Prover, tree: Path) -> Seen:
    """Let one prover look."""
    began = time.monotonic()
    sources = [tree, tree / "shared", *sorted(path for path in (tree / "services").iterdir() if path.is_dir())]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, sources)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
    }
    try:
        answer = subprocess.run(
            [sys.executable, *prover.command],
            cwd=tree,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Seen(red=True, effort="hung", seconds=PATIENCE)
    seconds = time.monotonic() - began
    found = prover.effort.search(answer.stdout + answer.stderr)
    if answer.returncode and found is None:
        # A prover that can't start proves nothing.
        print(answer.stdout[-2000:] + answer.stderr[-2000:])
        return Seen(red=False, effort="did not run", seconds=seconds)
    told = next(filter(None, found.groups()), "") if found else ""
    return Seen(red=answer.returncode != 0, effort=told, seconds=seconds)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.proof", description=__doc__)
    parser.add_argument("words", nargs="*", metavar="WORD", help="only bugs whose name holds one of these")
    parser.add_argument("--only", choices=["model", "simulator"], help="ask one prover")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
