"""How far a decision has to look in a wide scope.

Purpose: a batch loads of a wide scope what was touched and what that may start; should more turn out to matter, this
loads it. Guarantees: whatever may start is loaded with all its parents; the end of a scope, and the start of its
`finally` tasks, are decided on all of it. Never: a task that still waits for others, unless it is a parent.
"""

from __future__ import annotations

from collections.abc import Sequence

from freshet.domain.model import Workflow
from freshet.domain.states import is_final
from freshet.engine.loaded import LoadedScope
from freshet.storage.engine_rows import TaskRunRow
from freshet.storage.engine_store import EngineBatch


class Reach:
    """For the scopes of one run."""

    def __init__(self, run: str, workflow: Workflow, batch: EngineBatch, finals: frozenset[str]) -> None:
        """`finals`: the names of the `finally` tasks, which wait for all others of the run's own scope."""
        self._run = run
        self._workflow = workflow
        self._batch = batch
        self._finals = finals

    def further(self, scope: LoadedScope) -> Sequence[TaskRunRow]:
        """What has to be seen besides, after the rules were applied to what was; none when that was enough."""
        paths = self._waiting(scope)
        if paths:
            return self._batch.tasks_and_parents(self._run, scope.index_path, paths)
        finals = self._finals if scope.element is None else frozenset()
        if any(not is_final(loaded.node.state) for name, loaded in scope.tasks.items() if name not in finals):
            return []
        known = [loaded.row.id for loaded in scope.tasks.values()]
        return self._batch.scope_at_rest(self._run, scope.element, known=known, spared=sorted(finals))

    def _waiting(self, scope: LoadedScope) -> list[str]:
        """The children, not loaded yet, of tasks that ended now without having been touched."""
        fallen = [name for name, loaded in scope.tasks.items() if loaded.fell and name not in scope.followed]
        scope.followed.update(fallen)
        children = {path for name in fallen for path in self._workflow.children(scope.tasks[name].task.path)}
        return sorted(path for path in children if self._workflow.task(path).name not in scope.tasks)
