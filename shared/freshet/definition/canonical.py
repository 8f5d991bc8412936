"""One canonical document for each workflow.

Purpose: what is stored, shown and compared. Guarantees: `compile_workflow(dump(w)) == w`; two files that
mean the same (YAML or JSON, `PT60S` or `PT1M`, a script in a file or inline) give the same document and the
same digest; it names no file. Never: a default written out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import orjson

from freshet.definition import durations
from freshet.definition.compilation import compile_document, compile_workflow
from freshet.definition.document import Document
from freshet.domain.model import (
    EventTrigger,
    JobServiceSpec,
    Param,
    ProcessSpec,
    RetryPolicy,
    Schedule,
    SqlSpec,
    Task,
    Workflow,
)

Json = dict[str, Any]


def normalise(data: Mapping[str, Any], base: Path | None = None) -> Json:
    """The canonical document of a workflow file's data, files inlined. Raises what compile_workflow raises."""
    return dump(compile_workflow(data, base=base))


def normalise_document(document: Document) -> Json:
    """The same for a document of a file: refusals have file and line."""
    return dump(compile_document(document))


def digest(document: Mapping[str, Any]) -> str:
    """The SHA-256 (hex) of a canonical document; the order of keys plays no part."""
    return hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()


def dump(workflow: Workflow) -> Json:
    """The canonical document of a workflow."""
    return _without_defaults(
        name=workflow.name,
        root_task_name=workflow.root_task_name,
        schedule=None if workflow.schedule is None else _schedule(workflow.schedule),
        triggers=[_trigger(trigger) for trigger in workflow.triggers],
        params={param.name: _param(param) for param in workflow.params},
        priority=None if workflow.priority == 100 else workflow.priority,
        tasks={task.name: _task(task) for task in workflow.tasks},
        **{"finally": {task.name: _task(task) for task in workflow.finals}},
    )


def _without_defaults(**members: Any) -> Json:
    return {key: value for key, value in members.items() if value is not None and value not in ([], {})}


def _changed(value: Any, *durations_in: str) -> Json:
    """The fields of a dataclass that differ from their defaults, durations as ISO 8601 text."""
    found: Json = {}
    for field in fields(value):
        member = getattr(value, field.name)
        if member != field.default:
            found[field.name] = durations.render(member) if field.name in durations_in else member
    return found


def _schedule(schedule: Schedule) -> Json:
    return {key: str(value) for key, value in _changed(schedule, "every").items()}


def _trigger(trigger: EventTrigger) -> Json:
    return _without_defaults(event=trigger.event, when=trigger.when, params=dict(trigger.params))


def _param(param: Param) -> Json:
    found: Json = {"type": param.type}
    return found if param.required else {**found, "default": param.default}


def _task(task: Task) -> Json:
    return _without_defaults(
        process=None if task.process is None else _process(task.process),
        job_service=None if task.job_service is None else _job_service(task.job_service),
        sql=None if task.sql is None else _sql(task.sql),
        python=None if task.python is None else {"text": task.python.text},
        after=list(task.after),
        for_each=task.for_each,
        input=task.input,
        run_if=_unless(task.run_if.value, "all_succeeded"),
        on_failure=_unless(task.on_failure.value, "block"),
        retries=_retries(task.retries),
        timeout=None if task.timeout is None else durations.render(task.timeout),
        queue=task.queue,
        tasks={inner.name: _task(inner) for inner in task.tasks},
        result=task.result,
    )


def _sql(spec: SqlSpec) -> Json:
    place = _without_defaults(database=spec.database, schema=spec.schema, warehouse=spec.warehouse, role=spec.role)
    return {"on": spec.on, "text": spec.text, **place}


def _unless(value: str, default: str) -> str | None:
    return None if value == default else value


def _process(process: ProcessSpec) -> str | Json:
    if process.isolation == "warm":
        return process.name if process.version is None else process.ref
    return _changed(process)


def _job_service(job: JobServiceSpec) -> Json:
    found = {field.name: _plain(getattr(job, field.name)) for field in fields(job)}
    mounts = found.pop("volume_mounts")
    timeout = None if job.start_timeout == 900.0 else durations.render(job.start_timeout)
    return _without_defaults(**found | {"volumeMounts": mounts, "start_timeout": timeout})


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _retries(policy: RetryPolicy) -> Json:
    return _changed(policy, "delay", "cap")
