"""Which tasks a task's expressions read.

Purpose: the names behind `tasks.`, with the place where each stands, so that the graph can be judged before anything
runs. Guarantee: text in quotes is never taken for a name. Never: evaluation, or a judgement whether an expression is
sound CEL. The lexis is CEL's (https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax), so a name with a
dash can only be read as `tasks["my-task"]`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from freshet.domain.model import Task

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
    """Yield what `for_each`, `input`, `args`, `command` and `env` of one task read, without its inner tasks."""
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
    for field, text in _templates(task):
        yield from ((field, expression) for expression in _TEMPLATE.findall(text))


def _templates(task: Task) -> Iterator[tuple[tuple[str | int, ...], str]]:
    job = task.job_service
    if job is None:
        return
    for index, text in enumerate(job.args):
        yield ("job_service", "args", index), text
    for index, text in enumerate(job.command):
        yield ("job_service", "command", index), text
    for key, text in job.env.items():
        yield ("job_service", "env", key), text
