"""Settings: environment variables `FRESHET_*`, one class per service, made of groups.

Purpose: every knob has one name, a unit, a default and a sentence; `.env.example` is printed from these
classes (`python -m freshet.runtime.settings`). Guarantees: a wrong value stops the service at start with exit
code 2 and a sentence that names the variable; the value of a secret is never shown. Never: read at import.
"""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from freshet.domain.errors import DefinitionError

PREFIX = "FRESHET_"


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _pairs(value: object) -> object:
    """`A=1,B=2` as a mapping."""
    if not isinstance(value, str):
        return value
    pairs = [part.partition("=") for part in value.split(",") if part.strip()]
    if not all(name.strip() and found.strip() for name, _, found in pairs):
        raise ValueError("write NAME=VALUE, separated by commas")
    return {name.strip(): found.strip() for name, _, found in pairs}


def _pools(value: object) -> object:
    """The same; names in upper case, as Snowflake keeps them."""
    pairs = _pairs(value)
    return {name.upper(): found for name, found in pairs.items()} if isinstance(pairs, dict) else pairs


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Names = Annotated[dict[str, str], NoDecode, BeforeValidator(_pairs)]
Rates = Annotated[dict[str, Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]], NoDecode, BeforeValidator(_pairs)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Places = Annotated[dict[str, Annotated[int, Field(ge=1)]], NoDecode, BeforeValidator(_pools)]
Port = Annotated[int, Field(ge=0, le=65535)]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


