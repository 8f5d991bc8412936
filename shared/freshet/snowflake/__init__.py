"""Snowflake: job services (SPCS) and plain statements, over connector 4.8 and 5.x. The only home of the connector.

Purpose: submit, list, watch, cancel and drop job services, and run SQL. Guarantees: nothing connects and the
connector is not imported before the first statement; a lost session is opened anew; every error is one of `errors`,
which says whether trying again can help. Never: a job's life depends on a session of ours (`ASYNC = TRUE` only).
"""

from freshet.snowflake.errors import (
    JobNameTakenError,
    SnowflakeError,
    SnowflakeLoginRefusedError,
    SnowflakeRefusedError,
    SnowflakeUnreachableError,
)
from freshet.snowflake.jobs import JobServices
from freshet.snowflake.rows import ContainerRow, JobRow, JobStatus, PoolRow
from freshet.snowflake.session import SnowflakeSession
from freshet.snowflake.settings import SnowflakeSettings

__all__ = [
    "ContainerRow",
    "JobNameTakenError",
    "JobRow",
    "JobServices",
    "JobStatus",
    "PoolRow",
    "SnowflakeError",
    "SnowflakeLoginRefusedError",
    "SnowflakeRefusedError",
    "SnowflakeSession",
    "SnowflakeSettings",
    "SnowflakeUnreachableError",
]
