"""Jobs, replicas and containers: their states. No threads and no processes are started here."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from freshet_emulator.spcs.output import OutputTail
from freshet_emulator.spcs.pools import utc_now
from freshet_emulator.spcs.processes import ContainerProcess
from freshet_emulator.spcs.specification import ContainerSpecification, parse_specification
from freshet_emulator.sql.names import FullName

WAITING = "Waiting to start"
NO_ROOM = "Unschedulable due to insufficient resources"
PROVISIONING = "Compute pool node(s) are being provisioned"
NO_IMAGE = "Failed to pull image"
NO_START = "Encountered fatal error while starting container"
OUT_OF_MEMORY = "Container was OOMKilled due to resource usage"
USER_ERROR = "User application error, check container logs"
TERMINAL = frozenset({"DONE", "FAILED", "CANCELLED", "INTERNAL_ERROR", "DELETED"})


@dataclass(kw_only=True, slots=True)
class Container:
    """One container of one replica. `exit_code` is None until it has exited; `killed_by` says who else ended it."""

    specification: ContainerSpecification
    status: str = "PENDING"
    message: str = WAITING
    exit_code: int | None = None
    started_at: dt.datetime | None = None
    output: OutputTail = field(default_factory=OutputTail)
    process: ContainerProcess | None = None
    killed_by: str = ""
    restarts: int = 0

    @property
    def ended(self) -> bool:
        """Whether it will never run (again)."""
        return self.status in ("DONE", "FAILED")

    def start_over(self) -> None:
        """Wait for another start, with the output of the earlier one."""
        self.status, self.message, self.process, self.killed_by = "PENDING", WAITING, None, ""
        self.restarts += 1

    def end(self, exit_code: int | None) -> None:
        """It exited, or could not be started (None)."""
        self.exit_code = exit_code
        self.status = "DONE" if exit_code == 0 else "FAILED"
        failure = NO_START if exit_code is None else self.killed_by or USER_ERROR
        self.message = "Completed successfully" if exit_code == 0 else failure


@dataclass(kw_only=True, slots=True)
class Replica:
    """One instance of a job; holds a slot of its pool from `placed` until none of its processes is `live`."""

    index: int
    containers: list[Container]
    placed: bool = False
    live: int = 0

    @property
    def ended(self) -> bool:
        """Whether all containers have ended."""
        return all(container.ended for container in self.containers)

    @property
    def status(self) -> str:
        """The instance's status."""
        states = {container.status for container in self.containers}
        if "TERMINATING" in states:
            return "TERMINATING"
        if "FAILED" in states:
            return "FAILED"
        if states == {"DONE"}:
            return "SUCCEEDED"
        return "READY" if "READY" in states else "PENDING"


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """A change of a status: of a SERVICE, or of a CONTAINER, which then has an instance and a name."""

    at: dt.datetime
    level: str
    status: str
    message: str
    instance: str | None = None
    container: str | None = None