class Settings(BaseSettings):
    """What every service has."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="ignore", env_ignore_empty=True, frozen=True, hide_input_in_errors=True
    )

    log_level: LogLevel = Field("INFO", description="Least level of the log lines that are written")

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value


class InstallationSettings(Settings):
    """Which installation this is."""

    installation: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_]{1,24}$",
        description="Short name of this installation, in each job service's name; empty: as in Postgres",
    )


class DatabaseSettings(Settings):
    """Postgres, the truth."""

    database_url: SecretStr = Field(description="Postgres of the engine, postgresql://user:password@host:5432/name")
    database_connect_timeout: Seconds = Field(5.0, description="Seconds to wait for a new Postgres session")

    @field_validator("database_url")
    @classmethod
    def _postgres(cls, value: SecretStr) -> SecretStr:
        return _checked(value, ("postgresql://", "postgres://"))


class RedisSettings(Settings):
    """Redis, rebuildable."""

    redis_url: SecretStr = Field(
        description="Redis or Valkey of the queues, redis://host:6379/0, rediss://… or unix:///path/to.sock?db=0"
    )

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, value: SecretStr) -> SecretStr:
        return _checked(value, ("redis://", "rediss://", "unix://"))


class HealthSettings(Settings):
    """/healthz, /readyz and /metrics of the services that serve no HTTP themselves."""

    health_host: str = Field("127.0.0.1", description="Address on which /healthz, /readyz and /metrics are served")
    health_port: Port = Field(0, description="Port of /healthz, /readyz and /metrics; 0: not served")


class LivenessSettings(Settings):
    """When a worker counts as dead."""

    heartbeat: Seconds = Field(1.0, description="Seconds between two heartbeats of a worker")
    dead_after: Seconds = Field(
        3.0, description="Seconds without a heartbeat after which a worker without a Postgres session is dead"
    )
    lease: Seconds = Field(60.0, description="Seconds that a claim lives without a sign of its worker")
    grace_after_outage: Seconds = Field(
        10.0,
        description="Seconds for which nobody is judged after Postgres, Redis or the judge itself came back",
    )


class ResultSettings(Settings):
    """What a result may be."""

    max_result_bytes: int = Field(
        1_048_576, ge=1024, le=67_108_864, description="Largest result of an item, bytes of JSON"
    )


class SnowflakeSettings(Settings):
    """Snowflake, for job services and sql tasks; without an account they are not served."""

    snowflake_account: str | None = Field(None, description="Snowflake account identifier, organisation-account")
    snowflake_host: str | None = Field(None, description="Host of the account's endpoint, if not the usual one")
    snowflake_port: Port = Field(443, description="Port of the account's endpoint")
    snowflake_protocol: Literal["http", "https"] = Field("https", description="Protocol of the endpoint")
    snowflake_user: str | None = Field(None, description="Snowflake user")
    snowflake_password: SecretStr | None = Field(None, description="Password of the user")
    snowflake_authenticator: str | None = Field(
        None,
        description="snowflake (password), snowflake_jwt (key pair), programmatic_access_token or oauth; empty: as the"
        " one credential that is set says",
    )
    snowflake_token: SecretStr | None = Field(None, description="Programmatic access token")
    snowflake_token_file_path: str | None = Field(
        None,
        description="File with an OAuth token, in SPCS /snowflake/session/token; it is read anew for every connection",
    )
    snowflake_private_key_file: str | None = Field(None, description="File with the private key for key-pair login")
    snowflake_private_key_file_pwd: SecretStr | None = Field(None, description="Password of the private key's file")
    snowflake_role: str | None = Field(None, description="Role of the session")
    snowflake_warehouse: str | None = Field(None, description="Warehouse of the session")
    snowflake_database: str | None = Field(None, description="Database in which job services are made")
    snowflake_schema: str | None = Field(None, description="Schema in which job services are made")
    job_poll: Seconds = Field(2.0, description="Seconds between two bulk polls of the job services in flight")
    job_keep: Seconds = Field(
        600.0,
        description="Seconds for which a job that ended keeps its name, so that a submit that comes late is harmless",
    )


class ApiSettings(InstallationSettings, DatabaseSettings, RedisSettings, ResultSettings):
    """The front door."""

    host: str = Field("127.0.0.1", description="Address on which the api listens")
    port: Port = Field(8080, description="Port on which the api listens; 0: a free one")
    token: SecretStr | None = Field(
        None, description="Bearer token that is always accepted, besides those made by `freshet token create`"
    )
    processes: Words = Field((), description="Modules with @process functions, comma-separated")
    credits_per_hour: Rates = Field(
        {},
        description="Credits that an hour of one node costs, by instance family, besides the built-in table:"
        " CPU_X64_XS=0.06,GEN_X64_G2_2=0.06",
    )
    pool_families: Names = Field(
        {}, description="Instance families of compute pools, POOL=FAMILY,…; empty: as the workers see them"
    )
    max_body_bytes: int = Field(
        16_777_216, ge=1024, le=1_073_741_824, description="Largest request body the api accepts, bytes"
    )


class SchedulerSettings(InstallationSettings, DatabaseSettings, RedisSettings, HealthSettings):
    """Due schedules."""

    max_catch_up: int = Field(1000, ge=1, description="Most missed ticks of one schedule that are made up for")


class DispatcherSettings(
    InstallationSettings, DatabaseSettings, RedisSettings, HealthSettings, LivenessSettings, ResultSettings
):
    """Folds, decides, queues."""

    queue_depth: int = Field(100, ge=1, le=100_000, description="Bundles that wait in one Redis queue at most")
    batch: int = Field(200, ge=1, le=10_000, description="Reports and requests that one transaction folds at most")
    pool_limits: Places = Field(
        {}, description="Job services of a compute pool under way at once at most, POOL=NUMBER, comma-separated"
    )


class WorkerSettings(
    InstallationSettings,
    DatabaseSettings,
    RedisSettings,
    HealthSettings,
    LivenessSettings,
    ResultSettings,
    SnowflakeSettings,
):
    """Executes."""

    process_database_url: SecretStr | None = Field(
        None,
        description="Postgres URL of context.connection; empty: the engine and SET ROLE freshet_process",
    )
    processes: Words = Field((), description="Modules with @process functions, comma-separated")
    queues: Words = Field((), description="Queues to serve besides those of the processes, comma-separated")
    public_url: str | None = Field(
        None,
        pattern=r"^https?://[^/?#\s]+(/[^?#\s]*)?$",
        description="Address of the api as the containers of job services reach it, https://host:port: from there they"
        " fetch payloads above 32 KiB; empty: such a payload fails its item",
    )
    connections: str | None = Field(
        None, description="TOML file of the named connections of sql tasks: Snowflake accounts and Postgres servers"
    )
    eager_dispatch: bool = Field(
        default=True,
        description="Whether a worker that ends a task decides what follows while nothing waits for it: true or false",
    )
    drain_grace: Seconds = Field(30.0, description="Seconds that a draining worker gives its running bundle")
    items_per_child: int = Field(100_000, ge=1, description="Items after which the warm child is made again")
    max_log_bytes: int = Field(1_048_576, ge=1024, description="Log kept of one attempt, bytes")

    @field_validator("process_database_url")
    @classmethod
    def _process_postgres(cls, value: SecretStr | None) -> SecretStr | None:
        return value and _checked(value, ("postgresql://", "postgres://"))


class RecorderSettings(InstallationSettings, DatabaseSettings, RedisSettings, HealthSettings, SnowflakeSettings):
    """Facts into logging tables and metrics."""

    retention: int = Field(90, ge=1, description="Days for which the logging tables are kept")
    snowflake_mirror: bool = Field(
        default=False,
        description="Whether jobs_run_stats and task_logging_stats are copied into Snowflake: true or false",
    )


class EmulatorSettings(Settings):
    """The local Snowflake; each is an option of `freshet emulator`, too."""

    emulator_host: str = Field("127.0.0.1", description="Address on which the emulator listens")
    emulator_port: Port = Field(8085, description="Port on which the emulator listens; 0: a free one")
    emulator_state: str | None = Field(None, description="Directory for the emulator's state; empty: in memory")
    emulator_images: str | None = Field(None, description="YAML file that maps image globs to commands")
    emulator_user: str = Field("freshet", description="User that the emulator lets in")
    emulator_password: SecretStr = Field(SecretStr("freshet"), description="Password of that user")
    emulator_account: str = Field("FRESHET", description="Account that the emulator plays")
    emulator_grace: float = Field(30.0, ge=0, description="Seconds between SIGTERM and SIGKILL of a container")
    emulator_jobs_per_node: int = Field(1, ge=1, description="Job replicas that fit on one node of a pool")
    emulator_node_start: float = Field(0.0, ge=0, description="Seconds until a node of a compute pool is up")
    emulator_docker: bool = Field(default=False, description="Run the emulator's containers with Docker")
    emulator_hold: Seconds = Field(40.0, description="Seconds that an answer waits before the client asks again")
    emulator_session_validity: Seconds = Field(3600.0, description="Seconds that a session lives unless renewed")


class ClientSettings(Settings):
    """How the CLI finds the server."""

    url: str | None = Field(
        None,
        pattern=r"^https?://",
        description="Address of the api, http://host:8080; empty: the newest `freshet up`",
    )
    token: SecretStr | None = Field(None, description="Bearer token that the CLI sends")
    client_timeout: Seconds = Field(30.0, description="Seconds that the CLI waits for an answer")


class StoreSettings(DatabaseSettings):
    """For `freshet migrate` and `freshet token create`, which talk to Postgres themselves."""


#: Every class, in the order of `.env.example`.
CLASSES: tuple[type[Settings], ...] = (
    ApiSettings,
    SchedulerSettings,
    DispatcherSettings,
    WorkerSettings,
    RecorderSettings,
    EmulatorSettings,
    ClientSettings,
)

AnySettings = TypeVar("AnySettings", bound=Settings)


def read(kind: type[AnySettings], **given: Any) -> AnySettings:
    """The settings from the environment; `given` values that are not None go first.

    Raises DefinitionError with one sentence per wrong variable, which never shows a secret.
    """
    try:
        return kind(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        sentences = [_sentence(each) for each in error.errors(include_url=False, include_input=False)]
        raise DefinitionError("\n".join(sentences), code="setting_refused") from None


def load(kind: type[AnySettings], **given: Any) -> AnySettings:
    """As `read`, for a main: a wrong value ends the process with exit code 2 after a sentence on stderr."""
    try:
        return read(kind, **given)
    except DefinitionError as error:
        sys.stderr.write(f"{error.message}\n")
        raise SystemExit(2) from error


def example() -> str:
    """The text of `.env.example`."""
    lines = ["# Every setting with its default. Generated: python -m freshet.runtime.settings > .env.example"]
    seen: set[str] = set()
    for kind in CLASSES:
        for group in reversed(kind.__mro__):
            lines += _section(group, seen)
    return "\n".join([*lines, *_TELEMETRY, ""])


_TELEMETRY = (
    "",
    "# --- Telemetry, as OpenTelemetry defines it ---",
    "# Where metrics and traces are sent (OTLP over HTTP); empty: nowhere, /metrics is served all the same",
    "# OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318",
    "# Further attributes of the resource, key=value, comma-separated",
    "# OTEL_RESOURCE_ATTRIBUTES=",
)


def _section(group: type, seen: set[str]) -> list[str]:
    """The fields that a class itself declares, once."""
    if not issubclass(group, Settings) or group.__name__ in seen:
        return []
    seen.add(group.__name__)
    lines: list[str] = []
    for name in group.__annotations__:
        if name in group.model_fields and name not in seen:
            seen.add(name)
            field = group.model_fields[name]
            lines += [f"# {field.description}", f"# {PREFIX}{name.upper()}={_shown(field.get_default())}"]
    title = (group.__doc__ or "").splitlines()[0].rstrip(".")
    return ["", f"# --- {title} ---", *lines] if lines else []


def _shown(default: object) -> str:
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    if isinstance(default, tuple):
        return ",".join(default)
    if isinstance(default, dict):
        return ",".join(f"{name}={number}" for name, number in default.items())
    if isinstance(default, bool):
        return str(default).lower()
    return "" if default is None or repr(default) == "PydanticUndefined" else str(default)


def _checked(value: SecretStr, schemes: tuple[str, ...]) -> SecretStr:
    """A URL that begins with one of the schemes; the error never repeats it, for it may hold a password."""
    if not value.get_secret_value().startswith(schemes):
        raise ValueError(f"it must begin with {' or '.join(schemes)}")
    return value


def _sentence(error: ErrorDetails) -> str:
    variable = PREFIX + ".".join(str(part) for part in error["loc"][:1]).upper()
    if error["type"] == "missing":
        return f"{variable} is not set, and this service needs it. See .env.example."
    reason = error["msg"].removeprefix("Value error, ")
    return f"{variable} has a wrong value: {reason[:1].lower()}{reason[1:]}. See .env.example."


if __name__ == "__main__":
    sys.stdout.write(example())
