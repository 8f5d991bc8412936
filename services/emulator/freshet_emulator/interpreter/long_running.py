"""What the statements about long-running services do: CREATE SERVICE, ALTER SERVICE, SHOW ENDPOINTS."""

from __future__ import annotations

from freshet_emulator.errors import SqlError
from freshet_emulator.interpreter.context import Context
from freshet_emulator.interpreter.services import new_job
from freshet_emulator.results import Result, columns_of, status
from freshet_emulator.spcs.specification import parse_specification
from freshet_emulator.sql.statements import AlterService, CreateService, ShowEndpoints

ENDPOINTS = ("name", "port", "port_range", "protocol", "is_public", "ingress_url")
DUPLICATE, MISSING = 2002, 2003


def create_service(context: Context, statement: CreateService) -> Result:
    """CREATE SERVICE. Raises SqlError 2002, 2003."""
    job = new_job(context, statement.job)
    job.is_service, job.replicas_given = True, False
    try:
        context.platform.submit(job)
    except SqlError as error:
        if error.code != DUPLICATE or not statement.if_not_exists:
            raise
        return status(f"{job.name.name} already exists, statement succeeded.")
    return status(f"Service {job.name.name} successfully created.")


def alter_service(context: Context, statement: AlterService) -> Result:
    """ALTER SERVICE. Raises SqlError 2003, or one that says that a job can't be altered."""
    try:
        job = context.platform.job(context.session.resolve(statement.name))
    except SqlError as error:
        if error.code != MISSING or not statement.if_exists:
            raise
        return status("Statement executed successfully.")
    if not job.is_service:
        raise SqlError(395_002, "55000", f"ALTER SERVICE is not possible on the job {job.name.name}.")
    if statement.action == "SUSPEND":
        context.platform.suspend(job)
    elif statement.action == "RESUME":
        context.platform.resume(job)
    return status("Statement executed successfully.")


def show_endpoints(context: Context, statement: ShowEndpoints) -> Result:
    """The endpoints that the specification declares; none has an address outside of this machine."""
    job = context.platform.job(context.session.resolve(statement.name))
    rows = [
        (
            endpoint.get("name"),
            endpoint.get("port"),
            endpoint.get("portRange"),
            str(endpoint.get("protocol", "TCP")).upper(),
            "true" if endpoint.get("public") else "false",
            None,
        )
        for endpoint in parse_specification(job.specification).spec.endpoints
    ]
    return Result(columns=columns_of(ENDPOINTS, {"port": "FIXED"}), rows=rows)
