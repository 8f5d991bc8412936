"""The nouns of a workflow definition, as the core sees them.

Purpose: one frozen form of a definition for dispatcher, worker and api alike; `freshet.definition` makes it from
YAML, JSON or Python. Guarantees: immutable, compared by value, standard library only. Never: a clock, a driver, or a
state of a run (that is `freshet.domain.states`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NewType
from uuid import UUID

RunId = NewType("RunId", UUID)
TaskRunId = NewType("TaskRunId", int)
ItemId = NewType("ItemId", int)
BundleId = NewType("BundleId", int)

#: Bits of an item's key that hold its index in the map; the rest is the TaskRun's id. An expansion so owns a
#: contiguous block, and a bundle of neighbours is a range.
INDEX_BITS = 24
#: The widest map: 16,777,216 items.
MAX_ITEMS = 1 << INDEX_BITS


class Kind(StrEnum):
    """Who executes a task."""

    PROCESS = "process"  # a Python callable on the worker's Postgres session
    JOB_SERVICE = "job_service"  # a container in an SPCS compute pool
    SQL = "sql"  # a script on Postgres
    PYTHON = "python"  # a script in a child process
    MAP = "map"  # a nested map: nobody executes it, its elements are scopes with tasks of their own


class RunIf(StrEnum):
    """The rule that a task's parents must satisfy, judged when all of them are final."""

    ALL_SUCCEEDED = "all_succeeded"  # every parent is good: succeeded, or failed under `continue`
    ALL_DONE = "all_done"  # always
    ANY_FAILED = "any_failed"  # some parent failed, `continue` or not
    ANY_SUCCEEDED = "any_succeeded"  # some parent succeeded


class OnFailure(StrEnum):
    """What a task's failure does to its children and to the run."""

    BLOCK = "block"  # children under all_succeeded are skipped and the run fails
    CONTINUE = "continue"  # the failure counts as good; children get null


class CatchUp(StrEnum):
    """What becomes of ticks that were missed while nobody ticked."""

    NONE = "none"  # they are dropped
    LATEST = "latest"  # only the newest missed tick runs
    ALL = "all"  # each missed tick runs


class Overlap(StrEnum):
    """What becomes of a tick while an earlier run of the workflow is not final."""

    SKIP = "skip"  # a run in state skipped
    QUEUE = "queue"  # the run waits, pending, until the earlier one ends
    ALLOW = "allow"  # both run


class Trigger(StrEnum):
    """Why a run started."""

    SCHEDULE = "schedule"
    CALL = "call"
    EVENT = "event"
    BACKFILL = "backfill"
    RERUN = "rerun"
    PARENT = "parent"


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """How the user's failures are tried again; losses are retried besides and are not counted here."""

    limit: int = 0  # further tries after the first
    delay: float = 0.0  # seconds before the first retry
    factor: float = 1.0  # each further delay is the last one times this
    cap: float = 3600.0  # seconds; no delay is longer, jitter included
    jitter: float = 0.0  # 0..1: the delay is drawn from delay × [1 - jitter, 1 + jitter]


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessSpec:
    """A named, versioned Python callable. `version` is None until apply resolves it."""

    name: str
    version: str | None = None
    isolation: str = "warm"  # or "process": a fresh child for each item

    @property
    def ref(self) -> str:
        """`name@version`, which is also the process's own queue."""
        return f"{self.name}@{self.version}"


