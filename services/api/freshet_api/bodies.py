"""The bodies that come in, and for the OpenAPI document those that go out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _in_utc(moment: datetime) -> datetime:
    """A time without a zone is UTC. Raises ValueError outside the years 1970 to 2999."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if not 1970 <= aware.year <= 2999:
        raise ValueError("it has to lie in the years 1970 to 2999")
    return aware.astimezone(UTC)


Moment = Annotated[datetime, AfterValidator(_in_utc)]
Params = dict[str, Any]


class Incoming(BaseModel):
    """A body; what it does not know is refused."""

    model_config = ConfigDict(extra="forbid")


class RunBody(Incoming):
    """Start a run."""

    params: Params = Field(default_factory=dict, description="Values of the workflow's parameters")
    scheduled_for: Moment | None = Field(None, description="The time that the run stands for")


class RerunBody(Incoming):
    """Run again."""

    mode: Literal["all", "failed", "from"] = "all"
    task: str | None = Field(None, max_length=1024, description="With `from`: the task to begin with")


class BackfillBody(Incoming):
    """Make a run for each tick of the schedule from `from` on and before `to`."""

    begin: Moment = Field(alias="from")
    end: Moment = Field(alias="to")
    params: Params = Field(default_factory=dict)


class Outgoing(BaseModel):
    """An answer; more may come."""

    model_config = ConfigDict(extra="allow")


class AppliedAnswer(Outgoing):
    """What an apply did."""

    name: str
    version: int
    created: bool = Field(description="The workflow was not there before")
    changed: bool = Field(description="A version was added")
    document: dict[str, Any]


class WorkflowAnswer(Outgoing):
    """A workflow."""

    name: str
    version: int
    paused: bool
    next_fire_at: datetime | None
    document: dict[str, Any]


class ItemCounters(Outgoing):
    """Items of a task by how they ended."""

    total: int
    succeeded: int
    failed: int
    skipped: int
    cancelled: int


class TaskAnswer(Outgoing):
    """A task of a run, summed over its scopes."""

    kind: str
    state: str
    items: ItemCounters
    attempts: int
    result: Any
    error: str | None
    error_class: str | None = None
    result_url: str | None = None
    estimated_credits: float | None = None  # of a job service, by the run time of its ended attempts
    note: str | None = None


class RunAnswer(Outgoing):
    """The run object."""

    run_id: str
    workflow: str
    version: int
    state: str
    params: dict[str, Any]
    scheduled_for: datetime | None
    rerun_of: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    recorded: bool
    estimated_credits: float | None = None  # of all job services; None if a rate is not known
    tasks: dict[str, TaskAnswer]


class PageAnswer(Outgoing):
    """A page of a list."""

    items: list[dict[str, Any]]
    next: str | None


class BackfillAnswer(Outgoing):
    """The runs of the ticks."""

    created: int
    runs: list[dict[str, Any]]


class EventsAnswer(Outgoing):
    """What became of the events."""

    accepted: int
    duplicates: int
    runs: list[str]


class ResultAnswer(Outgoing):
    """A result, or a page of results."""

    result: Any = None
    results: list[Any] | None = None
    total: int | None = None
    next: str | None = None


class WorkerAnswer(Outgoing):
    """A worker."""

    id: str
    state: str
