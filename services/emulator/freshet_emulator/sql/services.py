"""The rules of services and jobs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from freshet_emulator.errors import invalid_specification
from freshet_emulator.sql.lexer import Kind
from freshet_emulator.sql.names import Filter, ObjectName
from freshet_emulator.sql.reader import Reader
from freshet_emulator.sql.statements import (
    AlterService,
    CreateService,
    DescribeService,
    DropService,
    ExecuteJob,
    ShowContainers,
    ShowEndpoints,
    ShowInstances,
    ShowServices,
    Statement,
)

# Read over: there is one size of a service here, and it never rests by itself.
OF_SERVICES = ("AUTO_SUSPEND_SECS", "AUTO_RESUME", "MAX_INSTANCES", "MIN_READY_INSTANCES", "LOG_LEVEL")
PROPERTIES: dict[str, tuple[str, Callable[[Reader], Any]]] = {
    "NAME": ("name", Reader.name),
    "ASYNC": ("is_async", Reader.boolean),
    "REPLICAS": ("replicas", Reader.integer),
    "MIN_INSTANCES": ("replicas", Reader.integer),
    "QUERY_WAREHOUSE": ("query_warehouse", lambda reader: reader.name().last),
    "COMMENT": ("comment", Reader.string),
    "EXTERNAL_ACCESS_INTEGRATIONS": (
        "integrations",
        lambda reader: tuple(str(name) for name in reader.names_in_parentheses()),
    ),
}


def execute_job(reader: Reader) -> ExecuteJob:
    """EXECUTE JOB SERVICE with its clauses in any order. Raises 395018 without a specification."""
    reader.expect("IN", "COMPUTE", "POOL")
    job = ExecuteJob(pool=reader.name())
    while reader.token.kind != "end":
        reader.accept_symbol(",")
        job = job_clause(reader, job)
    if not job.specification and job.staged is None:
        raise invalid_specification("the statement has no specification (FROM SPECIFICATION $$…$$)")
    return job


def job_clause(reader: Reader, job: ExecuteJob) -> ExecuteJob:
    """One clause of EXECUTE JOB SERVICE."""
    if reader.accept("FROM"):
        return source(reader, job)
    if reader.accept("WITH", "TAG") or reader.accept("TAG"):
        return tags(reader, job)
    word = reader.token.value
    if word in OF_SERVICES:
        reader.advance()
        reader.accept_symbol("=")
        reader.scalar()
        return job
    if word not in PROPERTIES:
        reader.refuse()
    reader.advance()
    reader.accept_symbol("=")
    field, read = PROPERTIES[word]
    changes: dict[str, Any] = {field: read(reader)}
    return replace(job, **changes)


def tags(reader: Reader, job: ExecuteJob) -> ExecuteJob:
    """TAG (name = 'value', …): read over."""
    reader.expect_symbol("(")
    while not reader.accept_symbol(")"):
        reader.name()
        reader.expect_symbol("=")
        reader.string()
        reader.accept_symbol(",")
    return job


def source(reader: Reader, job: ExecuteJob) -> ExecuteJob:
    """FROM SPECIFICATION … or SPECIFICATION_TEMPLATE … USING (…), or the same in a file of a stage."""
    if reader.token.is_symbol("@") or (reader.token.kind is Kind.STRING and reader.token.value.startswith("@")):
        return staged_source(reader, job)
    if reader.accept("SPECIFICATION"):
        return replace(job, specification=reader.string())
    reader.expect("SPECIFICATION_TEMPLATE")
    text = reader.string()
    reader.expect("USING")
    return replace(job, specification=text, template_values=using(reader))


def staged_source(reader: Reader, job: ExecuteJob) -> ExecuteJob:
    """`@stage SPECIFICATION_FILE = 'path'`, or SPEC, or SPECIFICATION_TEMPLATE_FILE … USING (…)."""
    from freshet_emulator.sql.stages import place

    found = place(reader)
    is_template = reader.accept("SPECIFICATION_TEMPLATE_FILE")
    if not is_template and not reader.accept("SPECIFICATION_FILE"):
        reader.expect("SPEC")
    reader.accept_symbol("=")
    path = "/".join(part for part in (found.path.strip("/"), reader.string().strip("/")) if part)
    job = replace(job, staged=replace(found, path=path))
    if not is_template:
        return job
    reader.expect("USING")
    return replace(job, template_values=using(reader))


def using(reader: Reader) -> dict[str, str]:
    """`(key => value, …)`; keys keep their case."""
    values: dict[str, str] = {}
    reader.expect_symbol("(")
    while not reader.accept_symbol(")"):
        key = reader.token.text.strip('"')
        reader.part()
        reader.expect_symbol("=>")
        values[key] = reader.scalar()
        reader.accept_symbol(",")
    return values


def create_service(reader: Reader) -> CreateService:
    """CREATE SERVICE [IF NOT EXISTS] name IN COMPUTE POOL pool …"""
    if_not_exists = reader.accept("IF", "NOT", "EXISTS")
    name = reader.name()
    return CreateService(job=replace(execute_job(reader), name=name, is_async=True), if_not_exists=if_not_exists)


def alter_service(reader: Reader) -> AlterService:
    """ALTER SERVICE [IF EXISTS] name SUSPEND | RESUME | SET …"""
    if_exists = reader.accept("IF", "EXISTS")
    name = reader.name()
    if not reader.token.is_word("SUSPEND", "RESUME", "SET", "UNSET"):
        reader.refuse()
    action = reader.part()
    while action in ("SET", "UNSET") and reader.token.kind is not Kind.END:
        reader.advance()
    return AlterService(name=name, action=action, if_exists=if_exists)


def show_endpoints(reader: Reader) -> ShowEndpoints:
    """SHOW ENDPOINTS IN SERVICE name."""
    return ShowEndpoints(name=reader.name())


def describe_service(reader: Reader) -> DescribeService:
    """DESC SERVICE name."""
    return DescribeService(name=reader.name())


def drop_service(reader: Reader) -> DropService:
    """DROP SERVICE [IF EXISTS] name [FORCE]."""
    if_exists = reader.accept("IF", "EXISTS")
    name = reader.name()
    reader.accept("FORCE")
    return DropService(name=name, if_exists=if_exists)


def show_services(reader: Reader) -> ShowServices:
    """SHOW SERVICES [EXCLUDE JOBS] …"""
    exclude = reader.accept("EXCLUDE", "JOBS")
    return ShowServices(exclude_jobs=exclude, filter=show_filter(reader))


def show_jobs(reader: Reader) -> ShowServices:
    """SHOW JOB SERVICES …"""
    return ShowServices(only_jobs=True, filter=show_filter(reader))


def show_filter(reader: Reader) -> Filter:
    """[LIKE] [IN …] [STARTS WITH] [LIMIT n [FROM]], in this or any other order."""
    found = Filter()
    while reader.token.kind != "end":
        if reader.accept("LIKE"):
            found = replace(found, like=reader.string())
        elif reader.accept("STARTS", "WITH"):
            found = replace(found, starts_with=reader.string())
        elif reader.accept("LIMIT"):
            found = replace(found, limit=reader.integer())
        elif reader.accept("FROM"):
            found = replace(found, after=reader.string())
        elif reader.accept("OF", "TYPE"):
            found = replace(found, of_type=reader.scalar().upper())
        elif reader.accept("IN"):
            scope, name = show_scope(reader)
            found = replace(found, scope=scope, scope_name=name)
        else:
            reader.refuse()
    return found


CLAUSES = ("LIKE", "STARTS", "LIMIT", "FROM", "IN", "OF")


def show_scope(reader: Reader) -> tuple[str, ObjectName | None]:
    """What follows IN: a kind, a name or both. A bare name is a schema if qualified, else a database's or schema's."""
    if reader.accept("ACCOUNT"):
        return "ACCOUNT", None
    if reader.accept("COMPUTE", "POOL"):
        return "COMPUTE POOL", reader.name()
    kind = "DATABASE" if reader.accept("DATABASE") else "SCHEMA"
    if kind == "SCHEMA":
        reader.accept("SCHEMA")
    if reader.token.kind == "end" or reader.token.is_word(*CLAUSES):
        return kind, None
    return kind, reader.name()


def show_instances(reader: Reader) -> ShowInstances:
    """SHOW SERVICE INSTANCES IN SERVICE name."""
    return ShowInstances(name=reader.name())


def show_containers(reader: Reader) -> ShowContainers:
    """SHOW SERVICE CONTAINERS IN SERVICE name."""
    return ShowContainers(name=reader.name())


RULES: dict[tuple[str, ...], Callable[[Reader], Statement]] = {
    ("EXECUTE", "JOB", "SERVICE"): execute_job,
    ("CREATE", "SERVICE"): create_service,
    ("ALTER", "SERVICE"): alter_service,
    ("SHOW", "ENDPOINTS", "IN", "SERVICE"): show_endpoints,
    ("DESC", "SERVICE"): describe_service,
    ("DESCRIBE", "SERVICE"): describe_service,
    ("DROP", "SERVICE"): drop_service,
    ("SHOW", "SERVICES"): show_services,
    ("SHOW", "JOB", "SERVICES"): show_jobs,
    ("SHOW", "SERVICE", "INSTANCES", "IN", "SERVICE"): show_instances,
    ("SHOW", "SERVICE", "CONTAINERS", "IN", "SERVICE"): show_containers,
}
