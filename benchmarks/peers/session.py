"""What a peer's module and the harness say to each other: the installation as argv, JSON lines in and out.

Purpose: the harness writes {"op": "start" | "finish" | "roles", …} and reads one line for each; the clock is its own.
Guarantees: standard library only, for it runs in every peer's environment; what a library prints goes to stderr; an
exception is an answer with `problem`. Never: a figure made here but the moments at which a chain's tasks ran.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

Json = dict[str, Any]
PR_SET_PDEATHSIG = 1
STARTED: list[subprocess.Popen[bytes]] = []  # all programs, to be ended with this one


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the peer may work: a database and a Redis of its own, a directory, and how many workers it gets."""

    database_url: str
    redis_url: str
    directory: str
    workers: int

    @property
    def socket(self) -> str:
        """The path of the Redis socket."""
        return self.redis_url.removeprefix("unix://").partition("?")[0]

    @property
    def database_socket(self) -> str:
        """The directory of the Postgres socket."""
        return self.database_url.partition("host=")[2]

    def database(self, driver: str) -> str:
        """The database's URL for SQLAlchemy with that driver."""
        return self.database_url.replace("postgresql://", f"postgresql+{driver}://")


class Adapter(Protocol):
    """A running peer with warm workers."""

    kinds: frozenset[str]
    settings: Json

    def roles(self) -> dict[str, list[int]]:
        """The pids of its processes; this one is the client."""
        ...

    def start(self, kind: str, parameters: Json) -> Any:
        """Ask for the work; whatever `finish` needs."""
        ...

    def finish(self, kind: str, asked: Any) -> Json:
        """Await the end; what the harness checks."""
        ...

    def close(self) -> None:
        """End its processes."""
        ...


def serve(make: Callable[[Place], Adapter]) -> None:
    """Answer the harness until it hangs up."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    adapter: Adapter | None = None
    try:
        adapter = make(Place(**json.loads(sys.argv[1])))
        _say(answers, {"kinds": sorted(adapter.kinds), "settings": adapter.settings})
        asked: dict[str, tuple[str, Any]] = {}
        for line in sys.stdin:
            _say(answers, _answer(adapter, json.loads(line), asked))
    finally:
        if adapter is not None:
            adapter.close()
        end(STARTED)


def processes(commands: Iterable[Sequence[str]], place: Place, **environment: str) -> list[subprocess.Popen[bytes]]:
    """Start programs of this environment, their output to stderr; they end with us, also when we are killed."""
    env = {**os.environ, **environment}
    started = [
        subprocess.Popen(command, stdout=sys.stderr, cwd=place.directory, env=env, preexec_fn=_die_with_parent)  # noqa: PLW1509  (this process has one thread)
        for command in commands
    ]
    STARTED.extend(started)
    return started


def end(programs: Iterable[subprocess.Popen[bytes]], patience: float = 10.0) -> None:
    """Ask, then insist."""
    ending = [program for program in programs if program.poll() is None]
    for program in ending:
        program.send_signal(signal.SIGTERM)
    for program in ending:
        try:
            program.wait(patience)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()


def await_true(condition: Callable[[], Any], patience: float = 3600.0) -> None:
    """Look again whenever a hundredth of the time so far has passed, as the harness does for Freshet."""
    began = time.monotonic()
    while not condition():
        passed = time.monotonic() - began
        if passed > patience:
            raise TimeoutError("It did not come in time.")
        time.sleep(min(0.1, max(0.005, passed / 100)))


def hops(moments: Sequence[float]) -> list[float]:
    """Milliseconds between the moments (seconds) at which the tasks of a chain ran."""
    return [(later - earlier) * 1000 for earlier, later in pairwise(moments)]


def tally(results: Iterable[Any]) -> Json:
    """How many results there are, how many different ones, and their length if they are text."""
    found = list(results)
    texts = [each for each in found if isinstance(each, str)]
    distinct = {each[:8] if isinstance(each, str) else each for each in found}
    return {"joined": len(found), "distinct": len(distinct), "bytes": sum(map(len, texts))}


def blob(item: int, size: int) -> str:
    """A result of `size` bytes, different for each item."""
    return f"{item:08d}".ljust(size, "x")


def fibo(number: int) -> int:
    """The naive recursion of the public suite."""
    return number if number < 2 else fibo(number - 1) + fibo(number - 2)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _answer(adapter: Adapter, request: Json, asked: dict[str, tuple[str, Any]]) -> Json:
    try:
        match request["op"]:
            case "roles":
                return {**adapter.roles(), "client": [os.getpid()]}
            case "start":
                asked[request["handle"]] = (request["kind"], adapter.start(request["kind"], request["parameters"]))
                return {"handle": request["handle"]}
            case "finish":
                return adapter.finish(*asked.pop(request["handle"]))
            case operation:
                return {"problem": f"there is no operation {operation}"}
    except Exception as error:  # noqa: BLE001  (whatever a peer raises is its answer)
        traceback.print_exc()
        return {"problem": f"{type(error).__name__}: {error}"[:500]}


def _say(answers: Any, answer: Json) -> None:
    answers.write(json.dumps(answer) + "\n")
