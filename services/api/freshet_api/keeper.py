"""Who may come in.

Guarantees: the token of the environment is compared in constant time; others are looked up by their SHA-256 and kept
known for half a minute, so that a busy client costs no statement per request and a deleted token goes within that
time. Never: a token in memory that was not accepted.
"""

from __future__ import annotations

import hmac
import threading
import time

from freshet.storage.tokens import Tokens, digest

KEPT = 30.0  # seconds for which a token found in the database is not looked up again
MOST = 1_000  # tokens kept known


class Keeper:
    """The keeper of the door."""

    def __init__(self, tokens: Tokens, own: str | None) -> None:
        """`own` is always accepted."""
        self._tokens = tokens
        self._own = digest(own) if own else None
        self._known: dict[bytes, float] = {}
        self._lock = threading.Lock()

    def knows(self, token: str) -> bool:
        """Whether the token is accepted without a look into the database."""
        key = digest(token)
        if self._own is not None and hmac.compare_digest(key, self._own):
            return True
        with self._lock:
            return self._known.get(key, 0.0) > time.monotonic()

    def finds(self, token: str) -> bool:
        """Whether the database knows the token. Raises UnreachableError."""
        if self._tokens.name_of(token) is None:
            return False
        with self._lock:
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[digest(token)] = time.monotonic() + KEPT
        return True
