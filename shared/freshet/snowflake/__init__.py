"""Snowflake: job services (SPCS) and plain statements, over connector 4.8 and 5.x. The only home of the connector.

Purpose: submit, list, watch, cancel and drop job services, run SQL, and start queries that are found again by a tag.
Guarantees: nothing connects and the connector is not imported before the first statement; a lost session is opened
anew; every error is one of `errors`, which says whether trying again can help. Never: the life of a job or of such a
query depends on a session of ours.
"""

from freshet.snowflake.errors import (
    JobNameTakenError,
    SnowflakeError,
    SnowflakeLoginRefusedError,
    SnowflakeRefusedError,
    SnowflakeUnreachableError,
)
from freshet.snowflake.jobs import JobServices
from freshet.snowflake.queries import Place, Queries, QueryRow
from freshet.snowflake.rows import ContainerRow, JobRow, JobStatus, PoolRow
from freshet.snowflake.session import SnowflakeSession
from freshet.snowflake.settings import SnowflakeSettings
from freshet.snowflake.specification import Specification, json_for_yaml, template_value

__all__ = [
    "ContainerRow",
    "JobNameTakenError",
    "JobRow",
    "JobServices",
    "JobStatus",
    "Place",
    "PoolRow",
    "Queries",
    "QueryRow",
    "SnowflakeError",
    "SnowflakeLoginRefusedError",
    "SnowflakeRefusedError",
    "SnowflakeSession",
    "SnowflakeSettings",
    "SnowflakeUnreachableError",
    "Specification",
    "json_for_yaml",
    "template_value",
]
