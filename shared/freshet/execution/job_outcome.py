"""What the end of a job service means.

Purpose: Snowflake's words about job and container become an outcome: whose failure, and in which sentence. Guarantee:
`retries` are used up only by what the user's container did. Never: a statement to Snowflake.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from freshet.execution.contract import Outcome, failed
from freshet.execution.python import is_json
from freshet.execution.values import ValueRefusedError, encode
from freshet.snowflake import ContainerRow, JobStatus

#: Lines at the end of the log that an error quotes.
LAST_LINES = 5
#: What a container's message says although no exit code does: that the user's own input is wrong.
USERS_FAULT = ("invalid format", "check container logs", "OOMKilled", "while starting container")


def outcome_of(status: JobStatus, containers: Sequence[ContainerRow], log: str, *, limit: int) -> Outcome:
    """The outcome of a job that has ended. `limit`: bytes of JSON of a result."""
    if status is JobStatus.DONE:
        return _succeeded(log, limit)
    if status is not JobStatus.FAILED:
        return platform_failure(f"The job service ended as {status}.")
    container = _culprit(containers)
    if container is None:
        return platform_failure("The job service failed, and Snowflake says nothing about its container.")
    if container.exit_code is None and not any(word in container.message for word in USERS_FAULT):
        return platform_failure(f"The container did not run: {container.message or 'no reason given'}.")
    return failed(_sentence(container, log), exit_code=container.exit_code)


def platform_failure(message: str) -> Outcome:
    """The platform's failure: a new attempt, which uses up none of the user's retries."""
    return Outcome(status="lost", error={"class": "platform", "message": message}, job_ended=True)


def timed_out(timeout: float) -> Outcome:
    """The container ran for too long."""
    message = f"The container ran longer than its timeout of {timeout:g} s and was cancelled."
    return failed(message, kind="timeout", status="timed_out")


def not_started(timeout: float, containers: Sequence[ContainerRow]) -> Outcome:
    """The container did not start in time: a full pool, or an image that can't be pulled."""
    message = next((container.message for container in containers if container.message), "no reason given")
    return platform_failure(f"The container had not started after {timeout:g} s: {message}.")


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
