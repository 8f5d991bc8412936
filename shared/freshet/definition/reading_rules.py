"""What expressions and parameters may say, beyond their syntax.

Purpose: an expression that could only ever fail is refused at the door: an unknown variable or parameter,
`item` where there is none, a default of the wrong type, a required parameter that nobody could give.
Guarantee: every problem comes with a pointer. Never: who comes before whom; that is `freshet.domain.graph`.
"""

from __future__ import annotations

from collections.abc import Iterator

from freshet.definition.errors import pointer
from freshet.definition.parameters import check_value
from freshet.domain.errors import DefinitionError
from freshet.domain.model import EventTrigger, Task, Workflow
from freshet.domain.references import templates
from freshet.expressions import Expression, compile_expression, template_expressions

Steps = tuple[str | int, ...]


def rule_problems(workflow: Workflow) -> Iterator[DefinitionError]:
    """Everything that is wrong with the parameters and the variables that expressions read."""
    yield from _default_problems(workflow)
    yield from _required_problems(workflow)
    for index, trigger in enumerate(workflow.triggers):
        yield from _trigger_problems(workflow, trigger, ("triggers", index))
    names = frozenset(param.name for param in workflow.params)
    for key, tasks in (("tasks", workflow.tasks), ("finally", workflow.finals)):
        for task in tasks:
            yield from _task_problems(task, (key, task.name), names, scoped=False)


def _default_problems(workflow: Workflow) -> Iterator[DefinitionError]:
    for param in workflow.params:
        reason = None if param.default is None else check_value(param, param.default)
        if reason is not None:
            at = pointer("params", param.name, "default")
            yield DefinitionError(f"params.{param.name}.default {reason}", code="wrong_type", pointer=at)


def _required_problems(workflow: Workflow) -> Iterator[DefinitionError]:
    """Runs that start by themselves must be able to give what is required."""
    required = [param.name for param in workflow.params if param.required]
    for name in required if workflow.schedule is not None else ():
        message = f"params.{name} is required, but the schedule can't give it; give it a default"
        yield DefinitionError(message, code="missing_default", pointer=pointer("params", name))
    for index, trigger in enumerate(workflow.triggers):
        for name in required:
            if name not in trigger.params:
                message = f"triggers.{index} must map the required parameter {name!r} in its `params`"
                at = pointer("triggers", index, "params")
                yield DefinitionError(message, code="missing_param", pointer=at)


def _trigger_problems(workflow: Workflow, trigger: EventTrigger, at: Steps) -> Iterator[DefinitionError]:
    known = frozenset(param.name for param in workflow.params)
    event = frozenset({"event"})
    if trigger.when is not None:
        yield from _variable_problems(compile_expression(trigger.when), (*at, "when"), event, known)
    for name, text in trigger.params.items():
        where = (*at, "params", name)
        if name not in known:
            message = f"{_subject(where)} names no parameter of this workflow"
            yield DefinitionError(message, code="unknown_param", pointer=pointer(*where))
        yield from _variable_problems(compile_expression(text), where, event, known)


def _task_problems(task: Task, at: Steps, params: frozenset[str], *, scoped: bool) -> Iterator[DefinitionError]:
    outer = frozenset({"params", "tasks", "run", "item"} if scoped else {"params", "tasks", "run"})
    own = outer | {"item"} if task.mapped else outer
    for where, expression in _expressions(task):
        variables = outer if where == ("for_each",) else own
        yield from _variable_problems(expression, (*at, *where), variables, params)
    for inner in task.tasks:
        yield from _task_problems(inner, (*at, "tasks", inner.name), params, scoped=True)


def _expressions(task: Task) -> Iterator[tuple[Steps, Expression]]:
    for name, text in (("for_each", task.for_each), ("input", task.input)):
        if text is not None:
            yield (name,), compile_expression(text)
    for where, template in templates(task):
        for expression in template_expressions(template):
            yield where, expression


def _variable_problems(
    expression: Expression, at: Steps, variables: frozenset[str], params: frozenset[str]
) -> Iterator[DefinitionError]:
    for path in sorted(expression.paths):
        found = _path_problem(path, variables, params)
        if found is not None:
            code, reason = found
            yield DefinitionError(f"{_subject(at)} {reason}", code=code, pointer=pointer(*at))


def _path_problem(path: tuple[str, ...], variables: frozenset[str], params: frozenset[str]) -> tuple[str, str] | None:
    root = path[0]
    if root not in variables:
        known = ", ".join(sorted(variables))
        return "unknown_variable", f"reads {root!r}, which is not there; there are {known}"
    if root == "tasks" and len(path) == 1:
        return "unnamed_task", "must name the task that it reads, as in tasks.assign.result"
    if root == "tasks" and path[2:3] not in {(), ("result",)}:
        return "unknown_variable", f"reads {'.'.join(path[:3])}; of a task there is only `result`"
    if root == "params" and len(path) > 1 and path[1] not in params:
        known = ", ".join(sorted(params)) or "none"
        return "unknown_param", f"reads params.{path[1]}, which is not declared; declared: {known}"
    return None


def _subject(at: Steps) -> str:
    return ".".join(str(step) for step in at)