#: What a container, or a template, is told about its try.
CONTEXT_VARIABLES = (
    "FRESHET_PAYLOAD",
    "FRESHET_PAYLOAD_URL",
    "FRESHET_RUN_ID",
    "FRESHET_WORKFLOW",
    "FRESHET_TASK",
    "FRESHET_ITEM",
    "FRESHET_ATTEMPT",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class JobServiceSpec:
    """A job in a compute pool. One of `image`, `spec`, `spec_file`, `spec_template` and `spec_template_file` is set.

    Arguments, commands, values of `env` and `using`, `comment` and `result_table` may hold `${{ … }}` (CEL). Mappings
    within are in SPCS's own words.
    """

    compute_pool: str
    image: str | None = None
    args: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[Mapping[str, Any], ...] = ()  # names of Snowflake's secret objects, never values
    resources: Mapping[str, Any] = field(default_factory=dict)
    volumes: tuple[Mapping[str, Any], ...] = ()
    volume_mounts: tuple[Mapping[str, Any], ...] = ()
    spec: Mapping[str, Any] | None = None  # with `spec` on top, or only what stands under it
    spec_file: str | None = None  # @stage/path
    spec_template: str | None = None
    spec_template_file: str | None = None  # @stage/path
    using: Mapping[str, str] = field(default_factory=dict)
    replicas: int | None = None
    query_warehouse: str | None = None
    external_access_integrations: tuple[str, ...] = ()
    comment: str | None = None
    result_table: str | None = None  # whose rows are the result, instead of the last JSON line
    start_timeout: float = 900.0  # seconds from submit to the container's start


#: The connections that every installation has by these names: its own Postgres, and the account of its job services.
ENGINE, SNOWFLAKE = "postgres", "snowflake"


@dataclass(frozen=True, kw_only=True, slots=True)
class SqlSpec:
    """A script; `:payload` is bound, the result is the last statement's rows. `database` to `role` are what a Snowflake
    session begins with, None: what the connection says.
    """

    on: str = ENGINE  # or SNOWFLAKE, or the name of a connection
    text: str
    database: str | None = None
    schema: str | None = None
    warehouse: str | None = None
    role: str | None = None

    @property
    def elsewhere(self) -> bool:
        """Whether it runs in another database than the engine's."""
        return self.on != ENGINE


@dataclass(frozen=True, kw_only=True, slots=True)
class PythonSpec:
    """A script run in a child process: payload on stdin, result = its last JSON line."""

    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A node of a workflow. Exactly one of the four specs is set, or `tasks` for a nested map."""

    name: str  # within its scope, no dots
    path: str  # from the workflow's root, dotted: documents.part
    kind: Kind
    after: tuple[str, ...] = ()  # names of parents within the same scope
    for_each: str | None = None  # CEL over params, tasks.X.result, item, run; a list or a whole number
    input: str | None = None  # CEL that replaces the payload
    run_if: RunIf = RunIf.ALL_SUCCEEDED
    on_failure: OnFailure = OnFailure.BLOCK
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    timeout: float | None = None  # seconds for one try
    queue: str | None = None  # None: the kind's own queue
    process: ProcessSpec | None = None
    job_service: JobServiceSpec | None = None
    sql: SqlSpec | None = None
    python: PythonSpec | None = None
    tasks: tuple[Task, ...] = ()  # the scope of a nested map
    result: str | None = None  # the inner task whose result is the element's

    @property
    def mapped(self) -> bool:
        """Whether the task fans out."""
        return self.for_each is not None

    @property
    def single(self) -> bool:
        """Whether a bundle holds one item of it: what runs in another system is watched item by item."""
        return self.kind is Kind.JOB_SERVICE or (self.sql is not None and self.sql.elsewhere)

    @property
    def queue_name(self) -> str:
        """The queue its bundles travel in."""
        if self.queue is not None:
            return self.queue
        if self.sql is not None and self.sql.elsewhere:
            return f"{self.kind.value}@{self.sql.on}"
        return self.process.ref if self.process is not None else self.kind.value


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """When runs start by themselves: `every` (seconds) or `cron` in an IANA zone, never both."""

    every: float | None = None
    cron: str | None = None
    timezone: str = "UTC"
    catch_up: CatchUp = CatchUp.NONE
    overlap: Overlap = Overlap.SKIP


@dataclass(frozen=True, kw_only=True, slots=True)
class EventTrigger:
    """A CloudEvents type that starts a run; `params` maps parameter names to CEL over `event`."""

    event: str
    when: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Param:
    """A parameter of a workflow. `type` is a JSON type name; `required` when there is no default."""

    name: str
    type: str = "string"  # string | integer | number | boolean | array | object
    default: Any = None
    required: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Workflow:
    """One version's definition: tasks and the edges between them."""

    name: str
    schedule: Schedule | None = None
    triggers: tuple[EventTrigger, ...] = ()
    params: tuple[Param, ...] = ()
    priority: int = 100  # lower goes first
    tasks: tuple[Task, ...] = ()
    finals: tuple[Task, ...] = ()  # the `finally` tasks
    root_task_name: str | None = None  # `root_task` when imported from a jobconfig
    # A batch looks tasks up by the thousand.
    _by_path: Mapping[str, Task] = field(init=False, repr=False, compare=False, default_factory=dict)
    _children: Mapping[str, tuple[str, ...]] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        by_path = {task.path: task for task in self.walk()}
        object.__setattr__(self, "_by_path", by_path)
        object.__setattr__(self, "_children", _children(by_path.values()))

    def walk(self) -> Iterator[Task]:
        """Every task of every scope, parents before inner tasks, in the order of declaration."""
        yield from _walk(self.tasks)
        yield from _walk(self.finals)

    def task(self, path: str) -> Task:
        """The task at a dotted path. Raises KeyError."""
        return self._by_path[path]

    def children(self, path: str) -> tuple[str, ...]:
        """The paths of the tasks that come after a task, in the order of declaration."""
        return self._children.get(path, ())

    def scope(self, path: str) -> tuple[Task, ...]:
        """The tasks of a scope: the workflow's own (with its finals) for "", else those of the nested map."""
        return self.tasks + self.finals if path == "" else self.task(path).tasks


def sibling(path: str, name: str) -> str:
    """The path of the task of this name in the same scope."""
    scope = path.rpartition(".")[0]
    return f"{scope}.{name}" if scope else name


def _children(tasks: Iterable[Task]) -> dict[str, tuple[str, ...]]:
    children: dict[str, tuple[str, ...]] = {}
    for task in tasks:
        for name in task.after:
            parent = sibling(task.path, name)
            children[parent] = (*children.get(parent, ()), task.path)
    return children


def _walk(tasks: tuple[Task, ...]) -> Iterator[Task]:
    for task in tasks:
        yield task
        yield from _walk(task.tasks)
