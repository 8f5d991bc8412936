"""What Snowflake's words mean: each documented message has one class. No server is needed."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from freshet.domain.model import JobServiceSpec
from freshet.execution.job_outcome import gone, not_started, outcome_of
from freshet.execution.job_refusal import refusal
from freshet.execution.job_result import json_value
from freshet.snowflake import ContainerRow, JobRow, JobStatus, PoolRow, SnowflakeRefusedError


def container(message: str, exit_code: int | None = None, status: str = "FAILED") -> ContainerRow:
    return ContainerRow(
        instance_id="0", name="main", status=status, message=message, image="/i:1", exit_code=exit_code, started_on=None
    )


def job(status: JobStatus, message: str | None = None) -> JobRow:
    return JobRow(name="J", status=status, compute_pool="P", message=message)


@pytest.mark.parametrize(
    ("message", "code", "status", "kind"),
    [
        ("User application error, check container logs", 3, "failed", "user"),
        ("User application error, check container logs", 137, "failed", "user"),
        ("Encountered fatal error while running, check container logs", None, "failed", "user"),
        ("Encountered fatal error while starting container", None, "failed", "user"),
        ("Container was OOMKilled due to resource usage", 137, "failed", "oom"),
        ("Provided image name uses an invalid format", None, "failed", "image"),
        ("Failed to pull image", None, "failed", "image"),
        ("Compute pool node was lost", None, "lost", "node_lost"),
        ("Compute pool node was lost", 143, "lost", "node_lost"),
        ("Encountered fatal error", None, "lost", "internal"),
        ("", None, "lost", "platform"),
    ],
)
def test_a_failed_container_is_judged_by_its_message(message: str, code: int | None, status: str, kind: str) -> None:
    found = outcome_of(JobStatus.FAILED, [container(message, code)], "", limit=100)
    assert (found.status, found.error and found.error["class"]) == (status, kind)
    assert found.job_ended == (status == "lost")


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (JobStatus.INTERNAL_ERROR, "", "internal"),
        (JobStatus.INTERNAL_ERROR, "Compute pool node was lost", "node_lost"),
        (JobStatus.CANCELLED, "Terminating", "cancelled"),
        (JobStatus.DELETED, "", "cancelled"),
    ],
)
def test_a_job_that_did_not_fail_by_itself_is_a_loss(status: JobStatus, message: str, kind: str) -> None:
    found = outcome_of(status, [container(message)], "", limit=100)
    assert (found.status, found.error and found.error["class"], found.job_ended) == ("lost", kind, True)


@pytest.mark.parametrize(
    ("message", "pool", "status", "kind"),
    [
        ("Failed to pull image", "ACTIVE", "failed", "image"),
        ("Readiness probe is failing at path /, port 80", "ACTIVE", "failed", "user"),
        ("Unschedulable due to insufficient memory resources", "ACTIVE", "lost", "capacity"),
        ("Compute pool node(s) are being provisioned", "RESIZING", "lost", "capacity"),
        ("Waiting to start", "SUSPENDED", "lost", "capacity"),
        ("", "ACTIVE", "lost", "capacity"),
    ],
)
def test_a_container_that_does_not_start_is_judged_by_what_it_waits_for(
    message: str, pool: str, status: str, kind: str
) -> None:
    row = PoolRow(name="P", state=pool, family="F", max_nodes=1, active_nodes=1, auto_resume=False)
    for known in (row, None):
        found = not_started(1.0, [container(message, status="PENDING")], job(JobStatus.PENDING), known)
        assert (found.status, found.error and found.error["class"]) == (status, kind)


@pytest.mark.parametrize(
    ("past", "status", "kind"),
    [
        (None, "lost", "lost"),
        (job(JobStatus.RUNNING), "lost", "lost"),
        (job(JobStatus.DONE), "succeeded", None),
        (job(JobStatus.FAILED, "User application error, check container logs"), "failed", "user"),
        (job(JobStatus.FAILED), "lost", "lost"),
        (job(JobStatus.CANCELLED), "lost", "cancelled"),
        (job(JobStatus.INTERNAL_ERROR, "x"), "lost", "internal"),
    ],
)
def test_a_job_that_is_gone_is_judged_by_the_history(past: JobRow | None, status: str, kind: str | None) -> None:
    found = gone(past)
    assert (found.status, found.error and found.error["class"]) == (status, kind)


@pytest.mark.parametrize(
    ("errno", "text", "sentence"),
    [
        (
            2003,
            (
                "002003 (02000): 0199b2a0-0000-0000-0000-00000000000a: SQL compilation error:\nCompute Pool 'p' does"
                " not exist or not authorized."
            ),
            "Snowflake refused the job: compute pool POOL does not exist, or our role lacks USAGE on it.",
        ),
        (
            2003,
            "002003 (02000): SQL compilation error:\nSchema 'D.S' does not exist or not authorized.",
            "Snowflake refused the job: schema D.S does not exist, or our role lacks USAGE and CREATE SERVICE on it.",
        ),
        (
            3001,
            "003001 (42501): SQL access control error:\nInsufficient privileges to operate on schema 'S'",
            (
                "Snowflake refused the job for want of a privilege of our role:"
                " Insufficient privileges to operate on schema 'S'"
            ),
        ),
        (395018, "395018 (22023): Invalid spec: x\n is wrong", "Snowflake refused the job: Invalid spec: x is wrong"),
    ],
)
def test_a_refusal_is_one_sentence_that_names_the_object(errno: int, text: str, sentence: str) -> None:
    spec = JobServiceSpec(compute_pool="POOL", image="/i:1")
    assert refusal(SnowflakeRefusedError(text, errno=errno), spec) == sentence


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Decimal("1.25"), 1.25),
        (Decimal("3.00"), 3),
        (Decimal("0.1"), 0.1),
        (Decimal("12345678901234567890.5"), "12345678901234567890.5"),
        (Decimal(10) ** 37, "1" + "0" * 37),
        (2**63, 2**63),
        (-(2**70), str(-(2**70))),
        (dt.date(2026, 3, 1), "2026-03-01"),
        (dt.datetime(2026, 3, 1, 10, 20, tzinfo=dt.UTC), "2026-03-01T10:20:00+00:00"),
        (b"\x00\xff", "00ff"),
        (True, True),
        (None, None),
        ("text", "text"),
    ],
)
def test_a_value_of_a_table_is_json_without_loss(value: Any, shown: Any) -> None:
    assert json_value(value) == shown
    assert type(json_value(value)) is type(shown)
