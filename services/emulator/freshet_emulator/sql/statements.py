"""The statements that the emulator runs itself; everything else goes to the tables."""

from __future__ import annotations

from dataclasses import dataclass, field

from freshet_emulator.sql.lexer import Token
from freshet_emulator.sql.names import Filter, ObjectName


@dataclass(frozen=True, kw_only=True, slots=True)
class StagePath:
    """A place in a stage."""

    stage: ObjectName
    path: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecuteJob:
    """EXECUTE JOB SERVICE. `replicas` is None when the clause is missing: containers then get no index.

    The specification is text, or `staged` in a file.
    """

    pool: ObjectName
    specification: str = ""
    staged: StagePath | None = None
    name: ObjectName | None = None
    template_values: dict[str, str] | None = None
    is_async: bool = False
    replicas: int | None = None
    query_warehouse: str | None = None
    comment: str | None = None
    integrations: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class CreateService:
    """CREATE SERVICE, in the form of a job that never ends."""

    job: ExecuteJob
    if_not_exists: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class AlterService:
    """ALTER SERVICE; `action` is SUSPEND, RESUME or SET, which changes nothing here."""

    name: ObjectName
    action: str
    if_exists: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ShowEndpoints:
    """SHOW ENDPOINTS IN SERVICE."""

    name: ObjectName


@dataclass(frozen=True, kw_only=True, slots=True)
class DescribeService:
    """DESC SERVICE."""

    name: ObjectName


@dataclass(frozen=True, kw_only=True, slots=True)
class ShowServices:
    """SHOW SERVICES, SHOW JOB SERVICES or SHOW SERVICES EXCLUDE JOBS."""

    only_jobs: bool = False
    exclude_jobs: bool = False
    filter: Filter = field(default_factory=Filter)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShowInstances:
    """SHOW SERVICE INSTANCES IN SERVICE."""

    name: ObjectName


@dataclass(frozen=True, kw_only=True, slots=True)
class ShowContainers:
    """SHOW SERVICE CONTAINERS IN SERVICE."""

    name: ObjectName


@dataclass(frozen=True, kw_only=True, slots=True)
class DropService:
    """DROP SERVICE."""

    name: ObjectName
    if_exists: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class CreatePool:
    """CREATE COMPUTE POOL; `options` by upper-case name."""

    name: ObjectName
    if_not_exists: bool = False
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class AlterPool:
    """ALTER COMPUTE POOL; `action` is SUSPEND, RESUME, STOP ALL, SET or UNSET."""

    name: ObjectName
    action: str
    if_exists: bool = False
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class DropPool:
    """DROP COMPUTE POOL."""

    name: ObjectName
    if_exists: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ShowPools:
    """SHOW COMPUTE POOLS; also DESC COMPUTE POOL, which names one that must exist."""

    filter: Filter = field(default_factory=Filter)
    described: ObjectName | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CreateObject:
    """CREATE DATABASE, SCHEMA, WAREHOUSE or ROLE."""

    kind: str
    name: ObjectName
    if_not_exists: bool = False
    or_replace: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class DropObject:
    """DROP DATABASE, SCHEMA, WAREHOUSE or ROLE."""

    kind: str
    name: ObjectName
    if_exists: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ShowObjects:
    """SHOW DATABASES, SCHEMAS, WAREHOUSES, ROLES or TABLES; `kind` is the singular."""

    kind: str
    filter: Filter = field(default_factory=Filter)


@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """USE DATABASE, SCHEMA, WAREHOUSE or ROLE."""

    kind: str
    name: ObjectName


@dataclass(frozen=True, kw_only=True, slots=True)
class AlterUser:
    """ALTER USER SET or UNSET; a value of None unsets."""

    name: ObjectName
    options: dict[str, str | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class AlterSession:
    """ALTER SESSION SET or UNSET; a value of None unsets."""

    parameters: dict[str, str | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class CreateStage:
    """CREATE STAGE."""

    name: ObjectName
    if_not_exists: bool = False
    or_replace: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class DropStage:
    """DROP STAGE."""

    name: ObjectName
    if_exists: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class CreateSecret:
    """CREATE SECRET; `options` by upper-case name."""

    name: ObjectName
    options: dict[str, str]
    if_not_exists: bool = False
    or_replace: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class DropSecret:
    """DROP SECRET."""

    name: ObjectName
    if_exists: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ListStage:
    """LIST; `pattern` is a regular expression for whole paths."""

    place: StagePath
    pattern: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoveStaged:
    """REMOVE."""

    place: StagePath


@dataclass(frozen=True, kw_only=True, slots=True)
class Transfer:
    """PUT (`upload`) or GET; `file` is the client's path, options are in upper case."""

    upload: bool
    file: str
    place: StagePath
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class SetVariables:
    """SET; `tokens` are the expressions, `sql` is the query that gives their values."""

    names: tuple[str, ...]
    tokens: tuple[Token, ...]
    sql: str


@dataclass(frozen=True, kw_only=True, slots=True)
class UnsetVariables:
    """UNSET."""

    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ShowSession:
    """SHOW VARIABLES or PARAMETERS."""

    kind: str
    filter: Filter


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecuteImmediate:
    """EXECUTE IMMEDIATE of one statement."""

    sql: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TableStatement:
    """A statement for the tables, as tokens: CREATE TABLE, INSERT, SELECT, CALL, … and whatever nobody knows."""

    sql: str
    tokens: tuple[Token, ...]


Statement = (
    ExecuteJob
    | CreateService
    | AlterService
    | ShowEndpoints
    | DescribeService
    | ShowServices
    | ShowInstances
    | ShowContainers
    | DropService
    | CreatePool
    | AlterPool
    | DropPool
    | ShowPools
    | CreateObject
    | DropObject
    | ShowObjects
    | Use
    | AlterSession
    | AlterUser
    | ExecuteImmediate
    | CreateSecret
    | DropSecret
    | CreateStage
    | DropStage
    | ListStage
    | RemoveStaged
    | Transfer
    | SetVariables
    | UnsetVariables
    | ShowSession
    | TableStatement
)
