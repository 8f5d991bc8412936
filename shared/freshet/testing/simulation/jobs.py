"""A Snowflake account that runs job services on virtual time.

Purpose: freshet.snowflake.JobServices as launcher and watcher use it. Guarantees: a name launches once until it is
dropped; a job ends by the clock as its try's plan says, may fail, and may vanish. Never: SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from freshet.snowflake import (
    ContainerRow,
    JobRow,
    JobServices,
    JobStatus,
    PoolRow,
    SnowflakeRefusedError,
    Specification,
)
from freshet.snowflake.errors import MISSING, TAKEN, JobNameTakenError
from freshet.snowflake.rows import Row
from freshet.testing.simulation.behaviour import FAIL, FOR_EVER, HANG, Behaviour, Plan, Try
from freshet.testing.twins.passage import Passage, verb


@dataclass(kw_only=True)
class Job:
    """One job service."""

    the_try: Try
    comment: str
    plan: Plan
    starts: float
    ends: float
    cancelled: float | None = None
    vanishes: float | None = None  # when the platform loses it

    def status(self, now: float) -> JobStatus:
        """What SHOW says at this time."""
        if self.cancelled is not None:
            return JobStatus.CANCELLED if now >= self.cancelled else JobStatus.CANCELLING
        if now < self.starts:
            return JobStatus.PENDING
        if now < self.ends:
            return JobStatus.RUNNING
        return JobStatus.FAILED if self.plan.end == FAIL else JobStatus.DONE

    def printed(self, now: float) -> str:
        """What it has written at this time: one line, of which more and more is there."""
        line = "" if self.plan.end == FAIL else orjson.dumps(self.plan.values).decode()
        share = (min(now, self.cancelled or now) - self.starts) / (self.ends - self.starts)
        return line[: int(len(line) * max(0.0, share))] if share < 1.0 else line


@dataclass(kw_only=True)
class Account:
    """What all sessions with Snowflake share."""

    clock: Callable[[], float]
    behaviour: Behaviour
    began: Callable[[Try, Any], None]
    jobs: dict[str, Job] = field(default_factory=dict)
    launches: dict[str, int] = field(default_factory=dict)
    tries: dict[str, Try] = field(default_factory=dict)

    def launch(self, name: str, the_try: Try, payload: Any, comment: str) -> None:
        """Start a job."""
        plan = self.behaviour.plan(the_try)
        starts = self.clock() + plan.before
        ends = starts + (FOR_EVER if plan.end == HANG else 0.2 + plan.after)
        job = Job(the_try=the_try, comment=comment, plan=plan, starts=starts, ends=ends)
        if plan.vanishes:
            job.vanishes = starts + 0.1
        self.jobs[name] = job
        self.tries[name] = the_try
        self.launches[name] = self.launches.get(name, 0) + 1
        self.began(the_try, payload)

    def present(self) -> dict[str, Job]:
        """The jobs that are there now."""
        now = self.clock()
        for name in [name for name, job in self.jobs.items() if job.vanishes is not None and now >= job.vanishes]:
            del self.jobs[name]
        return self.jobs

    def alive(self) -> list[str]:
        """The jobs that have not ended."""
        return [name for name, job in self.present().items() if not job.status(self.clock()).is_terminal]


def _text(spec: str | Specification) -> str:
    text = spec if isinstance(spec, str) else spec.text
    assert text is not None  # the workload's jobs are given inline
    return text


class JobServicesTwin(JobServices):
    """One session."""

    def __init__(self, account: Account, passage: Passage) -> None:
        self._account = account
        self._passage = passage

    @verb
    def submit(
        self,
        name: str,
        compute_pool: str,
        spec: str | Specification,
        comment: str,
        query_warehouse: str | None = None,
        *,
        replicas: int | None = None,
        integrations: Sequence[str] = (),
    ) -> None:
        """Start a job, or adopt the one of this name if its comment is the same."""
        del compute_pool, query_warehouse, replicas, integrations
        known = self._account.present().get(name)
        if known is None:
            env = orjson.loads(_text(spec))["spec"]["containers"][0]["env"]
            the_try = Try(env["FRESHET_RUN_ID"], env["FRESHET_TASK"], env["FRESHET_ITEM"], int(env["FRESHET_ATTEMPT"]))
            self._account.launch(name, the_try, orjson.loads(env["FRESHET_PAYLOAD"]), comment)
        elif known.comment != comment:
            raise JobNameTakenError(f"A job service {name} exists and is not this attempt's.", errno=TAKEN)

    @verb
    def list_jobs(self, prefix: str) -> list[JobRow]:
        """All jobs whose name begins so."""
        return [self._row(name, job) for name, job in self._account.present().items() if name.startswith(prefix)]

    @verb
    def describe(self, name: str) -> JobRow | None:
        """One job."""
        job = self._account.present().get(name)
        return None if job is None else self._row(name, job)

    @verb
    def pool(self, name: str) -> PoolRow | None:
        """A pool that is always up."""
        return PoolRow(name=name, state="ACTIVE", family="CPU_X64_XS", max_nodes=1, active_nodes=1, auto_resume=True)

    @verb
    def table_rows(self, name: str, take: Callable[[Row], bool]) -> None:
        """There are no tables here."""
        del take
        raise SnowflakeRefusedError(f"Object '{name}' does not exist or not authorized.", errno=MISSING)

    @verb
    def history(self, name: str) -> JobRow | None:
        """Nobody knows."""
        del name
        return None

    @verb
    def containers(self, name: str) -> list[ContainerRow]:
        """The job's one container."""
        job = self._account.present().get(name)
        if job is None:
            return []
        status = job.status(self._account.clock())
        code = {JobStatus.DONE: 0, JobStatus.FAILED: 1}.get(status)
        return [
            ContainerRow(
                instance_id="0",
                name="main",
                status=status.value,
                message="",
                image="image",
                exit_code=code,
                started_on=None,
            )
        ]

    @verb
    def pools(self) -> list[PoolRow]:
        """The one pool, which has room for all."""
        return [
            PoolRow(name="POOL", family="CPU_X64_XS", state="ACTIVE", max_nodes=1000, active_nodes=1, auto_resume=True)
        ]

    @verb
    def logs(self, name: str, container: str = "main", lines: int | None = None, instance: int = 0) -> str:
        """Its result as the last line, as much of it as it has printed by now."""
        del container, lines, instance
        job = self._account.present().get(name)
        return "" if job is None else job.printed(self._account.clock())

    @verb
    def cancel(self, name: str) -> None:
        """Stop a job; it takes a moment."""
        job = self._account.present().get(name)
        now = self._account.clock()
        if job is not None and job.cancelled is None and not job.status(now).is_terminal:
            job.cancelled = now + job.plan.after

    @verb
    def drop(self, name: str) -> None:
        """Drop a job with its logs."""
        self._account.present().pop(name, None)

    def close(self) -> None:
        """Nothing is open."""

    def _row(self, name: str, job: Job) -> JobRow:
        return JobRow(name=name, status=job.status(self._account.clock()), compute_pool="POOL", comment=job.comment)