@dataclass(kw_only=True, slots=True)
class Job:
    """A job service, or a long-running one (`is_service`). Changed only under the platform's lock."""

    name: FullName
    pool: str
    specification: str
    replicas: list[Replica]
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    query_id: str = ""
    owner: str = ""
    comment: str | None = None
    query_warehouse: str | None = None
    integrations: tuple[str, ...] = ()
    is_async: bool = True
    replicas_given: bool = False
    is_service: bool = False
    is_suspended: bool = False
    status: str = "PENDING"
    message: str = WAITING
    cancel_requested: bool = False
    created_on: dt.datetime = field(default_factory=utc_now)
    updated_on: dt.datetime = field(default_factory=utc_now)
    completed_on: dt.datetime | None = None
    deleted_on: dt.datetime | None = None
    events: list[Event] = field(default_factory=list)
    _noted: dict[tuple[int, str], str] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether the status is final."""
        return self.status in TERMINAL

    def containers(self) -> Iterator[tuple[Replica, Container]]:
        """All containers with their replicas."""
        return ((replica, container) for replica in self.replicas for container in replica.containers)

    def move(self, status: str, message: str = "") -> None:
        """Take a new status; a final one is final."""
        if self.ended:
            return
        if status != self.status:
            self.events.append(Event(at=utc_now(), level="SERVICE", status=status, message=message))
        self.status, self.message, self.updated_on = status, message, utc_now()
        if status in TERMINAL:
            self.completed_on = self.updated_on

    def note(self) -> None:
        """Write down which containers have a new status."""
        for replica, container in self.containers():
            key = (replica.index, container.specification.name)
            if self._noted.get(key) != container.status:
                self._noted[key] = container.status
                self.events.append(
                    Event(
                        at=utc_now(),
                        level="CONTAINER",
                        status=container.status,
                        message=container.message,
                        instance=str(replica.index),
                        container=container.specification.name,
                    )
                )

    def settle(self) -> None:
        """Derive the status from the replicas: any failed, all succeeded, any running, else pending."""
        self.note()
        states = [replica.status for replica in self.replicas]
        if self.is_service and not self.cancel_requested:
            self.settle_service(states)
        elif self.cancel_requested:
            over = all(replica.ended or not replica.placed for replica in self.replicas)
            self.move("CANCELLED" if over else "CANCELLING", "Cancelled on request" if over else "Stopping")
        elif "FAILED" in states:
            self.move("FAILED", next(c.message for _, c in self.containers() if c.status == "FAILED"))
        elif set(states) == {"SUCCEEDED"}:
            self.move("DONE", "Completed successfully")
        elif states.count("PENDING") < len(states):
            self.move("RUNNING", "Running")

    def settle_service(self, states: list[str]) -> None:
        """A service runs while one of its instances does; it never ends by itself."""
        if self.is_suspended:
            resting = not any(replica.live for replica in self.replicas)
            self.move("SUSPENDED" if resting else "SUSPENDING", "Suspended" if resting else "Stopping")
        else:
            runs = "READY" in states
            self.move("RUNNING" if runs else "PENDING", "Running" if runs else self.message)


def new_replicas(specification: str, count: int) -> list[Replica]:
    """The replicas of a new job. Raises SqlError 395018 for a bad specification."""
    containers = parse_specification(specification).spec.containers
    return [
        Replica(index=index, containers=[Container(specification=container) for container in containers])
        for index in range(count)
    ]


STORED = ("id", "pool", "specification", "query_id", "owner", "comment", "query_warehouse", "is_async")
STORED_STATE = ("replicas_given", "is_service", "is_suspended", "status", "message", "cancel_requested")
STORED_TIMES = ("created_on", "updated_on", "completed_on", "deleted_on")
STORED_CONTAINER = ("status", "message", "exit_code")


def job_document(job: Job) -> dict[str, Any]:
    """What is kept of a job over a restart, logs included."""
    body = {key: getattr(job, key) for key in (*STORED, *STORED_STATE, *STORED_TIMES)}
    body["name"] = [job.name.database, job.name.schema, job.name.name]
    body["integrations"] = list(job.integrations)
    body["replicas"] = len(job.replicas)
    body["containers"] = [
        {key: getattr(container, key) for key in (*STORED_CONTAINER, "started_at")} | {"log": container.output.text()}
        for _, container in job.containers()
    ]
    return body


def moment(text: str | None) -> dt.datetime | None:
    """A stored time."""
    return dt.datetime.fromisoformat(text) if text else None


def stored_job(body: Mapping[str, Any]) -> Job:
    """A job from its document. One that was running then has been lost with its node."""
    database, schema, name = body["name"]
    fields = {key: body[key] for key in (*STORED, *STORED_STATE)} | {key: moment(body[key]) for key in STORED_TIMES}
    fields["name"] = FullName(database=database, schema=schema, name=name)
    fields["integrations"] = tuple(body["integrations"])
    job = Job(replicas=new_replicas(body["specification"], body["replicas"]), **fields)
    if job.is_service:
        job.status, job.message = ("SUSPENDED", "Suspended") if job.is_suspended else ("PENDING", WAITING)
        return job
    for (replica, container), kept in zip(job.containers(), body["containers"], strict=True):
        for key in STORED_CONTAINER:
            setattr(container, key, kept[key])
        container.started_at = moment(kept["started_at"])
        container.output = OutputTail(kept["log"], container.started_at)
        replica.placed = replica.placed or container.started_at is not None
    if not job.ended and (job.cancel_requested or any(replica.placed for replica in job.replicas)):
        lose(job, "Compute pool node was lost")
    return job


def lose(job: Job, message: str) -> None:
    """End a job whose node or platform is gone."""
    for _, container in job.containers():
        if not container.ended:
            container.status, container.message = "FAILED", message
    job.move("INTERNAL_ERROR", message)
