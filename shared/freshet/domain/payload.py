"""What a task is called with.

Purpose: the one rule for payloads, whoever executes the task. Guarantee: values pass through untouched. Never: CEL
(`input:` replaces what is composed here), JSON, a size limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from freshet.domain.model import Task


class Missing(Enum):
    """That there is no value, which is not the same as null."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING


def compose(
    task: Task,
    *,
    params: Mapping[str, Any],
    parents: Mapping[str, Any],
    element: Any = MISSING,
    item: Any = MISSING,
    run: Any = MISSING,
) -> Any:
    """Answer the payload of one item of `task`.

    The item of its own `for_each`, else the run object in the `finally` section (`run`), else the parent's value,
    else an object of several parents' values by name, else the `element` of the scope around it, else the run's
    `params`. `parents` holds the values of those that succeeded; a skipped or failed parent is null.
    """
    if task.mapped:
        return item
    if run is not MISSING:
        return run
    if len(task.after) == 1:
        return parents.get(task.after[0])
    if task.after:
        return {name: parents.get(name) for name in task.after}
    return params if element is MISSING else element
