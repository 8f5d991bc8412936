"""The platform's functions and methods: SYSTEM$…, job!SPCS_…, GET_JOB_HISTORY."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from freshet_emulator.errors import SqlError, compilation, missing
from freshet_emulator.interpreter.arguments import Arguments, moment
from freshet_emulator.interpreter.context import Context
from freshet_emulator.results import Result, columns_of
from freshet_emulator.spcs.jobs import TERMINAL, Container, Job, Replica
from freshet_emulator.sql.names import ObjectName
from freshet_emulator.sql.reader import parse_name

HISTORY_NAMES = (
    "QUERY_ID",
    "ID",
    "NAME",
    "DATABASE_NAME",
    "SCHEMA_NAME",
    "CREATED_TIME",
    "COMPLETED_TIME",
    "DELETED_TIME",
    "STATUS",
    "MESSAGE",
    "INSTANCE_STATUSES",
    "COMPUTE_POOL_NAME",
    "OWNER",
    "OWNER_ROLE_TYPE",
    "PARAMETERS",
    "MANAGING_OBJECT",
)
HISTORY_TYPES = dict.fromkeys(("CREATED_TIME", "COMPLETED_TIME", "DELETED_TIME"), "TIMESTAMP_LTZ") | dict.fromkeys(
    ("INSTANCE_STATUSES", "PARAMETERS"), "VARIANT"
)
HISTORY_LIMIT = 100
HISTORY_MAX = 10_000
WAITABLE = frozenset({"PENDING", "RUNNING", "DONE", "FAILED", "CANCELLING", "CANCELLED", "INTERNAL_ERROR", "DELETED"})


def system(context: Context, name: str, given: Arguments) -> str | None:
    """A SYSTEM$ function. Raises SqlError 2141 for an unknown one."""
    run = SYSTEM.get(name.removeprefix("SYSTEM$"))
    if run is None:
        raise compilation(f"Unknown function {name}", code=2141, sqlstate="42601")
    return run(context, given)


def cancel_query(context: Context, given: Arguments) -> str:
    """SYSTEM$CANCEL_QUERY(id)."""
    found = context.world.abort(given.required(0, "query id"))
    return "query cancelled." if found else "Identified SQL statement is not currently executing."


UNITS = {"MILLISECONDS": 0.001, "SECONDS": 1.0, "MINUTES": 60.0, "HOURS": 3600.0, "DAYS": 86_400.0}


def pause(context: Context, given: Arguments) -> str:
    """SYSTEM$WAIT(amount [, unit])."""
    amount, unit = given.number(given.required(0, "amount"), "amount"), (given.text(1) or "SECONDS").upper()
    if unit not in UNITS:
        raise compilation(f"'{unit}' is not a unit of time.", code=1008, sqlstate="22023")
    context.world.wait(context.query_id, (amount or 0.0) * UNITS[unit])
    return f"waited {given.text(0)} {unit.lower()}"


def find(context: Context, name: str) -> Job:
    """The job that an argument names."""
    return context.platform.job(context.session.resolve(parse_name(name)))


def service_logs(context: Context, given: Arguments) -> str:
    """SYSTEM$GET_SERVICE_LOGS(service, instance, container [, lines [, previous [, since [, stamped]]]]).

    At most the last 100 KB. No container is ever started again, so there are no logs of a previous one.
    """
    job = find(context, given.required(0, "service name"))
    replica, container = one_container(job, given.required(1, "instance"), given.required(2, "container"))
    lines = given.number(given.text(3), "lines")
    if context.platform.faults.take_job("logs_gone", str(job.name)):
        raise logs_gone(job)
    if container.started_at is None:
        raise SqlError(
            395012,
            "55000",
            f"Unable to fetch logs of {job.name.name}, instance {replica.index}, container "
            f"{container.specification.name}. Container Status: PENDING",
        )
    since, stamped = moment(given.text(5)), (given.text(6) or "").upper() == "TRUE"
    if (given.text(4) or "").upper() == "TRUE":
        return ""
    if since is None and not stamped:
        return container.output.text(None if lines is None else int(lines))
    text = container.output.since(since or job.created_on, stamped=stamped)
    return text if lines is None else "\n".join(text.split("\n")[-int(lines) :] if lines else [])


def logs_gone(job: Job) -> SqlError:
    """The node that held a container's output was given back."""
    return SqlError(395013, "55000", f"Logs of {job.name.name} are no longer available: its node was reclaimed.")


def one_container(job: Job, instance: str, container: str) -> tuple[Replica, Container]:
    """A container by its instance and name. Raises SqlError 2003."""
    for replica, found in job.containers():
        if (str(replica.index), found.specification.name) == (instance, container):
            return replica, found
    raise missing("Container", f"{job.name.name}/{instance}/{container}")


