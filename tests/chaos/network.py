"""Some services behind a line that can be cut.

Purpose: cut, nothing arrives and nobody is told: connections stay open and packets vanish. With root it is a network
namespace with a cable (veth) that is taken down; without, a TCP proxy that stops forwarding. Guarantees: what is made
is removed, also what a killed predecessor left. Never: another line than its own.
"""

from __future__ import annotations

import os
import re
import selectors
import shutil
import socket
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

LOCAL = "127.0.0.1"
CHUNK = 65_536


class Line(Protocol):
    """The way of one service to the two servers."""

    method: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """What stands before the service's own command."""

    def address(self, port: int) -> tuple[str, int]:
        """Where the service finds what listens on `port`."""

    def cut(self) -> None:
        """From now on nothing passes."""

    def heal(self) -> None:
        """It passes again, also what was held up."""

    def close(self) -> None:
        """Remove the line."""


def can_make_namespaces() -> bool:
    """Whether a namespace with a cable can be made here."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    try:
        Namespace(0).close()
    except OSError:
        return False
    return True


def forget_dead() -> None:
    """Remove the namespaces of processes that are gone; a cable goes with its namespace."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False).stdout
    for name, pid in re.findall(r"^(freshet-chaos-(\d+)-\d+)", listed, re.MULTILINE):
        if not Path(f"/proc/{pid}").exists():
            subprocess.run(["ip", "netns", "delete", name], check=False)


class Namespace:
    """A network namespace with one cable to this machine."""

    method = "network namespace"

    def __init__(self, number: int) -> None:
        """Raises OSError when it can't be made. `number`: 0 to 15, one for each line of this process."""
        self.name = f"freshet-chaos-{os.getpid()}-{number}"
        block = (os.getpid() * 16 + number) % 16_384  # a /30 of 10.213.0.0/16 for each line
        base = f"10.213.{block >> 6}.{(block & 63) * 4}".rsplit(".", 1)
        self.host = f"{base[0]}.{int(base[1]) + 1}"
        self._guest = f"{base[0]}.{int(base[1]) + 2}"
        self._cable = f"fc{os.getpid() % 1_000_000}n{number}"
        try:
            self._make()
        except OSError:
            self.close()
            raise

    @property
    def prefix(self) -> tuple[str, ...]:
        """`ip netns exec` becomes the program that it starts, so the process id is the service's."""
        return ("ip", "netns", "exec", self.name)

    def address(self, port: int) -> tuple[str, int]:
        """This machine's end of the cable."""
        return self.host, port

    def cut(self) -> None:
        """Take the cable's inner end down: packets vanish on both sides."""
        self._ip("-n", self.name, "link", "set", "inside", "down")

    def heal(self) -> None:
        """And up again."""
        self._ip("-n", self.name, "link", "set", "inside", "up")

    def close(self) -> None:
        """The cable goes with the namespace."""
        subprocess.run(["ip", "link", "delete", self._cable], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "delete", self.name], capture_output=True, check=False)

    def _make(self) -> None:
        self._ip("netns", "add", self.name)
        self._ip("link", "add", self._cable, "type", "veth", "peer", "name", "inside", "netns", self.name)
        self._ip("address", "add", f"{self.host}/30", "dev", self._cable)
        self._ip("link", "set", self._cable, "up")
        self._ip("-n", self.name, "address", "add", f"{self._guest}/30", "dev", "inside")
        for device in ("lo", "inside"):
            self._ip("-n", self.name, "link", "set", device, "up")

    @staticmethod
    def _ip(*words: str) -> None:
        done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


@dataclass(slots=True)
class _Pipe:
    """One direction of one connection."""

    source: socket.socket
    target: socket.socket


class Proxy:
    """Forwards TCP connections in a thread, and stops to while it is cut."""

    method = "TCP proxy that stops forwarding"

    def __init__(self) -> None:
        self._doors: dict[int, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._asleep, self._waker = socket.socketpair()
        self._cut = False
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._selector.register(self._asleep, selectors.EVENT_READ)
        self._thread.start()

    @property
    def prefix(self) -> tuple[str, ...]:
        """Nothing: the service is told another port."""
        return ()

    def address(self, port: int) -> tuple[str, int]:
        """A port that leads to `port`."""
        with self._lock:
            if port not in self._doors:
                door = socket.create_server((LOCAL, 0), backlog=128)
                door.setblocking(False)
                self._doors[port] = door
                self._selector.register(door, selectors.EVENT_READ, port)
                self._waker.send(b"w")
            return LOCAL, int(self._doors[port].getsockname()[1])

    def cut(self) -> None:
        """Read nothing and write nothing; new connections hang."""
        self._cut = True
        self._waker.send(b"w")

    def heal(self) -> None:
        """Go on where it stopped."""
        self._cut = False
        self._waker.send(b"w")

    def close(self) -> None:
        """End every connection."""
        self._closed = True
        self._waker.send(b"w")
        self._thread.join(5.0)
        for each in list(self._selector.get_map().values()):
            if isinstance(each.fileobj, socket.socket):
                each.fileobj.close()
        self._selector.close()
        self._waker.close()

    def _run(self) -> None:
        while not self._closed:
            if self._cut:
                self._asleep.recv(64)
                continue
            for key, _ in self._selector.select():
                if not self._cut and isinstance(key.fileobj, socket.socket):
                    self._serve(key.fileobj, key.data)

    def _serve(self, ready: socket.socket, data: object) -> None:
        if ready is self._asleep:
            ready.recv(64)
        elif isinstance(data, int):
            self._accept(ready, data)
        elif isinstance(data, _Pipe):
            self._forward(data)

    def _accept(self, door: socket.socket, port: int) -> None:
        client, _ = door.accept()
        try:
            server = socket.create_connection((LOCAL, port), timeout=2.0)
        except OSError:
            client.close()
            return
        for source, target in ((client, server), (server, client)):
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            source.settimeout(5.0)
            self._selector.register(source, selectors.EVENT_READ, _Pipe(source, target))

    def _forward(self, pipe: _Pipe) -> None:
        try:
            chunk = pipe.source.recv(CHUNK)
            if chunk:
                pipe.target.sendall(chunk)
                return
        except OSError:
            pass  # either end is gone, and with it the connection
        for end in (pipe.source, pipe.target):
            with suppress(KeyError, ValueError):
                self._selector.unregister(end)
            end.close()
