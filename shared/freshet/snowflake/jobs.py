"""Job services: submit, list, watch, read logs, cancel, drop.

Names are idempotency keys: submitting the same job twice, with the same comment, launches it once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from freshet.snowflake.errors import (
    GONE,
    NO_TABLE_FUNCTION,
    TAKEN,
    JobNameTakenError,
    SnowflakeRefusedError,
)
from freshet.snowflake.rows import ContainerRow, JobRow, PoolRow, Row, container_row, history_row, job_row, pool_row
from freshet.snowflake.session import Parameters, SnowflakeSession
from freshet.snowflake.settings import SnowflakeSettings
from freshet.snowflake.specification import Specification
from freshet.snowflake.text import (
    MAX_NAME,
    identifier,
    is_job_name,
    like_name,
    like_prefix,
    literal,
    object_name,
    stored_name,
)

MAIN_CONTAINER = "main"
# What SYSTEM$GET_SERVICE_LOGS says of a container that has not started yet (its number is not documented).
NOT_STARTED = "Container Status: PENDING"
HISTORY_ROWS = 10_000
HISTORY = "SELECT name, status, compute_pool_name, created_time, completed_time, deleted_time, message"


class JobServices:
    """The job services of one schema, over one session; threads take turns (see SnowflakeSession).

    Every method raises SnowflakeUnreachableError when trying again may help, and SnowflakeRefusedError when not.
    """

    def __init__(self, settings: SnowflakeSettings) -> None:
        self._session = SnowflakeSession(settings)
        self._schema = f"{identifier(settings.database)}.{identifier(settings.schema)}"

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
        """Start a job (`spec`: JSON text, or where it is), or adopt the one of this name if it is the same attempt's.

        The answer to a submit can get lost, and connectors repeat requests by themselves: a name in use is no error
        as long as the job is ours, which the first line of its comment says. Raises JobNameTakenError if it is not;
        SnowflakeRefusedError 2003 for a pool that does not exist, and whatever number a refused specification has.
        """
        if not is_job_name(name):
            raise SnowflakeRefusedError(
                f"'{name}' can't be a job service's name: letters, digits and _, at most {MAX_NAME}."
            )
        source = Specification(text=spec) if isinstance(spec, str) else spec
        options = {
            "REPLICAS": None if replicas is None else str(replicas),
            "QUERY_WAREHOUSE": query_warehouse and identifier(query_warehouse),
            "EXTERNAL_ACCESS_INTEGRATIONS": integrations and f"({', '.join(map(identifier, integrations))})",
            "COMMENT": literal(comment),
        }
        try:
            statement = self._submit_statement(name, compute_pool, source, options)
        except ValueError as error:
            raise SnowflakeRefusedError(f"The specification can't be named in a statement: {error}.") from error
        try:
            self._session.execute(statement)
        except SnowflakeRefusedError as error:
            if error.errno != TAKEN:
                raise
            self._adopt(name, comment, error)

    def _submit_statement(
        self, name: str, compute_pool: str, source: Specification, options: Mapping[str, str | Sequence[str] | None]
    ) -> str:
        given = "".join(f" {option} = {value}" for option, value in options.items() if value)
        return (
            f"EXECUTE JOB SERVICE IN COMPUTE POOL {identifier(compute_pool)} NAME = {self._full(name)} ASYNC = TRUE"
            f"{given} {source.clause()}"
        )

    def _adopt(self, name: str, comment: str, error: SnowflakeRefusedError) -> None:
        if not self.is_ours(name, comment):
            raise JobNameTakenError(
                f"A job service {self._full(name)} exists and is not this attempt's; drop it or rename ours.",
                errno=error.errno,
                sqlstate=error.sqlstate,
            ) from error

    def is_ours(self, name: str, comment: str) -> bool:
        """Whether there is a job of this name that was submitted with this comment; its first line decides."""
        found = self.describe(name)
        return found is not None and _first_line(found.comment) == _first_line(comment)

    def list_jobs(self, prefix: str) -> list[JobRow]:
        """All jobs whose name begins with `prefix`, in one statement that needs no warehouse (at most 10,000)."""
        rows = self._session.execute(f"SHOW JOB SERVICES LIKE {literal(like_prefix(prefix))} IN SCHEMA {self._schema}")
        return [job_row(row) for row in rows if str(row["name"]).startswith(prefix.upper())]

    def describe(self, name: str) -> JobRow | None:
        """One job; None if it does not exist, or we may not see it (Snowflake does not tell these apart)."""
        try:
            return job_row(self._session.execute(f"DESCRIBE SERVICE {self._full(name)}")[0])
        except SnowflakeRefusedError as error:
            if error.errno not in GONE:
                raise
            return None

    def history(self, name: str) -> JobRow | None:
        """What became of a job that is gone; None if nobody knows, or the account has no job history."""
        place = self._session.settings
        wanted = {"name": name, "database_name": place.database, "schema_name": place.schema}
        conditions = " AND ".join(f"{column} = {literal(stored_name(value))}" for column, value in wanted.items())
        source = f"TABLE(SNOWFLAKE.SPCS.GET_JOB_HISTORY(RESULT_LIMIT => {HISTORY_ROWS}))"
        statement = f"{HISTORY} FROM {source} WHERE {conditions} ORDER BY created_time DESC LIMIT 1"
        try:
            rows = self._session.execute(statement)
        except SnowflakeRefusedError as error:
            if error.errno not in GONE | {NO_TABLE_FUNCTION}:
                raise
            return None
        return history_row(rows[0]) if rows else None

    def containers(self, name: str) -> list[ContainerRow]:
        """The containers of a job with message and exit code; none if the job is gone."""
        try:
            rows = self._session.execute(f"SHOW SERVICE CONTAINERS IN SERVICE {self._full(name)}")
        except SnowflakeRefusedError as error:
            if error.errno not in GONE:
                raise
            return []
        return [container_row(row) for row in rows]

    def pools(self) -> list[PoolRow]:
        """The compute pools that our role may see, in one statement that needs no warehouse."""
        return [pool_row(row) for row in self._session.execute("SHOW COMPUTE POOLS")]

    def logs(self, name: str, container: str = MAIN_CONTAINER, lines: int | None = None, instance: int = 0) -> str:
        """What a container wrote, at most the last 100 KB; "" if it has not started or the job is gone."""
        arguments = [literal(self._full(name)), literal(str(instance)), literal(container)]
        arguments += [] if lines is None else [str(lines)]
        try:
            rows = self._session.execute(f"SELECT SYSTEM$GET_SERVICE_LOGS({', '.join(arguments)}) AS logs")
        except SnowflakeRefusedError as error:
            if NOT_STARTED not in error.message and error.errno not in GONE:
                raise
            return ""
        return str(rows[0]["logs"] or "")

    def cancel(self, name: str) -> None:
        """Stop a job: SIGTERM, 30 s, SIGKILL. Nothing happens if it has ended or is gone."""
        try:
            self._session.execute(f"CALL {self._full(name)}!SPCS_CANCEL_JOB()")
        except SnowflakeRefusedError:
            # What Snowflake answers for an ended job is not documented; what counts is whether it still runs.
            found = self.describe(name)
            if found is not None and not found.status.is_terminal:
                raise

    def drop(self, name: str) -> None:
        """Drop a job with its logs, stopping it if it runs. Nothing happens if it is gone."""
        self._session.execute(f"DROP SERVICE IF EXISTS {self._full(name)}")

    def pool(self, name: str) -> PoolRow | None:
        """A compute pool; None if there is none of this name, or we may not see it."""
        rows = self._session.execute(f"SHOW COMPUTE POOLS LIKE {literal(like_name(stored_name(name)))}")
        return next((pool_row(row) for row in rows if row["name"] == stored_name(name)), None)

    def table_rows(self, name: str, take: Callable[[Row], bool]) -> None:
        """Hand the rows of a table or view to `take`, one by one, as long as it answers true.

        `name` is looked up in our database and schema. Raises ValueError if it can't be a name.
        """
        self._session.each(f"SELECT * FROM {object_name(name)}", take)  # noqa: S608  (a name and nothing else)

    def execute(self, sql: str, parameters: Parameters = None) -> list[Row]:
        """Any statement; rows by lower-case column name."""
        return self._session.execute(sql, parameters)

    def close(self) -> None:
        """Log out."""
        self._session.close()

    def _full(self, name: str) -> str:
        return f"{self._schema}.{identifier(name)}"


def _first_line(comment: str | None) -> str:
    return (comment or "").partition("\n")[0]
