"""What the statements about services and jobs do, and the columns they answer."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Sequence
from typing import Any

import orjson

from freshet_emulator.errors import SqlError
from freshet_emulator.interpreter.context import Context
from freshet_emulator.interpreter.stages import staged_text
from freshet_emulator.results import Result, columns_of, status
from freshet_emulator.spcs.jobs import Container, Job, Replica, new_replicas
from freshet_emulator.spcs.specification import fill
from freshet_emulator.sql.names import Filter, FullName
from freshet_emulator.sql.statements import (
    DescribeService,
    DropService,
    ExecuteJob,
    ShowContainers,
    ShowInstances,
    ShowServices,
)

NAME = re.compile(r"[A-Z_][A-Z0-9_$]{0,62}")
MAX_ROWS = 10_000
DESCRIBE_NAMES = (
    "name",
    "status",
    "database_name",
    "schema_name",
    "owner",
    "compute_pool",
    "spec",
    "dns_name",
    "current_instances",
    "target_instances",
    "min_ready_instances",
    "min_instances",
    "max_instances",
    "auto_resume",
    "external_access_integrations",
    "created_on",
    "updated_on",
    "resumed_on",
    "suspended_on",
    "auto_suspend_secs",
    "comment",
    "owner_role_type",
    "query_warehouse",
    "is_job",
    "is_async_job",
    "spec_digest",
    "is_upgrading",
    "managing_object_domain",
    "managing_object_name",
)
INSTANCE_NAMES = (
    "database_name",
    "schema_name",
    "service_name",
    "service_status",
    "instance_id",
    "status",
    "spec_digest",
    "creation_time",
    "start_time",
    "ip_address",
)
CONTAINER_NAMES = (
    "database_name",
    "schema_name",
    "service_name",
    "service_status",
    "instance_id",
    "instance_status",
    "container_name",
    "status",
    "message",
    "image_name",
    "image_digest",
    "restart_count",
    "start_time",
    "last_exit_code",
    "last_restart_time",
)
TYPES = dict.fromkeys(
    (
        "current_instances",
        "target_instances",
        "min_ready_instances",
        "min_instances",
        "max_instances",
        "auto_suspend_secs",
        "restart_count",
        "last_exit_code",
    ),
    "FIXED",
) | dict.fromkeys(
    ("created_on", "updated_on", "resumed_on", "suspended_on", "creation_time", "start_time", "last_restart_time"),
    "TIMESTAMP_LTZ",
)


def execute_job(context: Context, statement: ExecuteJob) -> Result:
    """Submit a job; without ASYNC = TRUE wait for its end, which is an error unless it is DONE."""
    job = new_job(context, statement)
    context.platform.submit(job)
    if statement.is_async:
        return status(f"Started Snowpark Container Services Job '{job.name.name}'.")
    context.platform.wait_for(job, lambda found: found.ended, None)
    if job.status != "DONE":
        raise SqlError(395019, "P0000", f"Job {job.name.name} ended with status: {job.status}. {job.message}")
    return status(f"Job {job.name.name} completed successfully with status: DONE.")


def new_job(context: Context, statement: ExecuteJob) -> Job:
    """The job that a statement describes."""
    text = statement.specification if statement.staged is None else staged_text(context, statement.staged)
    if statement.template_values is not None:
        text = fill(text, statement.template_values)
    replicas = 1 if statement.replicas is None else statement.replicas
    if replicas < 1:
        raise SqlError(1008, "22023", "SQL compilation error:\nREPLICAS must be at least 1.")
    return Job(
        name=job_name(context, statement),
        pool=statement.pool.last,
        specification=text,
        replicas=new_replicas(text, replicas),
        replicas_given=statement.replicas is not None,
        query_id=context.query_id,
        owner=context.session.role,
        comment=statement.comment,
        query_warehouse=statement.query_warehouse,
        integrations=statement.integrations,
        is_async=statement.is_async,
    )


def job_name(context: Context, statement: ExecuteJob) -> FullName:
    """The job's full name, made from a new id if the statement gives none. Its schema must exist (2003)."""
    if statement.name is None:
        made = f"JOB_{uuid.uuid4()}".replace("-", "_").upper()
        name = FullName(database=context.session.database or "", schema=context.session.schema or "", name=made)
    else:
        name = context.session.resolve(statement.name)
    if not NAME.fullmatch(name.name):
        raise SqlError(1003, "42000", f"SQL compilation error:\nInvalid service name '{name.name}'.")
    context.world.catalog.require("SCHEMA", f"{name.database}.{name.schema}")
    return name


def describe_service(context: Context, statement: DescribeService) -> Result:
    """One row."""
    job = context.platform.job(context.session.resolve(statement.name))
    return Result(columns=columns_of(DESCRIBE_NAMES, TYPES), rows=[list(service_row(job).values())])


def drop_service(context: Context, statement: DropService) -> Result:
    """Drop a job."""
    name = context.session.resolve(statement.name)
    try:
        context.platform.drop(name)
    except SqlError:
        if not statement.if_exists:
            raise
        return status(f"Drop statement executed successfully ({name.name} already dropped).")
    return status(f"{name.name} successfully dropped.")


