"""TaskRuns in the hands of a batch: the row that was loaded, the node that the core sees, and the difference.

Guarantees: what is written is the difference to what was loaded under the run's lock, so two writers of one batch
can't undo each other. Never: a query.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from freshet.domain.model import Kind, Task
from freshet.domain.settle import Node
from freshet.domain.states import TaskState, is_final
from freshet.storage.engine_rows import TaskRunRow

COUNTERS = ("succeeded", "failed", "skipped", "cancelled")


@dataclass(kw_only=True, slots=True)
class LoadedTask:
    """One TaskRun under the run's lock. Mutable: it lives for one batch."""

    row: TaskRunRow
    task: Task
    node: Node
    mark: int
    tries: int = 0  # ended in this batch, but for the successes, which SQL has counted

    @classmethod
    def of(cls, row: TaskRunRow, task: Task) -> LoadedTask:
        """From a loaded row and its definition."""
        node = Node(
            task=task,
            state=TaskState(row.state),
            total=row.total,
            error=row.error,
            **{name: getattr(row, name) for name in COUNTERS},
        )
        return cls(row=row, task=task, node=node, mark=row.mark)

    @property
    def open(self) -> bool:
        """Whether it runs and knows its width."""
        return self.node.state is TaskState.RUNNING and self.node.total is not None

    @property
    def in_flight(self) -> int:
        """Items that have rows and have not ended."""
        return self.mark - self.node.ended

    @property
    def ended_now(self) -> bool:
        """Whether this batch made it final."""
        return is_final(self.node.state) and self.row.state != self.node.state

    @property
    def started_now(self) -> bool:
        """Whether this batch started it, even if it has ended since."""
        return self.row.state == TaskState.PENDING and self.node.state is not TaskState.PENDING and self._ran

    @property
    def fell(self) -> bool:
        """Whether it ended in this batch without having run before it: its children were not asked for yet."""
        return self.row.state == TaskState.PENDING and is_final(self.node.state)

    @property
    def _ran(self) -> bool:
        return self.node.state not in {TaskState.SKIPPED, TaskState.CANCELLED}

    def add(self, counter: str, count: int = 1) -> None:
        """Add to a counter."""
        self.node = replace(self.node, **{counter: getattr(self.node, counter) + count})

    def fail(self, error: dict[str, Any]) -> None:
        """Keep the first error as the TaskRun's."""
        if self.node.error is None:
            self.node = replace(self.node, error=error)

    def cancel_unopened(self) -> None:
        """Items that no window has opened end as cancelled by counting alone: the width of a map costs nothing."""
        if self.open and self.node.total is not None and self.mark < self.node.total:
            self.add("cancelled", self.node.total - self.mark)
            self.mark = self.node.total

    def change(self) -> dict[str, Any] | None:
        """The row for engine.put; None when nothing changed."""
        difference = {name: getattr(self.node, name) - getattr(self.row, name) for name in COUNTERS}
        same = (
            self.node.state == self.row.state
            and self.mark == self.row.mark
            and not any(difference.values())
            and not self.tries
        )
        if same and self.node.total == self.row.total:
            return None
        return {
            "id": self.row.id,
            "state": self.node.state,
            "total": self.node.total,
            "mark": self.mark,
            **difference,
            "attempts": self.tries,
            "error": self.node.error,
            "started": self.started_now,
            "finished": self.ended_now,
        }


@dataclass(kw_only=True, slots=True)
class LoadedScope:
    """The tasks of one scope: the run's own (element None) or of one element of a nested map."""

    path: str  # of the nested map, "" for the run
    index_path: str
    element: int | None
    width: int  # how many tasks it has
    tasks: dict[str, LoadedTask] = field(default_factory=dict)
    ended: bool = False
    followed: set[str] = field(default_factory=set)  # tasks whose children were asked for, in a scope seen in part

    @property
    def complete(self) -> bool:
        """Whether all its tasks are loaded."""
        return len(self.tasks) == self.width

    @property
    def was_final(self) -> bool:
        """Whether all its tasks were, before this batch."""
        return self.complete and all(is_final(TaskState(loaded.row.state)) for loaded in self.tasks.values())

    @property
    def depth(self) -> int:
        """0 for the run's own scope."""
        return self.index_path.count(".") + 1 if self.index_path else 0


def is_map(task: Task) -> bool:
    """Whether its items are scopes."""
    return task.kind is Kind.MAP


def is_plain(task: Task) -> bool:
    """Whether it is one item, which a worker's child runs: nothing to expand, no place in a pool to be counted."""
    return not task.mapped and task.kind in {Kind.PROCESS, Kind.PYTHON, Kind.SQL}
