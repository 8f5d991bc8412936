"""What containers wrote: the window that GET_SERVICE_LOGS shows, and the lines that outlive it."""

from __future__ import annotations

import datetime as dt
import threading
from collections import deque
from collections.abc import Iterator

from freshet_emulator.spcs.pools import utc_now

LOG_BYTES = 100 * 1024
# How much of one container is kept for SPCS_GET_LOGS.
KEPT_BYTES = 4 * 1024 * 1024

Line = tuple[dt.datetime, str]


class OutputTail:
    """The output of one container: its last 100 KB as text, and its lines with their times. Safe for any thread."""

    def __init__(self, text: str = "", at: dt.datetime | None = None) -> None:
        self._lock = threading.Lock()
        self._data = bytearray()
        self._chunks: deque[tuple[dt.datetime, bytes]] = deque()
        self._size = 0
        if text:
            self.append(text.encode(), at)

    def append(self, chunk: bytes, at: dt.datetime | None = None) -> None:
        """Add output and drop what is too old."""
        with self._lock:
            self._data += chunk
            del self._data[: max(0, len(self._data) - LOG_BYTES)]
            self._chunks.append((at or utc_now(), bytes(chunk)))
            self._size += len(chunk)
            while self._size > KEPT_BYTES and len(self._chunks) > 1:
                self._size -= len(self._chunks.popleft()[1])

    def text(self, lines: int | None = None) -> str:
        """The window, or its last `lines`, without the final line break."""
        with self._lock:
            whole = self._data.decode("utf-8", "replace")
        whole = whole.removesuffix("\n")
        return whole if lines is None else "\n".join(whole.split("\n")[-lines:] if lines else [])

    def lines(self) -> Iterator[Line]:
        """All lines that are kept, each with the time at which it was complete."""
        with self._lock:
            chunks = list(self._chunks)
        rest = b""
        at: dt.datetime | None = None
        for at, chunk in chunks:
            *complete, rest = (rest + chunk).split(b"\n")
            yield from ((at, line.decode("utf-8", "replace")) for line in complete)
        if rest and at is not None:
            yield at, rest.decode("utf-8", "replace")

    def since(self, start: dt.datetime, *, stamped: bool) -> str:
        """The lines of the window from a moment on, with their times in front if asked."""
        budget, found = LOG_BYTES, deque[str]()
        for at, line in reversed([entry for entry in self.lines() if entry[0] >= start]):
            text = f"{at:%Y-%m-%dT%H:%M:%S.%fZ} {line}" if stamped else line
            budget -= len(text.encode()) + 1
            if budget < 0:
                break
            found.appendleft(text)
        return "\n".join(found)
