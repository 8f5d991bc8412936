"""What should have become of the runs, calculated apart from the engine.

Purpose: the rules of the graph and of retries in the simulation's own words, over the drawn plans and what the items
came to. Guarantees: nothing of `freshet.domain.settle`, `item_step` or the engine is used. Never: a correction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from freshet.domain.job_failure import JobFailure
from freshet.domain.model import INDEX_BITS, Kind, OnFailure, RunIf, Task, Workflow
from freshet.testing.simulation.behaviour import CRASH, END, FAIL, HANG, Behaviour, Plan, Try
from freshet.testing.twins.log_rows import LogAttempt
from freshet.testing.twins.rows import Run, TaskRun, WorkItem
from freshet.testing.twins.tables import Tables

#: So many lost tries in a row end an item.
LOSSES = 5
#: Classes of errors that are nobody's failure; a lost worker's is the same word.
LOSSES_OF_JOBS = frozenset(kind.value for kind in JobFailure if not kind.is_users)
BAD = frozenset({"failed", "expired"})


@dataclass(frozen=True, slots=True)
class Place:
    """An item, by the names that it has outside."""

    run: str
    task: str
    item: str


def item_place(task: TaskRun, index: int) -> Place:
    """The names of one item of a TaskRun."""
    if task.source_kind is None:
        return Place(task.run_id, task.task, task.index_path)
    path = f"{task.index_path}.{index}" if task.index_path else str(index)
    return Place(task.run_id, task.task, path)


class Expectation:
    """What is expected of one run."""

    def __init__(self, tables: Tables, behaviour: Behaviour, workflow: Workflow, run: Run) -> None:
        self._tables = tables
        self._behaviour = behaviour
        self._workflow = workflow
        self._run = run
        self._cancelled = run.cancel_requested_at is not None

    def problems(self) -> Iterator[str]:
        """What is not as it should be."""
        yield from self._scope("", (*self._workflow.tasks, *self._workflow.finals))
        expected = self._run_state()
        if self._run.state != expected:
            yield f"run {self._run.id} is {self._run.state} instead of {expected}"

    def _run_state(self) -> str:
        finals = {task.name for task in self._workflow.finals}
        for task in (*self._workflow.tasks, *self._workflow.finals):
            row = self._row(task.path, "")
            if row.state == "failed" and (task.on_failure is OnFailure.BLOCK or task.name in finals):
                return "failed"
        return "cancelled" if self._cancelled else "succeeded"

    def _scope(self, index_path: str, tasks: Sequence[Task]) -> Iterator[str]:
        for task in tasks:
            row = self._row(task.path, index_path)
            if row.copied_from is not None:
                continue
            yield from self._counters(row)
            if not self._cancelled:
                yield from self._task(task, row)
            if task.kind is Kind.MAP and row.total:
                for index in range(row.mark):
                    if row.id << INDEX_BITS | index in self._tables.items:
                        yield from self._element(task, row, index)

    def _element(self, task: Task, row: TaskRun, index: int) -> Iterator[str]:
        inner = f"{row.index_path}.{index}" if row.index_path else str(index)
        yield from self._scope(inner, task.tasks)
        states = [self._row(each.path, inner).state for each in task.tasks if each.on_failure is OnFailure.BLOCK]
        item = self._tables.items[row.id << INDEX_BITS | index]
        expected = "failed" if "failed" in states else "succeeded"
        if item.state != expected and not self._cancelled:
            yield f"element {inner} of {task.path} of run {self._run.id} is {item.state} instead of {expected}"

    def _counters(self, row: TaskRun) -> Iterator[str]:
        if row.finished_at is None or row.total is None:
            yield f"{_named(row)} is {row.state} at the end"
            return
        states = [item.state for item in self._items(row)]
        counted = {
            "succeeded": states.count("succeeded"),
            "failed": sum(states.count(each) for each in BAD),
        }
        for name, count in counted.items():
            if getattr(row, name) != count:
                yield f"{_named(row)} counts {getattr(row, name)} {name} items, and {count} are"
        ended = row.succeeded + row.failed + row.skipped + row.cancelled
        if ended != row.total:
            yield f"{_named(row)} has {row.total} items, and {ended} are counted as ended"
        if any(state in {"queued", "running"} for state in states):
            yield f"{_named(row)} has ended, but not all its items"

    def _items(self, row: TaskRun) -> list[WorkItem]:
        keys = (row.id << INDEX_BITS | index for index in range(row.total or 0))
        return [self._tables.items[key] for key in keys if key in self._tables.items]

    def _task(self, task: Task, row: TaskRun) -> Iterator[str]:
        """State and width of a task of a run that nobody cancelled."""
        if not self._starts(task, row.index_path):
            expected = ("skipped", 0 if task.mapped else 1)
        else:
            width = self._width(task, row.index_path) if task.mapped else 1
            if width is None:
                expected = ("failed", 0)
            else:
                items = self._items(row)
                if len(items) != width:
                    yield f"{_named(row)} has {len(items)} items instead of {width}"
                expected = ("failed" if any(item.state in BAD for item in items) else "succeeded", width)
        if (row.state, row.total) != expected:
            yield f"{_named(row)} is {row.state} with {row.total} items instead of {expected[0]} with {expected[1]}"

    def _starts(self, task: Task, index_path: str) -> bool:
        siblings = {each.name: each for each in self._workflow.scope(task.path.rpartition(".")[0])}
        prefix = task.path.rpartition(".")[0]
        states = [self._row(f"{prefix}.{name}" if prefix else name, index_path).state for name in task.after]
        forgiving = [siblings[name].on_failure is OnFailure.CONTINUE for name in task.after]
        match task.run_if:
            case RunIf.ALL_DONE:
                return True
            case RunIf.ANY_FAILED:
                return "failed" in states
            case RunIf.ANY_SUCCEEDED:
                return "succeeded" in states
        pairs = zip(states, forgiving, strict=True)
        return all(state == "succeeded" or (state == "failed" and forgiven) for state, forgiven in pairs)

    def _width(self, task: Task, index_path: str) -> int | None:
        """How many items the map should have; None: the expression does not come to a list or a number."""
        text, params = task.for_each or "", self._run.params
        known = {"params.n": params["n"], "params.list": len(params["list"]), "size(params.list)": len(params["list"])}
        if text in known:
            return int(known[text])
        if text.isdigit():
            return int(text)
        prefix = task.path.rpartition(".")[0]
        name = text.split(".")[1]
        source = self._row(f"{prefix}.{name}" if prefix else name, index_path)
        if source.source_kind is not None:
            return source.total
        item = self._tables.items.get(source.owner << INDEX_BITS)
        if item is None or item.state != "succeeded":
            return None
        values, _ = self._behaviour.answer(self._run.id, source.task)
        if isinstance(values, int):
            return values
        return len(values) if isinstance(values, list) else None

    def _row(self, path: str, index_path: str) -> TaskRun:
        return self._tables.task_runs[self._tables.task_named[self._run.id, path, index_path]]


class Tries:
    """What is expected of the tries of single items."""

    def __init__(self, tables: Tables, behaviour: Behaviour, attempts: Mapping[Place, Sequence[LogAttempt]]) -> None:
        """`attempts`: the recorded ones that ended, by item, in their order."""
        self._tables = tables
        self._behaviour = behaviour
        self._attempts = attempts

    def problems(self, row: TaskRun, index: int, *, rough: bool) -> Iterator[str]:
        """What is wrong with one item's tries. `rough`: tries may have overrun their time, or been lost."""
        item = self._tables.items[row.id << INDEX_BITS | index]
        place = item_place(row, index)
        task = self._behaviour.task(place.run, place.task)
        failures = 0
        logged = self._attempts.get(place, ())
        for number, attempt in enumerate(logged, start=1):
            plan = self._behaviour.plan(Try(place.run, place.task, place.item, attempt.attempt))
            if attempt.attempt != number:
                yield f"{place} has no ended attempt {number}, but {attempt.attempt}"
            excused = rough and _excused(attempt, task)
            if not excused and not _as_planned(attempt, plan):
                yield f"attempt {number} of {place} was to {plan.end}, but {_told(attempt)}"
            failures += attempt.error_class not in {None, *LOSSES_OF_JOBS}
            if attempt.state == "retrying" and failures > task.retries.limit:
                yield f"{place} was tried again after {failures} failures, with a limit of {task.retries.limit}"
        yield from self._end(item, place, task, logged, failures)

    def _end(
        self, item: WorkItem, place: Place, task: Task, logged: Sequence[LogAttempt], failures: int
    ) -> Iterator[str]:
        if item.failures > task.retries.limit + 1:
            yield f"{place} is charged {item.failures} failures, with a limit of {task.retries.limit}"
        if item.state == "cancelled":
            return
        last = logged[-1] if logged else None
        if last is None or last.state != item.state or last.attempt != item.attempt:
            yield f"{place} ended {item.state} in attempt {item.attempt}, recorded is {last and _told(last)}"
            return
        lost = last.error_class in LOSSES_OF_JOBS
        if lost and item.losses < LOSSES - 1:
            yield f"{place} failed as lost after {item.losses} losses"
        fatal = last.error_class == "transaction_ended"
        if item.state in BAD and not lost and not fatal and failures <= task.retries.limit:
            yield f"{place} ended {item.state} after {failures} failures, with a limit of {task.retries.limit}"
        if item.state == "succeeded":
            yield from self._result(item, place)

    def _result(self, item: WorkItem, place: Place) -> Iterator[str]:
        plan = self._behaviour.plan(Try(place.run, place.task, place.item, item.attempt))
        if plan.yields:
            rows = self._tables.values.get(item.id, {})
            result = [rows[index] for index in sorted(rows)]
            if item.row_count != len(result):
                yield f"{place} says that it yielded {item.row_count} values, and {len(result)} are there"
        else:
            result = item.result
        if result != plan.values:
            yield f"{place} came to {result!r} instead of {plan.values!r}"


def _as_planned(attempt: LogAttempt, plan: Plan) -> bool:
    if plan.vanishes and attempt.error_class in LOSSES_OF_JOBS:
        return True
    wanted = {FAIL: "user", CRASH: "user", HANG: "timeout", END: "transaction_ended"}.get(plan.end)
    if attempt.state == "cancelled":
        return True
    return attempt.error_class == wanted and (attempt.state == "succeeded") == (wanted is None)


def _excused(attempt: LogAttempt, task: Task) -> bool:
    if attempt.error_class == "timeout":
        return task.timeout is not None
    return attempt.error_class in LOSSES_OF_JOBS


def _told(attempt: LogAttempt) -> str:
    return f"attempt {attempt.attempt} {attempt.state} ({attempt.error_class}: {attempt.error})"


def _named(row: TaskRun) -> str:
    where = f"[{row.index_path}]" if row.index_path else ""
    return f"task {row.task}{where} of run {row.run_id}"
