"""Executor of kind `python`: a script in a process of its own.

Promise: at least once. The payload comes on stdin as JSON, the result is the last line of stdout that is JSON; both
streams are the attempt's log.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

import orjson

from freshet.execution.context import Context
from freshet.execution.contract import Item, Outcome, failed
from freshet.execution.values import ValueRefusedError, encode, encode_payload
from freshet.runtime.parentage import death_pact

#: Bytes of the end of stderr that an error quotes from.
TAIL = 2_000
_CHUNK = 1 << 16


class PythonExecutor:
    """Runs one script."""

    def __init__(self, text: str, *, limit: int) -> None:
        """`limit`: bytes of JSON of payload and result."""
        self._text = text
        self._limit = limit

    def run(self, item: Item, context: Context) -> Outcome:
        """Run the script to its end; the supervisor kills the whole group when that takes too long."""
        with tempfile.TemporaryDirectory(prefix="freshet-") as directory:
            script = Path(directory) / "script.py"
            script.write_text(self._text, encoding="utf-8")
            stdin = Path(directory) / "payload.json"
            stdin.write_bytes(encode_payload(item.payload, limit=self._limit))
            with stdin.open("rb") as source, _start(script, source, item, context) as process:
                reader = _Output(process, limit=self._limit)
                reader.read()
                code = process.wait()
        if code != 0:
            return failed(f"The script ended with exit code {code}. {reader.last_words}".rstrip(), exit_code=code)
        return _result(reader.line, self._limit, context.task)


def _start(script: Path, stdin: IO[bytes], item: Item, context: Context) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603  (the script is the task's own, checked in at apply)
        [sys.executable, str(script)],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={
            **os.environ,
            "FRESHET_RUN_ID": context.run_id,
            "FRESHET_TASK": context.task,
            "FRESHET_ITEM": context.item,
            "FRESHET_ATTEMPT": str(item.attempt),
            "PYTHONUNBUFFERED": "1",
        },
        # In the child there is one thread, so this is safe; the script must not outlive a killed child.
        preexec_fn=death_pact(),  # noqa: PLW1509
    )


def _result(line: bytes | None, limit: int, task: str) -> Outcome:
    if line is None:
        return Outcome(status="succeeded")
    try:
        return Outcome(status="succeeded", result=encode(orjson.loads(line), limit=limit))
    except ValueRefusedError as refusal:
        return failed(f"The result of task {task} can't be kept: {refusal.message}.", type="ValueError")


class _Output:
    """Passes both streams on to the log, and remembers what the outcome needs."""

    def __init__(self, process: subprocess.Popen[bytes], *, limit: int) -> None:
        self._process = process
        self._limit = limit
        self._rest = b""
        self._tail = b""
        self.line: bytes | None = None  # the last one that is JSON

    @property
    def last_words(self) -> str:
        """The last line of stderr."""
        lines = self._tail.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def read(self) -> None:
        """Until both streams have ended."""
        with selectors.DefaultSelector() as selector:
            for stream, take, to in (
                (self._process.stdout, self._take_stdout, 1),
                (self._process.stderr, self._take_stderr, 2),
            ):
                assert stream is not None  # both are pipes
                selector.register(stream, selectors.EVENT_READ, (take, to))
            while selector.get_map():
                for key, _ in selector.select():
                    self._pass_on(selector, key)
        self._take_line(self._rest)

    def _pass_on(self, selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        take, to = key.data
        chunk = os.read(key.fd, _CHUNK)
        if not chunk:
            selector.unregister(key.fileobj)
            return
        written = 0
        while written < len(chunk):
            written += os.write(to, chunk[written:])
        take(chunk)

    def _take_stdout(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._take_line(line)
        # Longer than any result may be: not a result, and no reason to keep it in memory.
        if len(self._rest) > 2 * self._limit:
            self._rest = self._rest[: self._limit + 1]

    def _take_stderr(self, chunk: bytes) -> None:
        self._tail = (self._tail + chunk)[-TAIL:]

    def _take_line(self, line: bytes) -> None:
        if is_json(line):
            self.line = line


def is_json(line: bytes | str) -> bool:
    """Whether a line of output is JSON, and so may be a result."""
    stripped: Any = line.strip()
    if not stripped:
        return False
    try:
        orjson.loads(stripped)
    except orjson.JSONDecodeError:
        return False
    return True
