"""Making the width of a map known, when it starts.

Purpose: `for_each` over another task's result stays in Postgres, where a list becomes rows in one statement; anything
else is a CEL expression over values of at most 1 MiB. Guarantees: a value that is no list and no whole number is a
failure of the task with a sentence, never of the batch. Never: an item.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from freshet.domain.errors import FreshetError
from freshet.domain.model import Task, Workflow
from freshet.engine.loaded import LoadedScope, LoadedTask
from freshet.expressions import compile_expression, task_result_path
from freshet.storage.engine_rows import RunRow
from freshet.storage.engine_store import EngineBatch


class Expansion:
    """Expands the maps of one run within a batch."""

    def __init__(self, run: RunRow, workflow: Workflow, batch: EngineBatch) -> None:
        self._run = run
        self._workflow = workflow
        self._batch = batch

    def expand(self, loaded: LoadedTask, scope: LoadedScope) -> int | dict[str, Any]:
        """The map's width, or the error that ends the task."""
        text = loaded.task.for_each or ""
        try:
            answer = self._expanded(loaded, scope, text)
        except FreshetError as error:
            return {"class": "user", "message": f"for_each of task {loaded.task.path} failed: {error.message}"}
        if "total" in answer:
            return int(answer["total"])
        return {"class": "user", "message": _not_a_list(loaded.task, text, answer)}

    def _expanded(self, loaded: LoadedTask, scope: LoadedScope, text: str) -> Mapping[str, Any]:
        named = task_result_path(text)
        if named is None:
            value = compile_expression(text).evaluate(self._variables(text, scope))
            return self._batch.expand_value(loaded.row.id, value)
        name, fields = named
        path, index_path = self._resolve(name, scope)
        return self._batch.expand_result(
            loaded.row.id, run=self._run.id, task=path, index_path=index_path, fields=[str(field) for field in fields]
        )

    def _variables(self, text: str, scope: LoadedScope) -> dict[str, Any]:
        names = compile_expression(text).task_names
        return {
            "params": self._run.params,
            "run": run_variables(self._run),
            "item": None if scope.element is None else self._batch.element_value(scope.element),
            "tasks": {name: {"result": self._result(name, scope)} for name in names},
        }

    def _result(self, name: str, scope: LoadedScope) -> Any:
        path, index_path = self._resolve(name, scope)
        return self._batch.result_of(self._run.id, path, index_path)

    def _resolve(self, name: str, scope: LoadedScope) -> tuple[str, str]:
        """A task's path and index path by its name, from the inside out."""
        path, index_path = scope.path, scope.index_path
        while path and name not in {task.name for task in self._workflow.scope(path)}:
            path, index_path = path.rpartition(".")[0], index_path.rpartition(".")[0]
        return (f"{path}.{name}" if path else name), index_path


def run_variables(run: RunRow) -> dict[str, Any]:
    """What `run` holds in an expression."""
    return {
        "id": run.id,
        "workflow": run.workflow,
        "version": run.version,
        "trigger": run.trigger,
        "scheduled_for": run.scheduled_for,
        "group_id": run.group_id,
        "created_at": run.created_at,
    }


def _not_a_list(task: Task, text: str, answer: Mapping[str, Any]) -> str:
    return (
        f"for_each of task {task.path} needs a list or a whole number, but {text} is {answer.get('got')}"
        f" ({answer.get('value')})."
    )