def service_status(job: Job) -> str:
    """SYSTEM$GET_SERVICE_STATUS: a JSON array, one object per container."""
    return orjson.dumps(
        [
            {
                "status": container.status,
                "message": container.message,
                "containerName": container.specification.name,
                "instanceId": str(replica.index),
                "serviceName": job.name.name,
                "image": container.specification.image,
                "restartCount": 0,
                "startTime": container.started_at.isoformat() if container.started_at else "",
            }
            for replica, container in job.containers()
        ]
    ).decode()


def wait_for_services(context: Context, given: Arguments) -> str:
    """SYSTEM$WAIT_FOR_SERVICES(seconds, service, …): once all have started."""
    timeout = given.number(given.required(0, "seconds"), "seconds")
    for name in given.positional[1:]:
        job = find(context, name or "")
        if not context.platform.wait_for(job, lambda found: found.status != "PENDING", timeout):
            raise SqlError(395020, "57014", f"Timed out waiting for {job.name.name}: its status is {job.status}.")
    return "OK"


SYSTEM: dict[str, Callable[[Context, Arguments], str | None]] = {
    "CANCEL_QUERY": cancel_query,
    "GET_COMPUTE_POOL_PENDING_MAINTENANCE": lambda _, __: "[]",
    "GET_SERVICE_DNS_DOMAIN": lambda _, __: "local.svc.spcs.internal",
    "GET_SERVICE_LOGS": service_logs,
    "GET_SERVICE_STATUS": lambda context, given: service_status(find(context, given.required(0, "service name"))),
    "WAIT": pause,
    "WAIT_FOR_SERVICES": wait_for_services,
}


def method(context: Context, target: ObjectName, name: str, given: Arguments) -> str:
    """A method of a job that answers one text."""
    full = context.session.resolve(target)
    if name == "SPCS_CANCEL_JOB":
        cancelled = context.platform.cancel(full)
        return f"Job {full.name} {'is being cancelled' if cancelled else 'has ended already; nothing was cancelled'}."
    if name == "SPCS_WAIT_FOR":
        return wait_for_status(context, context.platform.job(full), given)
    raise compilation(f"Unknown function {name}", code=2141, sqlstate="42601")


def wait_for_status(context: Context, job: Job, given: Arguments) -> str:
    """`job!SPCS_WAIT_FOR('STATUS', seconds)`. Raises SqlError in time or when the status can't be reached any more."""
    wanted = given.required(0, "status").upper()
    if wanted not in WAITABLE:
        raise compilation(f"'{wanted}' is not a status.", code=1008, sqlstate="22023")
    timeout = given.number(given.text(1), "seconds")
    context.platform.wait_for(job, lambda found: found.status == wanted or found.status in TERMINAL, timeout)
    if job.status == wanted:
        return f"Service {job.name.name} reached status: {wanted}."
    raise SqlError(395020, "57014", f"Service {job.name.name} did not reach {wanted}; its status is {job.status}.")


def job_history(context: Context, given: Arguments) -> Result:
    """GET_JOB_HISTORY: jobs of the last thirty days or of the time asked for, dropped ones too, newest first."""
    limit = given.number(given.named.get("RESULT_LIMIT"), "RESULT_LIMIT")
    start, end = moment(given.named.get("CREATED_TIME_START")), moment(given.named.get("CREATED_TIME_END"))
    jobs = [
        job
        for job in context.platform.history()
        if not job.is_service and (start is None or job.created_on >= start) and (end is None or job.created_on <= end)
    ]
    wanted = jobs[: min(int(HISTORY_LIMIT if limit is None else limit), HISTORY_MAX)]
    return Result(columns=columns_of(HISTORY_NAMES, HISTORY_TYPES), rows=[history_row(job) for job in wanted])


def history_row(job: Job) -> Sequence[Any]:
    """A job as GET_JOB_HISTORY shows it."""
    return (
        job.query_id,
        job.id,
        job.name.name,
        job.name.database,
        job.name.schema,
        job.created_on,
        job.completed_on,
        job.deleted_on,
        job.status,
        job.message,
        instance_statuses(job),
        job.pool,
        job.owner,
        "ROLE",
        {"ASYNC": job.is_async, "REPLICAS": len(job.replicas)},
        None,
    )


def instance_statuses(job: Job) -> dict[str, Any]:
    """How many instances are in which state, and how each container did."""
    states = [replica.status for replica in job.replicas]
    return {
        "total": len(states),
        "pending": states.count("PENDING"),
        "running": states.count("READY") + states.count("TERMINATING"),
        "succeeded": states.count("SUCCEEDED"),
        "failed": states.count("FAILED"),
        "containers": [
            {
                "instanceId": str(replica.index),
                "name": container.specification.name,
                "image": container.specification.image,
                "exitCode": container.exit_code,
                "restartCount": 0,
            }
            for replica, container in job.containers()
        ],
    }
