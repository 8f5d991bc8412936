"""The shape of a workflow file: what a task, a schedule and the rest may hold.

Purpose: the edge where YAML, JSON and HTTP bodies become typed values; the published JSON Schema is made
from it. Guarantees: no key that is not known, no value of another type. Never: used beyond
`freshet.definition`; inside, the nouns of `freshet.domain.model` are used.
"""

from __future__ import annotations

import ast
import difflib
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    model_validator,
)

from freshet.definition import sql_script
from freshet.definition.fields import (
    Cel,
    Condition,
    ConnectionName,
    CronText,
    Delay,
    EventType,
    ForEach,
    Identifier,
    Interval,
    Json,
    ParamName,
    Parents,
    ProcessName,
    ProcessVersion,
    QueueName,
    TaskName,
    Timeout,
    WorkflowName,
    Zone,
    refusal,
)
from freshet.definition.file_part import FilePart
from freshet.definition.job_service_file import JobServiceFile
from freshet.domain.model import ENGINE, SNOWFLAKE
from freshet.expressions import has_template
from freshet.snowflake import script

KINDS = ("process", "job_service", "sql", "python", "tasks")
MAX_SCRIPT_BYTES = 1024 * 1024


def _split_reference(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    name, at, version = value.partition("@")
    return {"name": name, "version": version} if at else {"name": name}


class ProcessFile(FilePart):
    """A named, versioned Python callable."""

    name: ProcessName
    version: ProcessVersion | None = None
    isolation: Literal["warm", "process"] = "warm"


ProcessReference = Annotated[
    ProcessFile,
    BeforeValidator(_split_reference, json_schema_input_type=str | ProcessFile),
]


def _inlined(path: str, info: ValidationInfo) -> str:
    """The text of a file that stands beside the workflow's."""
    base: Path | None = (info.context or {}).get("base")
    if base is None:
        sentence = "names a file, which only `freshet apply` can read; send the text instead"
        raise refusal("file_not_inlined", sentence)
    try:
        raw = (base / path).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "that is not a path"
        raise refusal("unreadable_file", f"can't be read: {base / path}: {reason}") from error
    return _decoded(raw, base / path)


def _decoded(raw: bytes, path: Path) -> str:
    if len(raw) > MAX_SCRIPT_BYTES:
        sizes = f"{path} has {len(raw)} bytes, at most {MAX_SCRIPT_BYTES} are read"
        raise refusal("file_too_large", f"is refused: {sizes}")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise refusal("not_utf8", f"is refused: {path} is not UTF-8") from error


def _plain_script(text: str) -> str:
    if not text.strip():
        raise refusal("empty_script", "holds no script")
    if has_template(text):
        raise refusal(
            "template_in_script",
            "holds ${{ … }}, which is not replaced in scripts; read the payload, which `input:` sets",
        )
    return text


def _allowed_sql(text: str, info: ValidationInfo) -> str:
    """Checked by the rules of where it runs; what a named connection leads to is known to its workers alone."""
    check = _SQL_CHECKS.get(info.data.get("on", ""))
    reason = None if check is None else check(text)
    if reason is not None:
        raise refusal("sql_refused", f"is refused: {reason}")
    return text


def _snowflake_refusal(text: str) -> str | None:
    try:
        return None if script.statements(text) else "the script holds no statement"
    except script.ScriptError as error:
        return error.message


_SQL_CHECKS = {ENGINE: sql_script.refusal, SNOWFLAKE: _snowflake_refusal}


def _readable_python(text: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except (SyntaxError, ValueError) as error:
        where = f" on line {error.lineno} of the script" if isinstance(error, SyntaxError) else ""
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise refusal("bad_python", f"is refused: the script can't be read{where}: {reason}") from error
    return text


_Script = AfterValidator(_plain_script)
_Sql = AfterValidator(_allowed_sql)
_Python = AfterValidator(_readable_python)
_Inlined = AfterValidator(_inlined)


class ScriptFile(FilePart):
    """A script, given as `text` or as the name of a `file`."""

    text: str | None = None
    file: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.text is None) == (self.file is None):
            raise refusal("one_of", "needs either `text` or `file`, and not both")
        return self

    @property
    def script(self) -> str:
        """The text, wherever it came from."""
        return self.text or self.file or ""


class SqlPlace(FilePart):
    """Where a script runs, and in a Snowflake session, what it begins with."""

    on: ConnectionName = ENGINE
    database: Identifier | None = None
    schema_: Identifier | None = Field(default=None, alias="schema")
    warehouse: Identifier | None = None
    role: Identifier | None = None

    @model_validator(mode="after")
    def _session_elsewhere(self) -> Self:
        given = [name for name in ("database", "schema", "warehouse", "role") if self.begins_with[name] is not None]
        if self.on == ENGINE and given:
            raise refusal("not_for_postgres", f"runs on postgres and takes no `{given[0]}`; say `on: snowflake`")
        return self

    @property
    def begins_with(self) -> dict[str, str | None]:
        """Database, schema, warehouse and role of the session."""
        return {"database": self.database, "schema": self.schema_, "warehouse": self.warehouse, "role": self.role}


class SqlFile(ScriptFile, SqlPlace):
    """A script on the engine's Postgres, on Snowflake or on a named connection; `:payload` is bound, the result is the
    last statement's rows.
    """

    text: Annotated[str, _Script, _Sql] | None = None
    file: Annotated[str, _Inlined, _Script, _Sql] | None = None


class PythonFile(ScriptFile):
    """A script in a child process; payload on stdin, the result is its last JSON line."""

    text: Annotated[str, _Script, _Python] | None = None
    file: Annotated[str, _Inlined, _Script, _Python] | None = None


def _limit_only(value: Any) -> Any:
    return {"limit": value} if isinstance(value, int) and not isinstance(value, bool) else value


class RetriesFile(FilePart):
    """How the user's failures are tried again."""

    limit: Annotated[int, Field(ge=0, le=1000)] = 0
    delay: Delay = 0.0
    factor: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = 1.0
    cap: Delay = 3600.0
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.0


def _kind_refusal(data: Json) -> Exception | None:
    """Whether a task has no kind, one that is not known, or two."""
    kinds = [kind for kind in KINDS if data.get(kind) is not None]
    choice = "a task is one of process, job_service, sql, python or has tasks"
    if len(kinds) > 1:
        return refusal("two_kinds", f"has two kinds, {kinds[0]!r} and {kinds[1]!r}; {choice}")
    unknown = [str(key) for key in data if key not in TaskFile.model_fields]
    if kinds:
        return None
    if not unknown:
        return refusal("no_kind", f"has no kind; {choice}")
    close = difflib.get_close_matches(unknown[0], KINDS, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return refusal("unknown_kind", f"has the unknown kind {unknown[0]!r}{hint}; {choice}")


class TaskFile(FilePart):
    """A node of a workflow: one of process, job_service, sql, python, or a nested map with `tasks`."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [kind]} for kind in KINDS]})

    process: ProcessReference | None = None
    job_service: JobServiceFile | None = None
    sql: SqlFile | None = None
    python: PythonFile | None = None
    tasks: dict[TaskName, TaskFile] | None = None
    result: str | None = None
    after: Parents = []
    for_each: ForEach | None = None
    input: Cel | None = None
    run_if: Literal["all_succeeded", "all_done", "any_failed", "any_succeeded"] = "all_succeeded"
    on_failure: Literal["block", "continue"] = "block"
    retries: Annotated[RetriesFile, BeforeValidator(_limit_only, json_schema_input_type=int | RetriesFile)] = (
        RetriesFile()
    )
    timeout: Timeout | None = None
    queue: QueueName | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_kind(cls, data: Any) -> Any:
        reason = _kind_refusal(data) if isinstance(data, dict) else None
        if reason is not None:
            raise reason
        return data

    @model_validator(mode="after")
    def _nobody_executes_a_map(self) -> Self:
        if self.tasks is not None:
            for name in ("retries", "timeout", "queue", "input"):
                if name in self.model_fields_set:
                    sentence = f"is a nested map and takes no `{name}`; put it on its tasks"
                    raise refusal("not_for_maps", sentence)
        return self


class ScheduleFile(FilePart):
    """When runs start by themselves: `every`, or `cron` in a time zone."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["every"]}, {"required": ["cron"]}]})

    every: Interval | None = None
    cron: CronText | None = None
    timezone: Zone = "UTC"
    catch_up: Literal["none", "latest", "all"] = "none"
    overlap: Literal["skip", "queue", "allow"] = "skip"

    @model_validator(mode="after")
    def _one_clock(self) -> Self:
        if (self.every is None) == (self.cron is None):
            raise refusal("one_of", "needs either `every` or `cron`, and not both")
        return self


class TriggerFile(FilePart):
    """A CloudEvents type that starts a run."""

    event: EventType
    when: Condition | None = None
    params: dict[ParamName, Cel] = {}


class ParamFile(FilePart):
    """A parameter: required when it has no default."""

    type: Literal["string", "integer", "number", "boolean", "array", "object"] = "string"
    default: Any = None
    required: bool = False

    @model_validator(mode="after")
    def _default_or_required(self) -> Self:
        if self.required and "default" in self.model_fields_set:
            raise refusal("one_of", "is required and has a default; it can't be both")
        return self

    @property
    def is_required(self) -> bool:
        """Whether a run must give it: no default, and not said to be optional."""
        return not self.model_fields_set & {"default", "required"} or self.required


class WorkflowFile(FilePart):
    """A Freshet workflow."""

    name: WorkflowName
    root_task_name: TaskName | None = None
    schedule: ScheduleFile | None = None
    triggers: list[TriggerFile] = []
    params: dict[ParamName, ParamFile] = {}
    priority: Annotated[int, Field(ge=0, le=32767)] = 100
    tasks: Annotated[dict[TaskName, TaskFile], Field(min_length=1)]
    finals: dict[TaskName, TaskFile] = Field(default={}, alias="finally")