def show_services(context: Context, statement: ShowServices) -> Result:
    """The services and jobs in scope."""
    found = [job for job in in_scope(context, statement.filter) if is_shown(job, statement)]
    wanted = set(statement.filter.apply([job.name.name for job in found])[:MAX_ROWS])
    hidden = {"spec"} | ({"is_job"} if statement.only_jobs or statement.exclude_jobs else set())
    hidden |= {"is_async_job"} if statement.exclude_jobs else set()
    names = [name for name in DESCRIBE_NAMES if name not in hidden]
    jobs = sorted((job for job in found if job.name.name in wanted), key=lambda job: job.name.name)
    rows = [[row[name] for name in names] for row in map(service_row, jobs)]
    return Result(columns=columns_of(names, TYPES), rows=rows)


def is_shown(job: Job, statement: ShowServices) -> bool:
    """Whether this kind of service is asked for."""
    return not statement.exclude_jobs if not job.is_service else not statement.only_jobs


def in_scope(context: Context, wanted: Filter) -> list[Job]:
    """The jobs of an account, a database, a schema or a pool; of the session's schema if nothing is said."""
    jobs, session = context.platform.jobs(), context.session
    if wanted.scope == "ACCOUNT" or (wanted.scope is None and session.database is None):
        return jobs
    if wanted.scope == "COMPUTE POOL" and wanted.scope_name is not None:
        return [job for job in jobs if job.pool == wanted.scope_name.last]
    parts = wanted.scope_name.parts if wanted.scope_name else ()
    if wanted.scope == "DATABASE":
        database = parts[-1] if parts else session.database
        context.world.catalog.require("DATABASE", str(database))
        return [job for job in jobs if job.name.database == database]
    schema = parts[-1] if parts else session.schema
    database = parts[-2] if len(parts) > 1 else session.database
    context.world.catalog.require("SCHEMA", f"{database}.{schema}")
    return [job for job in jobs if (job.name.database, job.name.schema) == (database, schema)]


def digest(job: Job) -> str:
    """What identifies a specification's text."""
    return hashlib.sha256(job.specification.encode()).hexdigest()


def service_row(job: Job) -> dict[str, Any]:
    """A job as DESCRIBE SERVICE shows it."""
    running = sum(1 for replica in job.replicas if replica.live)
    return {
        "name": job.name.name,
        "status": job.status,
        "database_name": job.name.database,
        "schema_name": job.name.schema,
        "owner": job.owner,
        "compute_pool": job.pool,
        "spec": job.specification,
        "dns_name": f"{job.name.name.lower().replace('_', '-')}.local.svc.spcs.internal",
        "current_instances": running,
        "target_instances": len(job.replicas),
        "min_ready_instances": len(job.replicas),
        "min_instances": len(job.replicas),
        "max_instances": len(job.replicas),
        "auto_resume": "false",
        "external_access_integrations": orjson.dumps(job.integrations).decode() if job.integrations else None,
        "created_on": job.created_on,
        "updated_on": job.updated_on,
        "resumed_on": None,
        "suspended_on": None,
        "auto_suspend_secs": 0,
        "comment": job.comment,
        "owner_role_type": "ROLE",
        "query_warehouse": job.query_warehouse,
        "is_job": "false" if job.is_service else "true",
        "is_async_job": "true" if job.is_async and not job.is_service else "false",
        "spec_digest": digest(job),
        "is_upgrading": "false",
        "managing_object_domain": None,
        "managing_object_name": None,
    }


def show_instances(context: Context, statement: ShowInstances) -> Result:
    """One row per replica."""
    job = context.platform.job(context.session.resolve(statement.name))
    rows = [(*service_part(job), *instance_part(job, replica)) for replica in job.replicas]
    return Result(columns=columns_of(INSTANCE_NAMES, TYPES), rows=rows)


def service_part(job: Job) -> Sequence[Any]:
    """The columns that say which service a row belongs to."""
    return (job.name.database, job.name.schema, job.name.name, job.status)


def instance_part(job: Job, replica: Replica) -> Sequence[Any]:
    """The columns of an instance."""
    started = min((c.started_at for c in replica.containers if c.started_at), default=None)
    return (
        str(replica.index),
        replica.status,
        digest(job),
        job.created_on,
        started,
        "127.0.0.1" if replica.placed else None,
    )


def show_containers(context: Context, statement: ShowContainers) -> Result:
    """One row per replica and container."""
    job = context.platform.job(context.session.resolve(statement.name))
    rows = [(*service_part(job), *container_part(replica, container)) for replica, container in job.containers()]
    return Result(columns=columns_of(CONTAINER_NAMES, TYPES), rows=rows)


def container_part(replica: Replica, container: Container) -> Sequence[Any]:
    """The columns of a container."""
    specification = container.specification
    return (
        str(replica.index),
        replica.status,
        specification.name,
        container.status,
        container.message,
        specification.image,
        f"sha256:{hashlib.sha256(specification.image.encode()).hexdigest()}",
        container.restarts,
        container.started_at,
        container.exit_code,
        None,
    )
