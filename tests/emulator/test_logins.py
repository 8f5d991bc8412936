"""The ways to log in, with the installed connector."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from snowflake import connector
from tests.emulator.server import EmulatorProcess


@pytest.fixture
def own() -> Iterator[EmulatorProcess]:
    """An emulator whose user may be changed."""
    found = EmulatorProcess("--user", "somebody", "--password", "secret")
    yield found
    assert found.stop() == 0


def who(emulator: EmulatorProcess, **arguments: Any) -> str:
    place: dict[str, Any] = {"account": "local", "host": "127.0.0.1", "port": emulator.port, "protocol": "http"}
    more = {"enable_server_session_keep_alive_auto_detection": False}
    with closing(connector.connect(**place, **more, **arguments)) as connection:
        ((found,),) = connection.cursor().execute("SELECT CURRENT_USER()").fetchall()
        return str(found)


def refused(emulator: EmulatorProcess, **arguments: Any) -> int:
    with pytest.raises(connector.errors.DatabaseError) as error:
        who(emulator, **arguments)
    return int(error.value.errno)


def test_the_password_is_also_an_access_token(own: EmulatorProcess) -> None:
    assert who(own, user="somebody", password="secret") == "SOMEBODY"
    assert who(own, user="somebody", authenticator="PROGRAMMATIC_ACCESS_TOKEN", token="secret") == "SOMEBODY"
    assert who(own, user="somebody", authenticator="oauth", token="secret") == "SOMEBODY"
    assert refused(own, user="somebody", password="freshet") == 390100
    assert refused(own, user="freshet", password="secret") == 390100
    assert refused(own, user="somebody", authenticator="oauth", token="wrong") == 390303


def test_a_key_pair_is_taken_once_the_user_has_the_public_key(own: EmulatorProcess) -> None:
    key, other = generate_private_key(65537, 2048), generate_private_key(65537, 2048)
    arguments = [
        {
            "user": "somebody",
            "authenticator": "SNOWFLAKE_JWT",
            "private_key": each.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        }
        for each in (key, other)
    ]
    assert refused(own, **arguments[0]) == 390144
    public = base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
    services = own.services(user="somebody", password="secret")
    services.execute(f"ALTER USER somebody SET RSA_PUBLIC_KEY = '{public}'")
    assert who(own, **arguments[0]) == "SOMEBODY"
    assert refused(own, **arguments[1]) == 390144
    services.execute("ALTER USER somebody UNSET RSA_PUBLIC_KEY")
    assert refused(own, **arguments[0]) == 390144
    services.close()
