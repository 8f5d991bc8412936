"""jobconfig.json: the job lists of the SPCS orchestration utility, imported as workflows.

Purpose: an array of flat entries becomes a workflow of job services. Guarantees: the order of entries plays
no part; the same file gives the same document; whatever is wrong is refused with the entry's index and key.
Never: an entry changed or left out. `job_name`, the fixed name of a service there, is checked and not used:
a job's name is made for each attempt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError

from freshet.definition.canonical import normalise
from freshet.definition.document import Document
from freshet.definition.errors import errors_of, pointer, refuse
from freshet.definition.fields import Identifier, Image, TaskName, refusal
from freshet.definition.file_part import FilePart
from freshet.definition.refusals import as_refusals, shown
from freshet.domain.errors import DefinitionError
from freshet.domain.model import OnFailure

ROOT = "root_task"
DEFAULT_IMAGE = "/freshet/public/images/my_job_image:latest"
#: What every job of the original runs (its procedure had it written in).
QUERY = "select current_time() as time,'hello'"

#: When a run was due, or else asked for: the graph_start_time of its rows.
STARTED = "run.scheduled_for == null ? run.created_at : run.scheduled_for"


def _parents(text: str) -> str:
    if not all(name.strip() for name in text.split(",")):
        raise refusal("empty", f"must name the tasks before it, separated by commas, or {ROOT}; not {text!r}")
    return text


class JobEntry(FilePart):
    """An entry: a job, its pool, and the jobs before it."""

    task_name: TaskName
    image_name: Image = DEFAULT_IMAGE
    compute_pool_name: Identifier
    job_name: Identifier
    table_name: Identifier
    retry_count: Annotated[int, Field(ge=0, le=1000)]
    after_task_name: Annotated[str, AfterValidator(_parents)]

    @property
    def parents(self) -> list[str]:
        """The names in `after_task_name`, without spaces and without the root."""
        names = (name.strip() for name in self.after_task_name.split(","))
        return [name for name in names if name != ROOT]


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportOptions:
    """What a jobconfig does not say.

    `schedule` is an ISO 8601 duration, or a cron expression. `on_failure` is `block` or `continue`: in the original a
    job that failed stopped nothing that came after it. `warehouse` is that of the containers' queries.
    """

    schedule: str = "PT59M"
    on_failure: str = "block"
    warehouse: str | None = None


def import_jobconfig(
    data: Any, name: str, schedule: str = "PT59M", *, options: ImportOptions | None = None
) -> dict[str, Any]:
    """The canonical workflow document of a jobconfig's array; `options` go before `schedule`.

    Raises DefinitionError or DefinitionErrors; pointers lead into the array (`/3/retry_count`).
    """
    options = options or ImportOptions(schedule=schedule)
    schedule = options.schedule
    if options.on_failure not in set(OnFailure):
        raise DefinitionError(f"on_failure must be block or continue, not {options.on_failure!r}", code="bad_choice")
    entries = _entries(data)
    refuse(list(_name_problems(entries)))
    document = {
        "name": name,
        "root_task_name": ROOT,
        "schedule": {"cron" if " " in schedule or schedule.startswith("@") else "every": schedule},
        "tasks": {entry.task_name: _task(entry, options) for entry in entries},
    }
    try:
        return normalise(document)
    except DefinitionError as error:
        refuse([_into_array(single, entries) for single in errors_of(error)])
        raise


def import_document(
    document: Document, name: str, schedule: str = "PT59M", *, options: ImportOptions | None = None
) -> dict[str, Any]:
    """The same for a file that was read: refusals have file and line."""
    try:
        return import_jobconfig(document.data, name, schedule, options=options)
    except DefinitionError as error:
        raise document.locate(error) from error


def _entries(data: Any) -> list[JobEntry]:
    if not isinstance(data, list):
        message = f"a jobconfig is an array of jobs, not {shown(data)}"
        raise DefinitionError(message, code="wrong_type")
    if not data:
        raise DefinitionError("a jobconfig needs at least one job", code="empty")
    found: list[JobEntry] = []
    errors: list[DefinitionError] = []
    for index, entry in enumerate(data):
        try:
            found.append(JobEntry.model_validate(entry))
        except ValidationError as error:
            errors += as_refusals(error, JobEntry, at=(index,), subject=_subject(index, entry))
    refuse(errors)
    return found


def _subject(index: int, entry: Any) -> str:
    name = entry.get("task_name") if isinstance(entry, dict) else None
    return f"entry [{index}] ({name})" if isinstance(name, str) else f"entry [{index}]"


def _task(entry: JobEntry, options: ImportOptions) -> dict[str, Any]:
    job = {
        "image": entry.image_name,
        "compute_pool": entry.compute_pool_name,
        "args": [f"--query={QUERY}", f"--result_table={entry.table_name}"],
        "env": {**_runtime_info(entry), **({"SNOWFLAKE_WAREHOUSE": options.warehouse} if options.warehouse else {})},
        **({"query_warehouse": options.warehouse} if options.warehouse else {}),
    }
    retries = {"limit": entry.retry_count}
    return {"job_service": job, "after": entry.parents, "retries": retries, "on_failure": options.on_failure}


def _runtime_info(entry: JobEntry) -> dict[str, str]:
    """What the original asked SYSTEM$TASK_RUNTIME_INFO for, by the names that it has there."""
    return {
        "CURRENT_ROOT_TASK_NAME": ROOT,
        "CURRENT_TASK_NAME": entry.task_name,
        "CURRENT_TASK_GRAPH_RUN_GROUP_ID": "${{ run.group_id }}",
        "CURRENT_TASK_GRAPH_ORIGINAL_SCHEDULED_TIMESTAMP": f"${{{{ {STARTED} }}}}",
    }


def _name_problems(entries: Sequence[JobEntry]) -> Iterator[DefinitionError]:
    counts = Counter(entry.task_name for entry in entries)
    for index, entry in enumerate(entries):
        subject = f"entry [{index}] ({entry.task_name})"
        if entry.task_name == ROOT:
            message = f"{subject}: the name {ROOT} is taken by the root"
            yield DefinitionError(message, code="duplicate_task", pointer=pointer(index, "task_name"))
        if counts[entry.task_name] > 1:
            message = f"{subject}: {counts[entry.task_name]} entries have this task_name"
            yield DefinitionError(message, code="duplicate_task", pointer=pointer(index, "task_name"))
        for code, reason in _parent_problems(entry, counts):
            at = pointer(index, "after_task_name")
            yield DefinitionError(f"{subject}: after_task_name {reason}", code=code, pointer=at)


def _parent_problems(entry: JobEntry, known: Counter[str]) -> Iterator[tuple[str, str]]:
    for name, times in Counter(entry.parents).items():
        if name == entry.task_name:
            yield "self_parent", "names the job itself"
        elif name not in known:
            yield "unknown_parent", f"names {name!r}, which no entry is called"
        if times > 1:
            yield "duplicate_parent", f"names {name!r} twice"


def _into_array(error: DefinitionError, entries: Sequence[JobEntry]) -> DefinitionError:
    """A refusal of the made workflow, told in terms of the array; only a cycle and the two arguments can be
    left.
    """
    steps = error.pointer.split("/")[1:]
    indexes = {entry.task_name: index for index, entry in enumerate(entries)}
    if len(steps) < 2 or steps[0] != "tasks":
        return DefinitionError(error.message, code=error.code)
    index = indexes[steps[1]]
    message = f"entry [{index}] ({steps[1]}): {error.message}"
    return DefinitionError(message, code=error.code, pointer=pointer(index, "after_task_name"))
