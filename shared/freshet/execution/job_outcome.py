"""What the end of a job service means.

Purpose: Snowflake's words about job, container and pool become an outcome: which failure, whose, and in which sentence.
Guarantee: `retries` are used up only by what the user's container, image or specification did. Never: a statement to
Snowflake. The words are those of https://docs.snowflake.com/en/developer-guide/snowpark-container-services/monitoring-services
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from freshet.domain.job_failure import JobFailure
from freshet.domain.model import JobServiceSpec
from freshet.execution.contract import MESSAGE_LENGTH, Outcome, failed, printable
from freshet.execution.python import is_json
from freshet.execution.values import ValueRefusedError, encode
from freshet.snowflake import ContainerRow, JobRow, JobStatus, PoolRow

#: Lines at the end of the log that an error quotes.
LAST_LINES = 5
#: What a container's or a job's message says of a kind of failure, the most telling first.
SAYINGS = (
    ("OOMKilled", JobFailure.OOM),
    ("pull image", JobFailure.IMAGE),
    ("invalid format", JobFailure.IMAGE),
    ("node", JobFailure.NODE_LOST),
    ("check container logs", JobFailure.USER),
    ("while starting container", JobFailure.USER),
    ("probe is failing", JobFailure.USER),
    ("fatal error", JobFailure.INTERNAL),
)
#: What the job's status says where no message does.
STATUSES = {
    JobStatus.INTERNAL_ERROR: JobFailure.INTERNAL,
    JobStatus.CANCELLED: JobFailure.CANCELLED,
    JobStatus.DELETED: JobFailure.CANCELLED,
}


def outcome_of(status: JobStatus, containers: Sequence[ContainerRow], log: str, *, limit: int) -> Outcome:
    """The outcome of a job that has ended. `limit`: bytes of JSON of a result."""
    if status is JobStatus.DONE:
        return _succeeded(log, limit)
    container = _culprit(containers)
    if status is not JobStatus.FAILED:
        kind = STATUSES.get(status, JobFailure.PLATFORM)
        if kind is JobFailure.INTERNAL and container is not None and said(container.message) is JobFailure.NODE_LOST:
            kind = JobFailure.NODE_LOST
        reason = f" ({container.message})" if kind is not JobFailure.CANCELLED and container is not None else ""
        return platform_failure(f"The job service ended as {status}{reason}.", kind)
    if container is None:
        return platform_failure("The job service failed, and Snowflake says nothing about its container.")
    return _failed(container, log)


def _failed(container: ContainerRow, log: str) -> Outcome:
    kind = said(container.message)
    if container.exit_code is not None and kind not in (JobFailure.OOM, JobFailure.NODE_LOST):
        kind = JobFailure.USER
    if kind is None or not kind.is_users:
        message = f"The container did not run: {container.message or 'no reason given'}."
        return platform_failure(message, kind or JobFailure.PLATFORM)
    return failed(_sentence(container, log), kind=kind, exit_code=container.exit_code)


def said(message: str | None) -> JobFailure | None:
    """The kind of failure that a message of Snowflake's speaks of."""
    return next((kind for word, kind in SAYINGS if word.lower() in (message or "").lower()), None)


def failure(message: str, kind: JobFailure, **more: Any) -> Outcome:
    """A failure of a kind: the user's, or a loss, which makes a new attempt and uses up none of the user's retries."""
    if kind.is_users:
        return failed(message, kind=kind, **more)
    return platform_failure(message, kind)


def platform_failure(message: str, kind: JobFailure = JobFailure.PLATFORM) -> Outcome:
    """The platform's failure: a new attempt, which uses up none of the user's retries."""
    error = {"class": kind.value, "message": printable(message)[:MESSAGE_LENGTH]}
    return Outcome(status="lost", error=error, job_ended=True)


def timed_out(timeout: float) -> Outcome:
    """The container ran for too long."""
    message = f"The container ran longer than its timeout of {timeout:g} s and was cancelled."
    return failed(message, kind=JobFailure.TIMEOUT, status="timed_out")


