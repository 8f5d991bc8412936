"""A forked module runs as `python -m module` would, and shares nothing of ours that it must not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="services are forked on Linux alone")

SERVED = """
import atexit, json, os, signal, sys
atexit.register(lambda: (sys.stdout.write("left\\n"), sys.stdout.flush()))
# In one write, for two of them share the file, and `print` may be unbuffered.
sys.stdout.write(json.dumps({
    "name": __name__,
    "argv": sys.argv,
    "path": sys.path[0],
    "word": os.environ.get("WORD"),
    "ours": os.environ.get("OURS"),
    "files": sorted(os.listdir("/proc/self/fd")),
    "session": os.getsid(0) == os.getpid(),
    "default": signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
    "random": __import__("random").random(),
}) + "\\n")
sys.exit(7)
"""
PARENT = """
import atexit, os, random, signal, sys, tempfile
from freshet.runtime.forked import can_fork, fork_module
from freshet.runtime.parentage import death_pact
random.seed(1)
atexit.register(lambda: os.write(2, b"parent left\\n"))
signal.signal(signal.SIGTERM, lambda *_: None)
held = open(os.devnull)
os.environ["OURS"] = "yes"
assert can_fork()
log = open(sys.argv[2], "wb")
children = [
    fork_module(sys.argv[3], environment={"WORD": "hi"}, path=[sys.argv[1]], output=log.fileno(), prepare=death_pact())
    for _ in range(int(sys.argv[4]))
]
print([child.wait(30) for child in children])
"""


def _run(tmp_path: Path, code: str, *, times: int = 1) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    (tmp_path / "served.py").write_text(code)
    log = tmp_path / "log"
    done = subprocess.run(
        [sys.executable, "-c", PARENT, str(tmp_path), str(log), "served", str(times)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done, log.read_text().splitlines()


def test_it_runs_as_main_with_its_own_surroundings(tmp_path: Path) -> None:
    done, lines = _run(tmp_path, SERVED)
    assert done.stdout == "[7]\n", done.stderr
    assert done.stderr == "parent left\n", "the parent's exit handlers ran in the child"
    seen: dict[str, Any] = json.loads(lines[0])
    assert lines[1:] == ["left"], "the child's own exit handlers did not run"
    del seen["random"]
    assert seen == {
        "name": "__main__",
        "argv": [str(tmp_path / "served.py")],
        "path": str(tmp_path),
        "word": "hi",
        "ours": None,
        "files": ["0", "1", "2", "3"],  # 3 is the directory that is being listed
        "session": True,
        "default": True,
    }


def test_forks_do_not_draw_the_same_random_numbers(tmp_path: Path) -> None:
    _, lines = _run(tmp_path, SERVED, times=2)
    drawn = [json.loads(line)["random"] for line in lines if line.startswith("{")]
    assert len(set(drawn)) == 2


@pytest.mark.parametrize(
    ("code", "exit_code", "said"),
    [
        ("", 0, []),
        ("raise SystemExit('no room left')", 1, ["no room left"]),
        ("import os; os.kill(os.getpid(), 9)", -9, []),
    ],
)
def test_it_ends_as_a_python_of_its_own_would(tmp_path: Path, code: str, exit_code: int, said: list[str]) -> None:
    done, lines = _run(tmp_path, code)
    assert done.stdout == f"[{exit_code}]\n"
    assert lines == said


def test_an_error_is_printed_and_ends_it_with_code_1(tmp_path: Path) -> None:
    done, lines = _run(tmp_path, "1 / 0")
    assert done.stdout == "[1]\n"
    assert lines[-1] == "ZeroDivisionError: division by zero"


THREADED = """
import threading
from freshet.runtime.forked import can_fork
stop = threading.Event()
thread = threading.Thread(target=stop.wait)
thread.start()
print(can_fork())
stop.set()
thread.join()
print(can_fork())
"""


def test_nothing_is_forked_beside_another_thread() -> None:
    done = subprocess.run([sys.executable, "-c", THREADED], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\nTrue\n"
