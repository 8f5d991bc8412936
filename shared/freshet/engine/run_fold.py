"""One run's part of a batch: from requests and outcomes to a decision.

Purpose: load the touched scopes, apply outcomes, settle from the inside out until nothing changes, open what may be
opened. Guarantees: the cost follows the tasks touched and the windows opened, never the width of a map or of a scope;
settling is the core's, this module only feeds it. Never: a commit; it runs inside the batch's transaction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from freshet.domain.model import Task, Workflow, sibling
from freshet.domain.settle import Settlement, settle
from freshet.domain.sizing import BUNDLE_CAP, SHARED_CAP, WINDOW_FLOOR, plan
from freshet.domain.states import RunState, TaskState, is_final
from freshet.engine.decision import Decision
from freshet.engine.expansion import Expansion
from freshet.engine.facts import Fact, run_fact, task_fact
from freshet.engine.loaded import LoadedScope, LoadedTask, is_map, is_plain
from freshet.engine.outcomes import Outcomes
from freshet.engine.pace import Pace
from freshet.engine.reach import Reach
from freshet.storage.engine_rows import OutcomeRow, RunRow, TaskRunRow
from freshet.storage.engine_store import EngineBatch

#: Elements of one nested map that are open at once; each is a scope with TaskRuns of its own.
ELEMENTS = 32
#: Job services of one map in flight at once.
JOBS = 1000


class RunFold:
    """A run under lock, being decided. Lives for one batch."""

    def __init__(
        self,
        run: RunRow,
        workflow: Workflow,
        rows: Iterable[TaskRunRow],
        *,
        batch: EngineBatch,
        now: str,
        pace: Pace,
        draw: Callable[[], float],
    ) -> None:
        self.run = run
        self.workflow = workflow
        self.decision = Decision()
        self._batch = batch
        self._now = now
        self._pace = pace
        self._expansion = Expansion(run, workflow, batch)
        self._outcomes = Outcomes(run, now=now, draw=draw, queue=self._bundle)
        self._finals = frozenset(task.name for task in workflow.finals)
        self._reach = Reach(run.id, workflow, batch, self._finals)
        self._cancelled = run.cancel_requested_at is not None
        self._asked_to_cancel = False
        self._turn = run.turn
        self._state = RunState(run.state)
        self._scopes: dict[int | None, LoadedScope] = {}
        self._by_id: dict[int, LoadedTask] = {}
        self._dirty: set[int | None] = set()
        self._facts: list[Fact] = []
        self._load(rows)
        for scope in self._scopes.values():
            # What ended before this batch ended once, whatever a late report touches: its outer task has counted it.
            scope.ended = is_final(self._state) if scope.element is None else scope.was_final

    # --- what came in -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the run's own scope, once; what a rerun does not run again is copied."""
        if self._state is not RunState.PENDING or self._scopes or self.run.held:
            return
        if self.run.rerun_of is not None and self.run.rerun_tasks is not None:
            self._load(self._batch.copy_tasks(self.run.id, self.run.rerun_of, self.run.rerun_tasks))
        tasks = [self._row(task) for task in self.workflow.scope("")]
        rows = [{"run_id": self.run.id, "scope": None, "index_path": "", **row} for row in tasks]
        self._load(self._batch.open_scope(rows))

    def cancel(self) -> None:
        """End what is in flight; the rest follows from the rules. A final run stays as it is."""
        if is_final(self._state) or self._cancelled:
            return
        self.run = replace(self.run, held=False)
        self.start()
        self._cancelled = self._asked_to_cancel = True
        self.decision.stops += self._batch.cancel_bundles(self.run.id, spared=sorted(self._finals))
        for loaded in self._by_id.values():
            if self._ends_with_a_cancel(loaded.task.path):
                loaded.cancel_unopened()
        self._dirty |= set(self._scopes)

    def apply(self, outcomes: Iterable[OutcomeRow], *, cancelling: bool) -> None:
        """Decide about the attempts that did not succeed. `cancelling` says that a cancel comes with them."""
        cancelled = self._cancelled or cancelling
        for outcome in outcomes:
            loaded = self._by_id[outcome.task_run_id]
            self._outcomes.apply(loaded, outcome, last=cancelled and self._ends_with_a_cancel(loaded.task.path))

    def _ends_with_a_cancel(self, path: str) -> bool:
        """Whether a cancel ends the task: `finally` tasks, and those within them, run in every case."""
        return path.partition(".")[0] not in self._finals

    # --- settling ---------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Apply the rules from the innermost scope outwards until nothing changes, then open the windows."""
        while self._dirty:
            element = max(self._dirty, key=lambda each: self._scopes[each].depth)
            self._dirty.discard(element)
            self._settle_scope(self._scopes[element])

    def _settle_scope(self, scope: LoadedScope) -> None:
        if scope.ended:
            return
        nodes = {name: loaded.node for name, loaded in scope.tasks.items()}
        finals = self._finals if scope.element is None else frozenset()
        cancelled = self._cancelled and (scope.element is None or self._ends_with_a_cancel(scope.path))
        settlement = settle(nodes, finals=finals, cancelled=cancelled, complete=scope.complete)
        self._adopt(scope, settlement)
        if settlement.outcome is not None:
            self._end_scope(scope, settlement.outcome)
        elif not scope.complete:
            self._load(self._reach.further(scope))
            scope.ended = scope.element is not None and scope.was_final

    def _adopt(self, scope: LoadedScope, settlement: Settlement) -> None:
        for name in settlement.changed:
            scope.tasks[name].node = settlement.nodes[name]
        for name in settlement.started:
            self._start_task(scope, scope.tasks[name])
        for loaded in scope.tasks.values():
            self._open_window(loaded)

    def _start_task(self, scope: LoadedScope, loaded: LoadedTask) -> None:
        if not loaded.task.mapped:
            return
        width = self._expansion.expand(loaded, scope)
        if isinstance(width, int):
            loaded.node = replace(loaded.node, total=width)
        else:
            loaded.node = replace(loaded.node, total=0, state=TaskState.FAILED, error=width)
        self._dirty.add(scope.element)

    def _end_scope(self, scope: LoadedScope, outcome: RunState) -> None:
        scope.ended = True
        if scope.element is None:
            self._state = outcome
            return
        outer = self._by_id[scope.element >> 24]
        outer.add(outcome.value)
        if outcome is RunState.FAILED:
            outer.fail({"class": "user", "message": f"Element {scope.index_path} of {scope.path} failed."})
        self.decision.elements.append(
            {"id": scope.element, "state": outcome, "result_of": self._result_of(scope, outer.task)}
        )
        self._dirty.add(outer.row.scope)

    def _result_of(self, scope: LoadedScope, outer: Task) -> int | None:
        if outer.result is None:
            return None
        row = scope.tasks[outer.result].row
        return row.copied_from or row.id

    # --- windows ----------------------------------------------------------------------------------------------------

    def _open_window(self, loaded: LoadedTask) -> None:
        total = loaded.node.total
        if not loaded.open or total is None or loaded.mark >= total:
            return
        if self._cancelled and self._ends_with_a_cancel(loaded.task.path):
            loaded.cancel_unopened()
            self._dirty.add(loaded.row.scope)
        elif is_map(loaded.task):
            self._open_elements(loaded, total)
        else:
            self._open_items(loaded, total)

    def _open_items(self, loaded: LoadedTask, total: int) -> None:
        for count in self._sizes(loaded, total):
            if not loaded.task.single:
                self._pace.opened(self.run.id, count)
            row = self._bundle(loaded) | {"first": loaded.mark, "count": count}
            self.decision.fresh.append(row)
            loaded.mark += count

    def _sizes(self, loaded: LoadedTask, total: int) -> tuple[int, ...]:
        if loaded.node.plain:
            return (1,)
        mean, measured = self._pace.mean(self.run.workflow, self.run.version, loaded.row)
        floor = WINDOW_FLOOR
        if loaded.task.single:
            # A job or a query in flight holds no worker: one by one, and as many at once as the account may hold.
            mean, measured, floor = math.inf, 1, JOBS
        return plan(
            total,
            loaded.mark,
            loaded.in_flight,
            mean_s=mean,
            measured=measured,
            workers=self._pace.workers(loaded.task.queue_name),
            floor=floor,
            cap=SHARED_CAP if self._pace.is_shared(self.run.id) else BUNDLE_CAP,
        )

    def _open_elements(self, loaded: LoadedTask, total: int) -> None:
        if 2 * loaded.in_flight > ELEMENTS:
            return
        count = min(ELEMENTS - loaded.in_flight, total - loaded.mark)
        tasks = [self._row(task) for task in loaded.task.tasks]
        rows = self._batch.open_elements(loaded.row.id, first=loaded.mark, count=count, tasks=tasks)
        loaded.mark += count
        self._load(rows)

    # --- what goes out ----------------------------------------------------------------------------------------------

    def decided(self) -> Decision:
        """The rows of this run, its facts last."""
        self.decision.fresh = _in_order(self.decision.fresh)
        self.decision.extend(self._outcomes.finished())
        for _, loaded in sorted(self._by_id.items()):  # in whatever order they came to be seen
            change = loaded.change()
            if change is not None:
                self.decision.nodes.append(change)
                self._note(loaded)
        self._decide_run()
        if self._facts:
            self.decision.facts.append({"run_id": self.run.id, "body": self._facts})
        return self.decision

    @property
    def is_plain(self) -> bool:
        """Whether all that it changes, once decided, are tasks of one item each that a worker runs itself."""
        return all(is_plain(self._by_id[row["id"]].task) for row in self.decision.nodes)

    def _note(self, loaded: LoadedTask) -> None:
        if loaded.started_now:
            self._facts.append(task_fact(loaded, "running", now=self._now))
        if loaded.ended_now:
            self._facts.append(task_fact(loaded, loaded.node.state.value, now=self._now))

    def _decide_run(self) -> None:
        if self._state is RunState.PENDING and self._scopes:
            self._state = RunState.RUNNING
        started = self.run.state == RunState.PENDING and self._state is not RunState.PENDING
        changed = self._state != self.run.state
        error = self._error() if changed and self._state is RunState.FAILED else None
        if started:
            self._facts.insert(0, run_fact(self.run, self.workflow, "running", now=self._now))
        if changed and is_final(self._state):
            self._facts.append(run_fact(self.run, self.workflow, self._state.value, now=self._now, error=error))
        if changed or self._turn != self.run.turn or self._asked_to_cancel:
            state = self._state if changed else None
            row = {"id": self.run.id, "state": state, "turn": self._turn, "error": error}
            self.decision.runs.append(row | {"cancel": self._asked_to_cancel})

    def _error(self) -> dict[str, Any] | None:
        for loaded in sorted(self._scopes[None].tasks.values(), key=lambda each: each.row.id):
            if loaded.node.state is TaskState.FAILED and loaded.node.error:
                sentence = f"Task {loaded.row.task} failed: {loaded.node.error.get('message')}"
                return {"class": loaded.node.error.get("class"), "message": sentence, "task": loaded.row.task}
        return None

    # --- rows -------------------------------------------------------------------------------------------------------

    def _load(self, rows: Iterable[TaskRunRow]) -> None:
        for row in rows:
            if row.id in self._by_id:
                continue
            task = self.workflow.task(row.task)
            if row.scope not in self._scopes:
                path = row.task.rpartition(".")[0]
                self._scopes[row.scope] = LoadedScope(
                    path=path, index_path=row.index_path, element=row.scope, width=len(self.workflow.scope(path))
                )
            loaded = LoadedTask.of(row, task)
            self._scopes[row.scope].tasks[task.name] = loaded
            self._by_id[row.id] = loaded
            self._dirty.add(row.scope)

    def _bundle(self, loaded: LoadedTask) -> dict[str, Any]:
        queue = loaded.task.queue_name
        behind = self._turn < self._pace.turn(queue)
        self._turn = max(self._turn, self._pace.turn(queue)) + 1
        return {
            "run_id": self.run.id,
            "task_run_id": loaded.row.id,
            "queue": queue,
            "priority": self.run.priority,
            "turn": self._turn,
            "behind": behind,  # others have had more turns
            "timeout_s": loaded.task.timeout,
            "limit_key": self._pace.limit_key(loaded.task),
        }

    def _row(self, task: Task) -> dict[str, Any]:
        parents = [sibling(task.path, name) for name in task.after]
        children = self.workflow.children(task.path)
        return {"task": task.path, "kind": task.kind.value, "parents": parents, "children": children}


def _in_order(fresh: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """New bundles by task and item, not by when the rules came to see their tasks, which hangs on what was loaded."""
    turns = sorted(row["turn"] for row in fresh)
    rows = sorted(fresh, key=lambda row: (row["task_run_id"], row["first"]))
    for row, turn in zip(rows, turns, strict=True):
        row["turn"] = turn
    return rows
