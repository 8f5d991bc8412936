"""What Snowflake says about jobs and containers, as typed rows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Row = Mapping[str, Any]


class JobStatus(StrEnum):
    """The status of a job service. UNKNOWN stands for a word that Snowflake may add: alive, as far as we know."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"
    SUSPENDING = "SUSPENDING"
    SUSPENDED = "SUSPENDED"
    DELETING = "DELETING"
    DELETED = "DELETED"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    UNKNOWN = "UNKNOWN"

    @classmethod
    def read(cls, text: object) -> JobStatus:
        """A status from Snowflake's word."""
        try:
            return cls(str(text).upper())
        except ValueError:
            return cls.UNKNOWN

    @property
    def is_terminal(self) -> bool:
        """Whether the job will never run again."""
        return self in TERMINAL


TERMINAL = frozenset(
    {JobStatus.DONE, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.DELETED, JobStatus.INTERNAL_ERROR}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class JobRow:
    """A job service. `message` and `completed_on` are only known from the history, `comment` only outside it."""

    name: str
    status: JobStatus
    compute_pool: str
    comment: str | None = None
    created_on: dt.datetime | None = None
    updated_on: dt.datetime | None = None
    completed_on: dt.datetime | None = None
    deleted_on: dt.datetime | None = None
    message: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ContainerRow:
    """A container of a job. `exit_code` is None until it has exited; `started_on` until it runs."""

    instance_id: str
    name: str
    status: str
    message: str
    image: str
    exit_code: int | None
    started_on: dt.datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolRow:
    """A compute pool. `state`: IDLE, ACTIVE, SUSPENDED, STARTING, STOPPING, RESIZING or what Snowflake may add."""

    name: str
    state: str
    family: str
    max_nodes: int
    active_nodes: int
    auto_resume: bool

    @property
    def is_asleep(self) -> bool:
        """Whether nothing will start in it until somebody resumes it."""
        return self.state in ("SUSPENDED", "STOPPING") and not self.auto_resume


def pool_row(row: Row) -> PoolRow:
    """A row of SHOW COMPUTE POOLS; connectors tell truth values as text."""
    return PoolRow(
        name=row["name"],
        state=str(row["state"]).upper(),
        family=str(row["instance_family"]).upper(),
        max_nodes=int(row["max_nodes"]),
        active_nodes=int(row["active_nodes"] or 0),
        auto_resume=str(row["auto_resume"]).lower() == "true",
    )


def job_row(row: Row) -> JobRow:
    """A row of SHOW or DESCRIBE SERVICE."""
    return JobRow(
        name=row["name"],
        status=JobStatus.read(row["status"]),
        compute_pool=row["compute_pool"],
        comment=row["comment"],
        created_on=row["created_on"],
        updated_on=row["updated_on"],
    )


def history_row(row: Row) -> JobRow:
    """A row of GET_JOB_HISTORY."""
    return JobRow(
        name=row["name"],
        status=JobStatus.read(row["status"]),
        compute_pool=row["compute_pool_name"],
        created_on=row["created_time"],
        completed_on=row["completed_time"],
        deleted_on=row["deleted_time"],
        message=row["message"],
    )


def container_row(row: Row) -> ContainerRow:
    """A row of SHOW SERVICE CONTAINERS; every field may be NULL while nothing runs."""
    code = row["last_exit_code"]
    return ContainerRow(
        instance_id=str(row["instance_id"] if row["instance_id"] is not None else ""),
        name=row["container_name"] or "",
        status=row["status"] or "PENDING",
        message=row["message"] or "",
        image=row["image_name"] or "",
        exit_code=None if code is None or code == "" else int(code),
        started_on=row["start_time"],
    )
