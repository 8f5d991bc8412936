"""How to reach Snowflake; callers read it from their own settings (`FRESHET_SNOWFLAKE_*`)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from freshet.domain.errors import DefinitionError

PREFIX = "FRESHET_SNOWFLAKE_"
#: What each authenticator takes, one of them.
CREDENTIALS = {
    "snowflake": ("password",),
    "snowflake_jwt": ("private_key_file", "private_key"),
    "programmatic_access_token": ("token", "token_file_path", "password"),
    "oauth": ("token_file_path", "token"),
}
#: Which of them is meant if none is named.
MEANT = {
    "password": "snowflake",
    "private_key_file": "snowflake_jwt",
    "token": "programmatic_access_token",
    "token_file_path": "oauth",
}
#: Fields that the connector does not know by these names.
OURS = ("token_file_path", "network_timeout", "query_tag", "keeps_session", "statement_timeout")


@dataclass(frozen=True, kw_only=True, slots=True)
class SnowflakeSettings:
    """Where and as whom. `database` and `schema` are where jobs live.

    `host`, `port` and `protocol` are only needed for an emulator, or inside SPCS (host). Credentials: a password, a key
    pair, a programmatic access token, or an OAuth token (see `checked`). A token file is read anew at every
    connection, because SPCS replaces it every few minutes. Secrets do not appear in `repr`.

    `query_tag` marks each statement in the query history. With `keeps_session` a session that is closed lives on at
    the server, for queries that run in the background. `statement_timeout` (whole seconds) is kept by the server.
    `paramstyle` is `qmark` where values are bound by the server; the client binds `%s` else.

    `login_timeout` and `network_timeout` are seconds; the latter bounds one request, and with connector 4 a whole
    statement: give None for long SQL, and keep it above 45, which is how long Snowflake holds an answer back.
    """

    account: str
    database: str
    schema: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    role: str | None = None
    warehouse: str | None = None
    host: str | None = None
    port: int | None = None
    protocol: str | None = None
    authenticator: str | None = None
    token: str | None = field(default=None, repr=False)
    token_file_path: str | None = None
    private_key: bytes | None = field(default=None, repr=False)
    private_key_file: str | None = None
    private_key_file_pwd: str | None = field(default=None, repr=False)
    login_timeout: int = 20
    network_timeout: int | None = 60
    query_tag: str = "freshet"
    keeps_session: bool = False
    statement_timeout: int | None = None
    paramstyle: str | None = None

    def checked(self) -> SnowflakeSettings:
        """The same with its authenticator named. Raises DefinitionError with a sentence that names what is missing."""
        given = [name for name in MEANT if getattr(self, name) is not None]
        if self.authenticator is None and len(given) != 1:
            names = " and ".join(map(_variable, given))
            raise _refused(
                f"{names} are set: say by {_variable('authenticator')} which of them is meant"
                if given
                else f"{_variable('account')} is set without credentials: set {' or '.join(map(_variable, MEANT))}"
            )
        authenticator = (self.authenticator or MEANT[given[0]]).lower()
        if authenticator not in CREDENTIALS:
            known = ", ".join(CREDENTIALS)
            raise _refused(f"{_variable('authenticator')} must be one of {known}, not {self.authenticator!r}")
        kept = self._credential(authenticator, CREDENTIALS[authenticator])
        # The connectors take what is given for what is meant: one credential is all they get.
        changes: dict[str, Any] = {name: None for name in (*MEANT, "private_key") if name != kept}
        if authenticator == "programmatic_access_token" and kept == "password":
            changes |= {"token": self.password, "password": None}
        return replace(self, authenticator=authenticator, **changes)

    def _credential(self, authenticator: str, credentials: tuple[str, ...]) -> str:
        found = next((name for name in credentials if getattr(self, name) is not None), None)
        if found is None:
            wanted = " or ".join(_variable(name) for name in credentials if name in MEANT)
            raise _refused(f"{_variable('authenticator')} {authenticator} needs {wanted}")
        if self.user is None and authenticator != "oauth":
            raise _refused(f"{_variable('user')} is not set, and {authenticator} needs it")
        if found == "private_key_file" and not Path(self.private_key_file or "").is_file():
            raise _refused(f"{_variable(found)} names {self.private_key_file}, which is not a file")
        return found

    def connect_arguments(self, connector_version: str) -> dict[str, Any]:
        """The keyword arguments of `snowflake.connector.connect` for this version of the connector.

        Connector 5 warns unless it is told about keep-alive detection, which 4.8 does not know, and calls
        `network_timeout` and `private_key_file_pwd` deprecated (all seen with 5.2.0).
        """
        names = [name for name in self.__slots__ if name not in OURS]
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        if self.token_file_path is not None:
            given["token"] = read_token(self.token_file_path)
        given["application"] = "Freshet"
        # Only told to Snowflake for its statistics, and asking each cloud's metadata service takes up to 0.2 s.
        given["platform_detection_timeout_seconds"] = 0.0
        given["session_parameters"] = {"QUERY_TAG": self.query_tag}
        if self.statement_timeout is not None:
            given["session_parameters"]["STATEMENT_TIMEOUT_IN_SECONDS"] = self.statement_timeout
        if self.keeps_session:
            given["server_session_keep_alive"] = True
        if int(connector_version.split(".", maxsplit=1)[0]) >= 5:
            given["enable_server_session_keep_alive_auto_detection"] = False
            timeout = "request_timeout"
            if "private_key_file_pwd" in given:
                given["private_key_password"] = given.pop("private_key_file_pwd")
        else:
            timeout = "network_timeout"
        if self.network_timeout is not None:
            given[timeout] = self.network_timeout
        return given


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _refused(sentence: str) -> DefinitionError:
    return DefinitionError(f"{sentence}.", code="setting_refused")


def read_token(path: str) -> str:
    """The token in a file. Raises OSError."""
    return Path(path).read_text(encoding="utf-8").strip()
