"""Sessions: who is logged in, with which tokens, where."""

from __future__ import annotations

import hmac
import itertools
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from freshet_emulator.errors import LoginRefusedError, no_current
from freshet_emulator.keys import PublicKeys
from freshet_emulator.spcs.tokens import ContainerTokens
from freshet_emulator.sql.lexer import Token
from freshet_emulator.sql.names import FullName, ObjectName

SESSION_GONE = 390111
TOKEN_EXPIRED = 390112
MASTER_EXPIRED = 390114
MASTER_SECONDS = 14_400


@dataclass(kw_only=True, slots=True)
class Session:
    """A logged-in client. The names of what it uses are None where nothing is in use.

    `copies_files` says that its connector can copy files on this machine for PUT and GET; connector 5 only uploads.
    """

    id: int
    user: str
    role: str
    database: str | None
    schema: str | None
    warehouse: str | None
    token: str
    master_token: str
    expires_at: float
    copies_files: bool = True
    parameters: dict[str, str] = field(default_factory=dict)
    variables: dict[str, Token] = field(default_factory=dict)
    last_query_id: str | None = None

    def resolve(self, name: ObjectName) -> FullName:
        """A name with the session's database and schema where it has none. Raises SqlError 90105 or 90106."""
        schema = name.parts[-2] if len(name.parts) > 1 else self.schema
        database = name.parts[-3] if len(name.parts) > 2 else self.database
        if database is None:
            raise no_current("database")
        if schema is None:
            raise no_current("schema")
        return FullName(database=database, schema=schema, name=name.last)


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """The one user that may log in, and its role."""

    user: str
    password: str
    role: str = "SYSADMIN"

    def accepts_password(self, user: str, password: str) -> bool:
        """Compared without telling by time how much of it is right."""
        return hmac.compare_digest(self.password.encode(), password.encode()) and user.upper() == self.user.upper()


class Sessions:
    """All sessions. Safe to call from any thread; `validity` is a session token's life in seconds."""

    def __init__(self, credentials: Credentials, tokens: ContainerTokens, *, validity: float, keys: PublicKeys) -> None:
        self._credentials = credentials
        self._keys = keys
        self._tokens = tokens
        self.validity = validity
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._by_token: dict[str, Session] = {}
        self._by_master: dict[str, Session] = {}

    def authenticate(self, data: Mapping[str, Any]) -> tuple[str, FullName | None]:
        """The user of a login request, and the service if a container logs in. Raises LoginRefusedError."""
        method = str(data.get("AUTHENTICATOR") or "SNOWFLAKE").upper()
        user, token = str(data.get("LOGIN_NAME") or ""), str(data.get("TOKEN") or "")
        if method == "OAUTH":
            owner = self._tokens.owner(token)
            if owner is not None:
                return owner.name, owner
            user = user or self._credentials.user
            if not self._credentials.accepts_password(user, token):
                raise LoginRefusedError(390303, "Invalid OAuth access token.")
            return user.upper(), None
        if method == "SNOWFLAKE_JWT":
            self._keys.check(user.upper(), token)
            return user.upper(), None
        if method == "PROGRAMMATIC_ACCESS_TOKEN" and self._credentials.accepts_password(user, token):
            return user.upper(), None
        if method not in ("SNOWFLAKE", "PROGRAMMATIC_ACCESS_TOKEN"):
            raise LoginRefusedError(
                390190, f"The emulator can't check the authenticator {method}; use user and password."
            )
        if not self._credentials.accepts_password(user, str(data.get("PASSWORD") or "")):
            raise LoginRefusedError(390100, "Incorrect username or password was specified.")
        return user.upper(), None

    def open(
        self, user: str, *, database: str | None, schema: str | None, warehouse: str | None, role: str | None
    ) -> Session:
        """A new session."""
        with self._lock:
            session = Session(
                id=next(self._ids),
                user=user,
                role=role or self._credentials.role,
                database=database,
                schema=schema,
                warehouse=warehouse,
                token=secrets.token_urlsafe(32),
                master_token=secrets.token_urlsafe(32),
                expires_at=time.monotonic() + self.validity,
            )
            self._by_token[session.token] = self._by_master[session.master_token] = session
            return session

    def find(self, token: str) -> Session | int:
        """The session of a token, or the code that says why there is none: expired (renew) or gone."""
        with self._lock:
            session = self._by_token.get(token)
            if session is None:
                return SESSION_GONE
            return session if time.monotonic() < session.expires_at else TOKEN_EXPIRED

    def renew(self, master_token: str) -> Session | None:
        """A fresh session token for a master token."""
        with self._lock:
            session = self._by_master.get(master_token)
            if session is None:
                return None
            del self._by_token[session.token]
            session.token = secrets.token_urlsafe(32)
            session.expires_at = time.monotonic() + self.validity
            self._by_token[session.token] = session
            return session

    def close(self, token: str) -> Session | None:
        """Log out."""
        with self._lock:
            session = self._by_token.pop(token, None)
            if session is not None:
                del self._by_master[session.master_token]
            return session

    def expire(self, token: str) -> None:
        """Make a session's token due for renewal (a fault for tests)."""
        with self._lock:
            if (session := self._by_token.get(token)) is not None:
                session.expires_at = time.monotonic()

    def forget(self, token: str) -> None:
        """Lose a session (a fault for tests)."""
        self.close(token)

    def expire_all(self) -> None:
        """Make every session token due for renewal (a fault for tests)."""
        with self._lock:
            for session in self._by_token.values():
                session.expires_at = time.monotonic()

    def forget_all(self) -> None:
        """Lose every session (a fault for tests)."""
        with self._lock:
            self._by_token.clear()
            self._by_master.clear()

    def count(self) -> int:
        """How many sessions are open."""
        with self._lock:
            return len(self._by_token)
