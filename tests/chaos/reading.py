"""A history with its rows found by what they are about."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from tests.chaos.history import INDEX, Effect, History, Item, Run, TaskRun

Place = tuple[str, str, str]  # run, task, dotted index path of the item


@dataclass
class Reading:
    """A history with its rows found by what they are about."""

    history: History
    runs: dict[str, Run] = field(init=False)
    task_runs: dict[int, TaskRun] = field(init=False)

    def __post_init__(self) -> None:
        self.runs = {run.id: run for run in self.history.runs}
        self.task_runs = {each.id: each for each in self.history.task_runs}

    def place(self, item: Item) -> Place:
        """Where an item belongs."""
        task = self.task_runs[item.id >> 24]
        index = str(item.id & INDEX)
        path = task.index_path
        if task.mapped:
            path = f"{path}.{index}" if path else index
        return task.run, task.task, path

    @cached_property
    def items(self) -> dict[Place, Item]:
        """Items by place."""
        return {self.place(item): item for item in self.history.items}

    @cached_property
    def kinds(self) -> dict[tuple[str, str], str]:
        """The kind of a run's task."""
        return {(each.run, each.task): each.kind for each in self.history.task_runs}

    @cached_property
    def effects(self) -> dict[Place, list[Effect]]:
        """Effects by the item that they name."""
        found: dict[Place, list[Effect]] = defaultdict(list)
        for each in self.history.effects:
            found[each.run, each.task, each.item].append(each)
        return found

    def of_kind(self, *kinds: str) -> Iterator[tuple[Place, Item]]:
        """The items of tasks of these kinds; those of maps are scopes."""
        return ((place, item) for place, item in self.items.items() if self.kinds[place[:2]] in kinds)
