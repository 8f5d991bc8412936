"""From a claim to what the executor is called with.

Purpose: compose payloads by the core's rule, put CEL where the task says `input:`, and say who serves the task.
Guarantees: a fan-in travels as a reference and becomes a `Results` sequence in the child; an expression that fails is
that item's failure. Never: a look-up that the task does not need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from freshet.domain.model import INDEX_BITS, Kind, OnFailure, Task, Workflow
from freshet.domain.payload import MISSING, compose
from freshet.expressions import ExpressionError, compile_expression, render, template_references
from freshet.storage.worker_store import Claimed

#: One version's compiled workflow.
Definitions = Callable[[str, int], Workflow]

#: How many values of a fan-out are fetched at a time for an expression.
PAGE = 1000


class PayloadSource(Protocol):
    """What the worker's store has for payloads."""

    def page(self, kind: str, source: int, first: int, count: int) -> dict[int, Any]:
        """Values by index."""
        ...

    def parents(self, run_id: UUID, scope: str, paths: Sequence[str]) -> dict[str, Any]:
        """What tasks of one scope have come to."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """A fan-in: `items` of a TaskRun, or yielded `rows` of an item."""

    kind: str
    source: int
    total: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """One item, ready to be executed, or `refused` with a sentence."""

    key: int
    attempt: int
    index: str  # dotted index path
    payload: Any = None
    refused: str | None = None

    def message(self) -> dict[str, Any]:
        """As the child gets it: references apart, by the name they have in the payload."""
        payload, results = self.payload, {}
        if isinstance(payload, Reference):
            payload, results = None, {"": _document(self.payload)}
        elif isinstance(payload, dict):
            results = {name: _document(each) for name, each in payload.items() if isinstance(each, Reference)}
            payload = {name: None if name in results else each for name, each in payload.items()}
        return {
            "key": self.key,
            "attempt": self.attempt,
            "index": self.index,
            "payload": payload,
            "results": results,
            "refused": self.refused,
        }


class Preparation:
    """The items of one claimed bundle."""

    def __init__(
        self,
        claimed: Claimed,
        workflow: Workflow,
        store: PayloadSource,
        run_object: Callable[[UUID], Mapping[str, Any]],
    ) -> None:
        """`run_object` is the payload of the tasks of the `finally` section."""
        self.claimed = claimed
        self.document = claimed.document
        self.task = workflow.task(self.document["task"]["path"])
        self.run_id = UUID(self.document["bundle"]["run_id"])
        self._workflow = workflow
        self._store = store
        self._run_object = run_object

    @property
    def kind(self) -> Kind:
        """Who executes the task."""
        return self.task.kind

    def items(self) -> list[Prepared]:
        """Every item of the bundle, in order."""
        bundle = self.document["bundle"]
        values = self.document.get("values") or [None] * len(bundle["items"])
        common = self._common()
        return [
            self._item(key, attempt, value, common)
            for key, attempt, value in zip(bundle["items"], bundle["attempts"], values, strict=True)
        ]

    def variables(self, item: Any, expressions: Iterable[str]) -> dict[str, Any]:
        """What `${{ … }}` and `input:` may read: params, run, item, and the results of the tasks they name."""
        names = {name.removeprefix("tasks.") for name in expressions if name.startswith("tasks.")}
        run = self.document["run"]
        return {
            "params": run["params"],
            "run": {
                "id": str(self.run_id),
                **{name: run[name] for name in ("workflow", "version", "trigger", "scheduled_for", "group_id")},
                "created_at": run.get("created_at"),  # a database that is not migrated yet does not say it
            },
            "item": item if self.task.mapped else self.document.get("element"),
            "tasks": {name: {"result": self._result(name)} for name in names},
        }

    def rendered(self, text: str, item: Any) -> str:
        """A text with its `${{ … }}` replaced. Raises ExpressionError."""
        return render(text, self.variables(item, template_references(text)))

    def _item(self, key: int, attempt: int, value: Any, common: Any) -> Prepared:
        index = self._index_path(key)
        payload = value if self.task.mapped else common
        if self.task.input is None:
            return Prepared(key=key, attempt=attempt, index=index, payload=payload)
        try:
            expression = compile_expression(self.task.input)
            payload = expression.evaluate(self.variables(value, expression.references))
        except ExpressionError as error:
            refused = f"`input` of task {self.task.path} can't be evaluated: {error.message}"
            return Prepared(key=key, attempt=attempt, index=index, refused=refused)
        return Prepared(key=key, attempt=attempt, index=index, payload=payload)

    def _common(self) -> Any:
        """The payload that an unmapped task's one item has."""
        if self.task.mapped or self.task.input is not None:
            return None
        given = self.document.get("parents") or {}
        final = any(task.path == self.task.path for task in self._workflow.finals)
        return compose(
            self.task,
            params=self.document["run"]["params"],
            parents={name: self._parent(name, given[name]) for name in self.task.after if name in given},
            element=self.document["element"] if self.document["task"]["scope"] is not None else MISSING,
            run=self._run_object(self.run_id) if final else MISSING,
        )

    def _parent(self, name: str, given: Mapping[str, Any]) -> Any:
        """A parent's value, a reference to its fan-out, or null if it did not come to anything."""
        path = ".".join([*self.task.path.split(".")[:-1], name])
        forgiven = given["state"] == "failed" and self._workflow.task(path).on_failure is OnFailure.CONTINUE
        if given["state"] != "succeeded" and not forgiven:
            return None
        return _reference(given["results"]) if "results" in given else given.get("value")

    def _result(self, name: str) -> Any:
        """A task's result by its name, resolved from the inside out; null for one that has none."""
        path, scope = self._resolve(name)
        found = self._store.parents(self.run_id, scope, [path]).get(name)
        if found is None:
            return None
        if "results" not in found:
            return found.get("value")
        return self.values(_reference(found["results"]))

    def _resolve(self, name: str) -> tuple[str, str]:
        scope, index_path = self.task.path.rpartition(".")[0], self.document["task"]["index_path"]
        while scope and name not in {task.name for task in self._workflow.scope(scope)}:
            scope, index_path = scope.rpartition(".")[0], index_path.rpartition(".")[0]
        return (f"{scope}.{name}" if scope else name), index_path

    def values(self, reference: Reference) -> list[Any]:
        """All values of a fan-in at once, for those that can't read a sequence."""
        values: list[Any] = []
        for first in range(0, reference.total, PAGE):
            page = self._store.page(reference.kind, reference.source, first, PAGE)
            values += [page.get(index) for index in range(first, min(first + PAGE, reference.total))]
        return values

    def whole(self, payload: Any) -> Any:
        """A payload for those that can't read a sequence: every fan-in in it as a list."""
        if isinstance(payload, Reference):
            return self.values(payload)
        if isinstance(payload, dict):
            return {name: self.values(each) if isinstance(each, Reference) else each for name, each in payload.items()}
        return payload

    def _index_path(self, key: int) -> str:
        scope: str = self.document["task"]["index_path"]
        if not self.document["mapped"]:
            return scope
        index = str(key & ((1 << INDEX_BITS) - 1))
        return f"{scope}.{index}" if scope else index


def spec_of(task: Task) -> dict[str, Any]:
    """What the child needs to know of a task."""
    match task.kind:
        case Kind.PROCESS if task.process is not None:
            return {"ref": task.process.ref}
        case Kind.SQL if task.sql is not None:
            return {"text": task.sql.text, "on": task.sql.on}
        case Kind.PYTHON if task.python is not None:
            return {"text": task.python.text}
    return {}


def _reference(results: Mapping[str, Any]) -> Reference:
    source = results["task_run"] if results["kind"] == "items" else results["source"]
    return Reference(kind=results["kind"], source=source, total=results["total"])


def _document(reference: Reference) -> dict[str, Any]:
    return {"kind": reference.kind, "source": reference.source, "total": reference.total}
