"""What attempts print, told apart by item and capped.

Purpose: one stream of bytes from a child becomes parts of the logs of its items. Guarantees: at most `limit` bytes of
an attempt are kept, with a visible mark where it was cut; a character is never torn between two parts. Never: more in
memory than what is not written yet.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable

from freshet.storage.worker_store import LogPart


class AttemptLog:
    """The log of one attempt on its way to the tables."""

    def __init__(self, item: str, attempt: int, *, limit: int, kept: int = 0, number: int = 0) -> None:
        """`limit`: bytes; `kept`: bytes that are written already, in parts 0 to `number` - 1."""
        self._item = item
        self._attempt = attempt
        self._limit = limit
        self._kept = kept  # bytes
        self._number = number
        self._text = ""
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    @property
    def full(self) -> bool:
        """Whether nothing more will be kept."""
        return self._kept > self._limit

    def add(self, chunk: bytes) -> None:
        """Take what was printed."""
        room = self._limit - self._kept
        if room < 0:
            return
        self._text += self._decode(chunk[:room])
        self._kept += len(chunk)
        if len(chunk) > room:
            self._text += f"\n[Freshet: the log of this attempt is cut here, at {self._limit:,} bytes]\n"
            self._kept = self._limit + 1

    def take(self) -> LogPart | None:
        """What is not written yet, if anything."""
        if not self._text:
            return None
        part = LogPart(item=self._item, attempt=self._attempt, number=self._number, text=self._text)
        self._text, self._number = "", self._number + 1
        return part


class Demultiplexer:
    """Finds the marks by which a child ends each item's share of its output."""

    def __init__(self, mark: bytes, log_of: Callable[[int], AttemptLog | None], *, position: int) -> None:
        """`log_of(position)` is the log of an item of the bundle; `position` is the item in hand."""
        self._mark = mark
        self._length = len(mark) + 9  # eight hexadecimal digits and a line's end
        self._log_of = log_of
        self._position = position
        self._rest = b""

    def feed(self, chunk: bytes) -> None:
        """Take some output."""
        data = self._rest + chunk
        while (at := data.find(self._mark)) >= 0 and len(data) >= at + self._length:
            self._give(data[:at])
            self._position = int(data[at + len(self._mark) : at + self._length - 1], 16) + 1
            data = data[at + self._length :]
        # A mark may have arrived in part; it begins with NUL, which hardly anything printed does.
        keep = data.rfind(self._mark[:1], max(0, len(data) - self._length))
        self._give(data[:keep] if keep >= 0 else data)
        self._rest = data[keep:] if keep >= 0 else b""

    def end(self) -> None:
        """Nothing more comes: what looked like the begin of a mark was none."""
        self._give(self._rest)
        self._rest = b""

    def _give(self, text: bytes) -> None:
        log = self._log_of(self._position) if text else None
        if log is not None:
            log.add(text)
