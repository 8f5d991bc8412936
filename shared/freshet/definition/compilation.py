"""From a workflow file to the core's model.

Purpose: the one door through which a definition enters, whether from YAML, JSON, HTTP or Python. Guarantee:
what is returned can run: shapes, names, expressions and the graph are checked; what is refused is refused
with every reason that was found. Never: a half-checked workflow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from freshet.definition.document import Document
from freshet.definition.errors import pointing_into, refuse
from freshet.definition.json_values import json_problems
from freshet.definition.reading_rules import rule_problems
from freshet.definition.refusals import as_refusals
from freshet.definition.workflow_file import ParamFile, ScheduleFile, TaskFile, TriggerFile, WorkflowFile
from freshet.domain import graph
from freshet.domain.errors import DefinitionError
from freshet.domain.model import (
    CatchUp,
    EventTrigger,
    JobServiceSpec,
    Kind,
    OnFailure,
    Overlap,
    Param,
    ProcessSpec,
    PythonSpec,
    RetryPolicy,
    RunIf,
    Schedule,
    SqlSpec,
    Task,
    Workflow,
)


def compile_workflow(data: Any, *, base: Path | None = None) -> Workflow:
    """The workflow of a document's data.

    `base` is the directory that `file:` starts from; without it files are refused. Raises DefinitionError, or
    DefinitionErrors with every reason: each has a code, a JSON Pointer and a sentence.
    """
    if not isinstance(data, Mapping):
        message = "a workflow file is an object with at least `name` and `tasks`"
        raise DefinitionError(message, code="wrong_type")
    refuse(list(json_problems(data)))
    try:
        parsed = WorkflowFile.model_validate(dict(data), context={"base": base})
    except ValidationError as error:
        refuse([pointing_into(data, single) for single in as_refusals(error, WorkflowFile)])
        raise
    workflow = _workflow(parsed)
    problems = [*graph.problems(workflow), *rule_problems(workflow)]
    refuse([pointing_into(data, problem) for problem in problems])
    return workflow


def compile_document(document: Document) -> Workflow:
    """The same for a document of a file: every refusal has file and line too."""
    try:
        return compile_workflow(document.data, base=document.base)
    except DefinitionError as error:
        raise document.locate(error) from error


def _workflow(file: WorkflowFile) -> Workflow:
    return Workflow(
        name=file.name,
        root_task_name=file.root_task_name,
        schedule=None if file.schedule is None else _schedule(file.schedule),
        triggers=tuple(_trigger(trigger) for trigger in file.triggers),
        params=tuple(_param(name, param) for name, param in file.params.items()),
        priority=file.priority,
        tasks=tuple(_tasks(file.tasks, ())),
        finals=tuple(_tasks(file.finals, ())),
    )


def _schedule(file: ScheduleFile) -> Schedule:
    return Schedule(
        every=file.every,
        cron=file.cron,
        timezone=file.timezone,
        catch_up=CatchUp(file.catch_up),
        overlap=Overlap(file.overlap),
    )


def _trigger(file: TriggerFile) -> EventTrigger:
    return EventTrigger(event=file.event, when=file.when, params=file.params)


def _param(name: str, file: ParamFile) -> Param:
    return Param(name=name, type=file.type, default=file.default, required=file.is_required)


def _tasks(files: Mapping[str, TaskFile], outer: tuple[str, ...]) -> Iterator[Task]:
    for name, file in files.items():
        yield _task(name, file, (*outer, name))


def _task(name: str, file: TaskFile, path: tuple[str, ...]) -> Task:
    return Task(
        name=name,
        path=".".join(path),
        kind=_kind(file),
        after=tuple(file.after),
        for_each=file.for_each,
        input=file.input,
        run_if=RunIf(file.run_if),
        on_failure=OnFailure(file.on_failure),
        retries=RetryPolicy(**file.retries.model_dump()),
        timeout=file.timeout,
        queue=file.queue,
        process=None if file.process is None else ProcessSpec(**file.process.model_dump()),
        job_service=_job_service(file),
        sql=None if file.sql is None else SqlSpec(on=file.sql.on, text=file.sql.script, **file.sql.begins_with),
        python=None if file.python is None else PythonSpec(text=file.python.script),
        tasks=tuple(_tasks(file.tasks or {}, path)),
        result=file.result,
    )


def _kind(file: TaskFile) -> Kind:
    if file.tasks is not None:
        return Kind.MAP
    return next(kind for kind in Kind if kind is not Kind.MAP and getattr(file, kind.value) is not None)


def _job_service(file: TaskFile) -> JobServiceSpec | None:
    job = file.job_service
    if job is None:
        return None
    return JobServiceSpec(
        compute_pool=job.compute_pool,
        image=job.image,
        args=tuple(job.args),
        command=tuple(job.command),
        env=job.env,
        secrets=tuple(job.parts("secrets")),
        resources=job.resources.model_dump(mode="json", by_alias=True, exclude_unset=True),
        volumes=tuple(job.parts("volumes")),
        volume_mounts=tuple(job.parts("volume_mounts")),
        spec=None if job.spec is None else job.spec.plain(),
        spec_file=job.spec_file,
        spec_template=job.spec_template,
        spec_template_file=job.spec_template_file,
        using=job.using,
        replicas=job.replicas,
        query_warehouse=job.query_warehouse,
        external_access_integrations=tuple(job.external_access_integrations),
        comment=job.comment,
        result_table=job.result_table,
        start_timeout=job.start_timeout,
    )
