"""Which credentials are taken from the settings, and what is said of those that are missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from freshet.domain.errors import DefinitionError
from freshet.snowflake import SnowflakeSettings

PLACE = {"account": "a", "database": "d", "schema": "s"}
A = "FRESHET_SNOWFLAKE_"
JWT, PAT = {"authenticator": "SNOWFLAKE_JWT"}, {"authenticator": "programmatic_access_token"}


@pytest.mark.parametrize(
    ("given", "authenticator", "credential"),
    [
        ({"user": "u", "password": "x"}, "snowflake", "password"),
        ({"user": "u", "token": "x"}, "programmatic_access_token", "token"),
        ({"token_file_path": "/nowhere"}, "oauth", "token_file_path"),
        ({"user": "u", "private_key_file": __file__}, "snowflake_jwt", "private_key_file"),
        ({"user": "u", "password": "x", "private_key_file": __file__, **JWT}, "snowflake_jwt", "private_key_file"),
        ({"user": "u", "password": "x", **PAT}, "programmatic_access_token", "token"),
        ({"user": "u", "token_file_path": "/t", **PAT}, "programmatic_access_token", "token_file_path"),
    ],
)
def test_one_credential_is_used_and_says_how(given: dict[str, Any], authenticator: str, credential: str) -> None:
    found = SnowflakeSettings(**PLACE, **given).checked()
    assert found.authenticator == authenticator
    kept = {name for name in ("password", "token", "token_file_path", "private_key_file") if getattr(found, name)}
    assert kept == {credential}
    assert found.checked() == found


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"user": "u"}, f"{A}ACCOUNT is set without credentials: set {A}PASSWORD or {A}PRIVATE_KEY_FILE or"),
        ({"user": "u", "password": "x", "token": "y"}, f"{A}PASSWORD and {A}TOKEN are set: say by {A}AUTHENTICATOR"),
        ({"user": "u", "password": "x", "authenticator": "okta"}, f"{A}AUTHENTICATOR must be one of snowflake,"),
        ({"user": "u", "password": "x", "authenticator": "snowflake_jwt"}, f"needs {A}PRIVATE_KEY_FILE"),
        ({"user": "u", "password": "x", "authenticator": "oauth"}, f"needs {A}TOKEN_FILE_PATH or {A}TOKEN"),
        ({"password": "x"}, f"{A}USER is not set, and snowflake needs it"),
        ({"user": "u", "private_key_file": "/nowhere/key"}, f"{A}PRIVATE_KEY_FILE names /nowhere/key, which is not a"),
    ],
)
def test_a_missing_credential_is_named_and_none_is_shown(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        SnowflakeSettings(**PLACE, **given).checked()
    assert sentence in caught.value.message
    assert "'x'" not in caught.value.message


def test_a_token_file_is_read_at_every_connect(tmp_path: Path) -> None:
    path = tmp_path / "token"
    settings = SnowflakeSettings(**PLACE, token_file_path=str(path)).checked()
    tokens = []
    for token in ("first", "second"):
        path.write_text(token + "\n")
        tokens.append(settings.connect_arguments("5.2.0")["token"])
    assert tokens == ["first", "second"]
    assert "second" not in repr(settings)
