"""The methods of a job that answer rows: SPCS_GET_LOGS, SPCS_GET_EVENTS, SPCS_GET_METRICS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from freshet_emulator.errors import compilation
from freshet_emulator.interpreter.arguments import Arguments, moment
from freshet_emulator.interpreter.context import Context
from freshet_emulator.results import Result, columns_of
from freshet_emulator.spcs.jobs import Job
from freshet_emulator.sql.names import ObjectName

LOGS = ("TIMESTAMP", "INSTANCE_ID", "CONTAINER_NAME", "LOG", "RECORD_ATTRIBUTES")
EVENTS = (
    "TIMESTAMP",
    "SEVERITY",
    "EVENT_NAME",
    "EVENT_DETAILS",
    "INSTANCE_ID",
    "CONTAINER_NAME",
    "RECORD",
    "RECORD_ATTRIBUTES",
)
METRICS = (
    "TIMESTAMP",
    "METRIC_NAME",
    "VALUE",
    "UNIT",
    "INSTANCE_ID",
    "CONTAINER_NAME",
    "RESOURCE",
    "RECORD",
    "RECORD_ATTRIBUTES",
)
TYPES = dict.fromkeys(("RECORD_ATTRIBUTES", "EVENT_DETAILS", "RECORD", "RESOURCE"), "VARIANT")
TYPES |= {"TIMESTAMP": "TIMESTAMP_NTZ", "VALUE": "REAL"}

Rows = list[Sequence[Any]]


def logs(job: Job) -> Rows:
    """One row per line, with the time at which it was written."""
    return [
        (at, str(replica.index), container.specification.name, line, {"log.iostream": "stdout"})
        for replica, container in job.containers()
        for at, line in container.output.lines()
    ]


def events(job: Job) -> Rows:
    """One row per change of a status."""
    return [
        (
            event.at,
            "ERROR" if event.status in ("FAILED", "INTERNAL_ERROR") else "INFO",
            f"{event.level}.STATUS_CHANGE",
            {"message": event.message, "status": event.status},
            event.instance,
            event.container,
            {"name": f"{event.level}.STATUS_CHANGE", "severity_text": "INFO"},
            {},
        )
        for event in job.events
    ]


def metrics(_: Job) -> Rows:
    """Nothing: local processes are not measured."""
    return []


METHODS: dict[str, tuple[Sequence[str], Callable[[Job], Rows]]] = {
    "SPCS_GET_LOGS": (LOGS, logs),
    "SPCS_GET_EVENTS": (EVENTS, events),
    "SPCS_GET_METRICS": (METRICS, metrics),
}


def rows_of_method(context: Context, target: ObjectName, name: str, given: Arguments) -> Result:
    """What a method returns between START_TIME and END_TIME. Raises SqlError 2143."""
    if name not in METHODS:
        raise compilation(f"Unknown table function {name}", code=2143, sqlstate="42601")
    columns, rows = METHODS[name]
    job = context.platform.job(context.session.resolve(target))
    start, end = moment(given.named.get("START_TIME")), moment(given.named.get("END_TIME"))
    found = [row for row in rows(job) if (start is None or row[0] >= start) and (end is None or row[0] <= end)]
    plain = [(row[0].replace(tzinfo=None), *row[1:]) for row in sorted(found, key=lambda row: row[0])]
    return Result(columns=columns_of(columns, TYPES), rows=plain)
