"""The OAuth tokens of containers: a file each, accepted as a login for as long as the container runs."""

from __future__ import annotations

import secrets
import threading
from pathlib import Path

from freshet_emulator.sql.names import FullName


class ContainerTokens:
    """Issues, accepts and revokes tokens. Safe to call from any thread."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._owners: dict[str, FullName] = {}
        self._files: dict[str, tuple[Path, str]] = {}

    def issue(self, key: str, owner: FullName) -> Path:
        """The path of the token file of `owner`, readable by this user only; made at the first call for this key."""
        with self._lock:
            if key not in self._files:
                token, path = secrets.token_urlsafe(48), self._directory / key
                path.touch(mode=0o600)
                path.write_text(token, encoding="utf-8")
                self._owners[token] = owner
                self._files[key] = (path, token)
            return self._files[key][0]

    def revoke(self, key: str) -> None:
        """Take back a container's token; sessions already open stay open."""
        with self._lock:
            path, token = self._files.pop(key, (None, ""))
            self._owners.pop(token, None)
        if path is not None:
            path.unlink(missing_ok=True)

    def owner(self, token: str) -> FullName | None:
        """The service that a token was issued to."""
        with self._lock:
            return self._owners.get(token)
