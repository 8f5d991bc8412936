"""The warm child of a worker: `python -m freshet.execution.child`.

Purpose: to run user code in a process that can be killed at any moment. Guarantees: it ends with its supervisor; each
outcome is sent the moment it is known, so that a death loses only the item in hand; what user code prints, from Python
or from C, is told apart by item. Never: Redis, the engine's tables, or a decision about retries.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
from typing import TextIO

from freshet.domain.errors import DefinitionError
from freshet.execution.channel import Channel
from freshet.execution.registry import load
from freshet.execution.turns import Bench
from freshet.runtime.parentage import watch_parent
from freshet.storage.session import ProcessSession


def main(arguments: list[str] | None = None) -> int:
    """Serve one supervisor until it closes the channel; 2 when a module of processes is refused."""
    given = _arguments(arguments)
    watch_parent()
    channel = Channel(socket.socket(fileno=given.channel))
    hello = channel.receive()
    if hello is None:
        return 1
    _redirect(given.output)
    try:
        registry = load(hello["modules"])
    except DefinitionError as error:
        channel.send({"op": "refused", "message": error.message})
        return 2
    os.set_blocking(given.control, False)
    session = ProcessSession(hello["database_url"])
    bench = Bench(
        channel=channel,
        output=given.output,
        control=given.control,
        session=session,
        registry=registry,
        limit=hello["limit"],
        mark=hello["mark"].encode(),
        connections=hello["connections"],
    )
    channel.send({"op": "ready", "processes": {ref: each.isolation for ref, each in registry.all().items()}})
    while (message := channel.receive()) is not None:
        bench.run_bundle(message)
    return 0


def _redirect(output: int) -> None:
    """Let everything that is printed go to the supervisor, also from C code and from programs started here."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout, sys.stderr = _by_line(1), _by_line(2)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr, force=True)


def _by_line(number: int) -> TextIO:
    # Not a terminal, so Python would hold back 8 KiB, and a death would lose them.
    return open(number, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="freshet.execution.child", description=__doc__)
    # All else comes over the channel: arguments and environment can be read by others.
    for name in ("channel", "output", "control"):
        parser.add_argument(f"--{name}", type=int, required=True)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that user code has left behind must not keep the process alive.
    os._exit(code)