def telling(containers: Sequence[ContainerRow]) -> ContainerRow | None:
    """The container that says why a job has not started: one without its image, else the first with a message."""
    speaking = [each for each in containers if each.message]
    return next((each for each in speaking if said(each.message) is JobFailure.IMAGE), next(iter(speaking), None))


def cannot_be_pulled(containers: Sequence[ContainerRow]) -> bool:
    """Whether a container waits for an image that can't be pulled."""
    container = telling(containers)
    return container is not None and said(container.message) is JobFailure.IMAGE


def not_started(timeout: float, containers: Sequence[ContainerRow], job: JobRow, pool: PoolRow | None) -> Outcome:
    """The container did not start in time. `pool` is the job's, None if it is gone or we may not see it."""
    container = telling(containers)
    message = container.message if container is not None else "no reason given"
    kind = said(message)
    if container is not None and kind is JobFailure.IMAGE:
        return failed(
            f"The image {container.image} can't be pulled: it does not exist, or our role lacks READ on its repository"
            f" (Snowflake says: {message}).",
            kind=kind,
        )
    start = f"The container had not started after {timeout:g} s"
    if pool is not None and pool.is_asleep:
        wake = f"ALTER COMPUTE POOL {job.compute_pool} RESUME"
        reason = f"compute pool {job.compute_pool} is suspended and does not resume by itself; say {wake}"
        return platform_failure(f"{start}: {reason}.", JobFailure.CAPACITY)
    if kind is not None and kind.is_users:
        return failed(f"{start}: {message}.", kind=kind)
    where = "" if pool is None else f"; compute pool {pool.name} has {pool.active_nodes} of {pool.max_nodes} nodes busy"
    return platform_failure(f"{start}: {message}{where}.", JobFailure.CAPACITY)


def gone(past: JobRow | None, spec: JobServiceSpec | None = None) -> Outcome:
    """The outcome of a job that is not there any more; `past` is what the job history knows of it."""
    if past is None or not past.status.is_terminal:
        return platform_failure(
            "The job service is gone, and Snowflake does not know what became of it.", JobFailure.LOST
        )
    if past.status is JobStatus.DONE and spec is not None and spec.result_table is not None:
        # The table's name was in the job's comment, and tasks after this one rely on its rows.
        return platform_failure(
            "The job service is done and gone, and with it the name of its result table.", JobFailure.LOST
        )
    if past.status is JobStatus.DONE:
        return Outcome(status="succeeded")
    kind = said(past.message) if past.status is JobStatus.FAILED else STATUSES.get(past.status)
    message = f"The job service is gone; it had ended as {past.status}: {past.message or 'no reason given'}."
    return failure(message, kind or JobFailure.LOST)


def _succeeded(log: str, limit: int) -> Outcome:
    line = next((line for line in reversed(log.splitlines()) if is_json(line.encode("utf-8", "replace"))), None)
    if line is None:
        return Outcome(status="succeeded")
    value = orjson.loads(line.encode("utf-8", "replace"))
    try:
        encode(value, limit=limit)
    except ValueRefusedError as refusal:
        return failed(f"The job's last JSON line can't be kept as its result: {refusal.message}.", type="ValueError")
    return Outcome(status="succeeded", result=value)


def _culprit(containers: Sequence[ContainerRow]) -> ContainerRow | None:
    failures = [each for each in containers if each.status == "FAILED" or each.exit_code]
    return next(iter(failures or containers), None)


def _sentence(container: ContainerRow, log: str) -> str:
    code = "without an exit code" if container.exit_code is None else f"with exit code {container.exit_code}"
    reason = f" ({container.message})" if container.message else ""
    lines = [line for line in log.splitlines() if line.strip()][-LAST_LINES:]
    return "\n".join([f"The container ended {code}{reason}.", *lines])
