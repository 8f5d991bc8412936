"""Messages between a supervisor and its child, over a socket pair.

Purpose: small frames of JSON, and outcomes as they were written, so that the supervisor passes them on without reading
them. Guarantee: a frame arrives whole or not at all; what was sent before a death can still be received. Never:
pickle.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

_HEADER = struct.Struct("<IB")
_OUTCOME = struct.Struct("<IB")
_MESSAGE_KIND, _OUTCOME_KIND = 0, 1
_CHUNK = 1 << 18


@dataclass(frozen=True, slots=True)
class Sent:
    """An outcome of the item at `position` in its bundle; `committed` when the child has reported it itself."""

    position: int
    committed: bool
    body: bytes


def _framed(outcome: Sent) -> bytes:
    head = _OUTCOME.pack(outcome.position, outcome.committed)
    return _HEADER.pack(len(head) + len(outcome.body), _OUTCOME_KIND) + head + outcome.body


class Channel:
    """One end."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self._buffer = bytearray()

    def send(self, message: dict[str, Any]) -> None:
        """Send a message. Raises OSError when the other end is gone."""
        body = orjson.dumps(message)
        self.socket.sendall(_HEADER.pack(len(body), _MESSAGE_KIND) + body)

    def send_outcome(self, outcome: Sent) -> None:
        """Send an outcome. Raises OSError when the other end is gone."""
        self.send_outcomes([outcome])

    def send_outcomes(self, outcomes: Iterable[Sent]) -> None:
        """Send several at once. Raises OSError when the other end is gone."""
        self.socket.sendall(b"".join(map(_framed, outcomes)))

    def receive(self) -> dict[str, Any] | None:
        """Wait for the next message; None when the other end is gone."""
        while True:
            frame = self._frame()
            if isinstance(frame, dict):
                return frame
            if frame is None and not self._read():
                return None

    def arrived(self) -> tuple[list[dict[str, Any] | Sent], bool]:
        """What has arrived by now, without waiting, and whether the other end is still there."""
        open_ = True
        try:
            while (more := self.socket.recv(_CHUNK, socket.MSG_DONTWAIT)) != b"":
                self._buffer += more
                if len(more) < _CHUNK:
                    break
            else:
                open_ = False
        except BlockingIOError:
            pass
        except ConnectionError:
            open_ = False
        frames = []
        while (frame := self._frame()) is not None:
            frames.append(frame)
        return frames, open_

    def close(self) -> None:
        """Close this end."""
        self.socket.close()

    def _read(self) -> bool:
        try:
            more = self.socket.recv(_CHUNK)
        except ConnectionError:
            return False
        self._buffer += more
        return more != b""

    def _frame(self) -> dict[str, Any] | Sent | None:
        if len(self._buffer) < _HEADER.size:
            return None
        length, kind = _HEADER.unpack_from(self._buffer)
        end = _HEADER.size + length
        if len(self._buffer) < end:
            return None
        body = bytes(self._buffer[_HEADER.size : end])
        del self._buffer[:end]
        if kind == _OUTCOME_KIND:
            position, committed = _OUTCOME.unpack_from(body)
            return Sent(position, bool(committed), body[_OUTCOME.size :])
        message: dict[str, Any] = orjson.loads(body)
        return message
