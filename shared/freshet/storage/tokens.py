"""Bearer tokens of the api.

Purpose: to make them and to know them again. Guarantee: what is stored can't be turned back into a token. Never: a
token in a log line or an error.
"""

from __future__ import annotations

import hashlib
import secrets

from freshet.storage.database import Database

PREFIX = "fsh_"


class Tokens:
    """The api's tokens."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, name: str) -> str:
        """Make a token of 256 random bits and keep its digest; the token is shown this once."""
        token = PREFIX + secrets.token_urlsafe(32)
        self._database.run("TokenInsert", {"digest": digest(token), "name": name})
        return token

    def name_of(self, token: str) -> str | None:
        """The name that a token was made under; None for an unknown one."""
        row = self._database.row("TokenFind", {"digest": digest(token)})
        return row["name"] if row else None


def digest(token: str) -> bytes:
    """SHA-256: tokens are random, so no salt and no stretching is needed. Equal digests are looked up, not tokens."""
    return hashlib.sha256(token.encode()).digest()
