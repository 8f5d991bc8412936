"""Key pairs: the user's public key, as `ALTER USER … SET RSA_PUBLIC_KEY` gave it, and the tokens signed with it."""

from __future__ import annotations

import base64
import binascii
import time

import orjson

from freshet_emulator.errors import LoginRefusedError, SqlError
from freshet_emulator.state import StateStore

# Clocks of clients may be this far off (seconds).
LEEWAY = 60


class PublicKeys:
    """The keys of users, kept over a restart. A user is named in upper case."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._keys = {str(body["user"]): str(body["key"]) for body in store.load("key")}

    def set(self, user: str, key: str) -> None:
        """Give a user a key (base64, with or without the lines of a PEM). Raises SqlError for what is none."""
        text = "".join(line for line in key.splitlines() if "-----" not in line)
        try:
            load(text)
        except ValueError as error:
            raise SqlError(390_193, "22023", "New public key rejected by current policy: it can't be read.") from error
        self._keys[user] = text
        self._store.save("key", user, {"user": user, "key": text})

    def unset(self, user: str) -> None:
        """Take a user's key away."""
        self._keys.pop(user, None)
        self._store.remove("key", user)

    def check(self, user: str, token: str) -> None:
        """Raises LoginRefusedError 390144 unless the token is the user's, signed with its key and not too old."""
        if user not in self._keys or not is_signed(token, user, self._keys[user]):
            raise LoginRefusedError(390144, "JWT token is invalid.")


def load(key: str) -> object:
    """The key object. Raises ValueError."""
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    return load_der_public_key(base64.b64decode(key, validate=True))


def decoded(part: str) -> bytes:
    """A part of a JWT."""
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def is_signed(token: str, user: str, key: str) -> bool:
    """Whether a JWT was signed with this key for this user, and is still good."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.hashes import SHA256

    found = load(key)
    try:
        head, body, signature = token.split(".")
        claims = orjson.loads(decoded(body))
        if not isinstance(found, RSAPublicKey):
            return False
        found.verify(decoded(signature), f"{head}.{body}".encode(), PKCS1v15(), SHA256())
        named, until = str(claims["sub"]).rpartition(".")[2].upper(), float(claims["exp"])
    except (ValueError, KeyError, TypeError, binascii.Error, InvalidSignature):
        return False
    return named == user and time.time() < until + LEEWAY
