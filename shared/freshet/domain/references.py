"""Which tasks a task's expressions read.

Purpose: the names behind `tasks.`, with the place where each stands, so that the graph can be judged before anything
runs. Guarantee: text in quotes is never taken for a name. Never: evaluation, or a judgement whether an expression is
sound CEL. The lexis is CEL's (https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax), so a name with a
dash can only be read as `tasks["my-task"]`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from freshet.domain.model import JobServiceSpec, Task

_READ = re.compile(
    r"""
      (?<![\w.]) tasks \s* (?: \. \s* (?P<member>[A-Za-z_]\w*) | \[ \s* (?P<quote>["']) (?P<key>[^"'\\]*) (?P=quote) )
    | "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*'
    """,
    re.VERBOSE | re.DOTALL,
)
_TEMPLATE = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """A task that an expression reads: its name, and the field of the reading task."""

    name: str
    field: tuple[str | int, ...]  # steps of a JSON Pointer from the task


def references(task: Task) -> Iterator[Reference]:
    """Yield what `for_each`, `input` and the texts of a job service read, without its inner tasks."""
    for field, text in _expressions(task):
        for name in names_read(text):
            yield Reference(name=name, field=field)


def names_read(expression: str) -> tuple[str, ...]:
    """Answer the tasks that one CEL expression reads, each once, in the order of reading."""
    found = (match["member"] or match["key"] for match in _READ.finditer(expression))
    return tuple(dict.fromkeys(name for name in found if name))


def _expressions(task: Task) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if task.for_each is not None:
        yield ("for_each",), task.for_each
    if task.input is not None:
        yield ("input",), task.input
    for field, text in templates(task):
        yield from ((field, expression) for expression in _TEMPLATE.findall(text))


def templates(task: Task) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield every text of a job service that may hold `${{ … }}`, with its steps from the task."""
    job = task.job_service
    if job is None:
        return
    own = {"args": job.args, "command": job.command, "env": job.env, "using": job.using}
    yield from _within(own, ("job_service",))
    for at, container in containers(job):
        yield from _within(container, ("job_service", *at))
    for name, text in (("comment", job.comment), ("result_table", job.result_table)):
        if text is not None:
            yield ("job_service", name), text


def containers(job: JobServiceSpec) -> Iterator[tuple[tuple[str | int, ...], Mapping[str, Any]]]:
    """Yield the containers of a specification that is given inline, with their steps from the job service."""
    if job.spec is None:
        return
    body, at = (job.spec["spec"], ("spec", "spec")) if "spec" in job.spec else (job.spec, ("spec",))
    for index, container in enumerate(body["containers"]):
        yield (*at, "containers", index), container


def _within(part: Mapping[str, Any], at: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    for name in ("args", "command"):
        yield from (((*at, name, index), text) for index, text in enumerate(part.get(name, ())))
    for name in ("env", "using"):
        yield from (((*at, name, key), text) for key, text in part.get(name, {}).items())
