"""The Snowflake account of the settings, and the named connections of `sql` tasks: the file of FRESHET_CONNECTIONS.

Purpose: `FRESHET_SNOWFLAKE_*` become what the connector is given; each table of a TOML file is a connection that a task
may name (`sql: {on: reporting}`). With a `url` it is a Postgres server, else a Snowflake account, with the names that
Snowflake's own connections.toml has. Guarantees: a wrong file is refused at the worker's start, in a sentence that
names file and connection; no secret is shown. Never: a connection that is opened here.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, SecretStr, ValidationError

from freshet.domain.errors import DefinitionError
from freshet.domain.model import ENGINE, SNOWFLAKE
from freshet.runtime.settings import SnowflakeSettings as ServiceSettings
from freshet.snowflake import SnowflakeSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class Connections:
    """What the file holds, by name."""

    postgres: Mapping[str, str] = field(default_factory=dict, repr=False)
    snowflake: Mapping[str, SnowflakeSettings] = field(default_factory=dict)


def _postgres_url(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(("postgresql://", "postgres://")):
        raise ValueError("it must begin with postgresql:// or postgres://")
    return url


class PostgresTable(BaseModel):
    """A Postgres server."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: Annotated[SecretStr, AfterValidator(_postgres_url)]


class SnowflakeTable(BaseModel):
    """A Snowflake account, as whom and where a session begins."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    account: str
    database: str
    schema_: str = Field(alias="schema")
    user: str | None = None
    password: SecretStr | None = None
    role: str | None = None
    warehouse: str | None = None
    host: str | None = None
    port: int | None = Field(default=None, ge=1, le=65535)
    protocol: str | None = Field(default=None, pattern="^https?$")
    authenticator: str | None = None
    token: SecretStr | None = None
    token_file_path: str | None = None
    private_key_file: str | None = Field(
        default=None, validation_alias=AliasChoices("private_key_file", "private_key_path")
    )
    private_key_file_pwd: SecretStr | None = None

    def settings(self) -> SnowflakeSettings:
        """The same for the connector."""
        given = {name.rstrip("_"): value for name, value in self}
        shown = {name: _revealed(value) for name, value in given.items() if value is not None}
        return SnowflakeSettings(**shown)


def configured_account(settings: ServiceSettings) -> SnowflakeSettings:
    """The account of a service's settings. Raises DefinitionError when it, its database or its schema is not named."""
    for name in ("snowflake_account", "snowflake_database", "snowflake_schema"):
        if getattr(settings, name) is None:
            raise _refused(
                f"FRESHET_{name.upper()} is not set: what Freshet makes in Snowflake needs an account, a database and"
                " a schema."
            )
    return SnowflakeSettings(
        account=settings.snowflake_account or "",
        database=settings.snowflake_database or "",
        schema=settings.snowflake_schema or "",
        user=settings.snowflake_user,
        password=_revealed(settings.snowflake_password),
        role=settings.snowflake_role,
        warehouse=settings.snowflake_warehouse,
        host=settings.snowflake_host,
        port=settings.snowflake_port if settings.snowflake_host else None,
        protocol=settings.snowflake_protocol if settings.snowflake_host else None,
        authenticator=settings.snowflake_authenticator,
        token=_revealed(settings.snowflake_token),
        token_file_path=settings.snowflake_token_file_path,
        private_key_file=settings.snowflake_private_key_file,
        private_key_file_pwd=_revealed(settings.snowflake_private_key_file_pwd),
    ).checked()


def read_connections(path: str | None) -> Connections:
    """The connections of a file; none without one. Raises DefinitionError."""
    if path is None:
        return Connections()
    postgres: dict[str, str] = {}
    snowflake: dict[str, SnowflakeSettings] = {}
    for name, table in _tables(path).items():
        found = _connection(path, name, table)
        if isinstance(found, PostgresTable):
            postgres[name] = found.url.get_secret_value()
        else:
            snowflake[name] = found.settings()
    return Connections(postgres=postgres, snowflake=snowflake)


def _tables(path: str) -> Mapping[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise _refused(f"FRESHET_CONNECTIONS: the file {path} can't be read: {reason}.") from error


def _connection(path: str, name: str, table: Any) -> PostgresTable | SnowflakeTable:
    where = f"FRESHET_CONNECTIONS: in {path}, [{name}]"
    if name in {ENGINE, SNOWFLAKE}:
        raise _refused(f"{where} takes a name that every installation has; choose another one.")
    if not isinstance(table, dict):
        raise _refused(f"{where} is not a table; write [{name}] and its settings below.")
    kind = PostgresTable if "url" in table else SnowflakeTable
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        setting = ".".join(str(part) for part in first["loc"])
        raise _refused(f"{where}: {setting} is refused: {first['msg']}.") from None


def _refused(sentence: str) -> DefinitionError:
    return DefinitionError(sentence, code="setting_refused")


def _revealed(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, SecretStr) else value
