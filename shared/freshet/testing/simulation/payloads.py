"""What an item should be called with, calculated apart from the engine.

Purpose: DESIGN.md's words about payloads over the drawn answers and the states of the parents. Guarantees: no value is
taken from where the engine takes it; only states are read. Never: an expression language.
"""

from __future__ import annotations

from typing import Any

from freshet.domain.model import INDEX_BITS, Kind, OnFailure, Task, Workflow
from freshet.testing.simulation.behaviour import Behaviour, Try
from freshet.testing.simulation.workload import Workload
from freshet.testing.twins.rows import TaskRun
from freshet.testing.twins.tables import Tables


class Payloads:
    """Payloads of one installation's items."""

    def __init__(self, tables: Tables, behaviour: Behaviour, workload: Workload) -> None:
        self._tables = tables
        self._behaviour = behaviour
        self._workload = workload

    def problem(self, the_try: Try, payload: Any) -> str | None:
        """What is wrong with the payload of a try, if anything."""
        workflow = self._workload.workflows[self._tables.runs[the_try.run].workflow]
        task = workflow.task(the_try.task)
        if task in workflow.finals and not task.mapped:
            expected: Any = {"run_id": the_try.run}
        elif task.mapped:
            scope, _, index = the_try.item.rpartition(".")
            expected = self._element(workflow, the_try.run, task, scope, int(index))
        else:
            expected = self._plain(workflow, the_try, task)
        return None if payload == expected else f"{the_try} was called with {payload!r} instead of {expected!r}"

    def _plain(self, workflow: Workflow, the_try: Try, task: Task) -> Any:
        prefix = task.path.rpartition(".")[0]
        if not task.after and not prefix:
            return dict(self._tables.runs[the_try.run].params)
        if not task.after:
            scope, _, index = the_try.item.rpartition(".")
            return self._element(workflow, the_try.run, workflow.task(prefix), scope, int(index))
        values = {name: self._value(workflow, the_try.run, prefix, name, the_try.item) for name in task.after}
        return values if len(values) > 1 else next(iter(values.values()))

    def _element(self, workflow: Workflow, run: str, task: Task, scope: str, index: int) -> Any:
        """The value of one element of a map."""
        text, params = task.for_each or "", self._tables.runs[run].params
        if text == "params.list":
            return params["list"][index]
        if not text.startswith("tasks."):
            return index
        prefix = task.path.rpartition(".")[0]
        source = self._row(run, prefix, text.split(".")[1], scope)
        if source.source_kind is not None:
            return self._item(workflow, source, index)
        values, _ = self._behaviour.answer(run, source.task)
        return index if isinstance(values, int) else values[index]

    def _value(self, workflow: Workflow, run: str, prefix: str, name: str, scope: str) -> Any:
        """What a parent came to."""
        row = self._row(run, prefix, name, scope)
        task = workflow.task(row.task)
        forgiven = row.state == "failed" and task.on_failure is OnFailure.CONTINUE
        if row.state != "succeeded" and not forgiven:
            return None
        if row.source_kind is not None:
            return [self._item(workflow, row, index) for index in range(row.total or 0)]
        return None if forgiven else self._answer(row)

    def _item(self, workflow: Workflow, row: TaskRun, index: int) -> Any:
        """What one item of a map came to."""
        item = self._tables.items.get(row.owner << INDEX_BITS | index)
        if item is None or item.state != "succeeded":
            return None
        if row.kind != Kind.MAP:
            return self._answer(row)
        result = workflow.task(row.task).result
        if result is None:
            return None
        original = self._tables.task_runs[row.owner]
        scope = f"{original.index_path}.{index}" if original.index_path else str(index)
        inner = self._row(original.run_id, original.task, result, scope)
        return self._answer(inner) if inner.state == "succeeded" else None

    def _answer(self, row: TaskRun) -> Any:
        return self._behaviour.answer(row.run_id, row.task)[0]

    def _row(self, run: str, prefix: str, name: str, scope: str) -> TaskRun:
        path = f"{prefix}.{name}" if prefix else name
        return self._tables.task_runs[self._tables.task_named[run, path, scope]]
