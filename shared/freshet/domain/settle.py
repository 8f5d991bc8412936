"""The rules of the graph, for one scope: what starts, what is skipped, what has ended.

Purpose: the joint rules over a scope's tasks, repeated until nothing changes. A million items are one node: only
counters come in, only states and totals go out. Guarantees: settling again changes nothing; the answer does not
depend on the order of the tasks; a final node is never touched; the cost is linear in nodes and edges. Never: items,
payloads, time. The rules (word for word in `_starts`, `_ended`, `_outcome`):

    a  a running task whose items have all ended is final: failed if one failed, else cancelled if one was
       cancelled, else (a plain one) skipped if its item was, else succeeded; an empty map has succeeded
    b  a pending task whose parents are all final starts or is skipped, as its `run_if` says
    c  a cancel ends the pending tasks; running ones wait for their items
    d  the `finally` tasks start when all others are final, in every case; a cancel does not touch them
    e  the scope has ended when all its nodes are final
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from freshet.domain.errors import ImpossibleCountError
from freshet.domain.model import Kind, OnFailure, RunIf, Task
from freshet.domain.states import RunState, TaskEvent, TaskState, advance, is_final


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A TaskRun with its counters. Expired items count as failed ones."""

    task: Task
    state: TaskState = TaskState.PENDING
    total: int | None = None  # items, or elements of a nested map; None until started, and expanded if it fans out
    succeeded: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0
    error: Mapping[str, Any] | None = None  # carried, never read

    @property
    def plain(self) -> bool:
        """Whether the task has one item, rather than a list made at run time."""
        return not self.task.mapped and self.task.kind is not Kind.MAP

    @property
    def ended(self) -> int:
        """How many of its items are final."""
        return self.succeeded + self.failed + self.skipped + self.cancelled


@dataclass(frozen=True, kw_only=True, slots=True)
class Settlement:
    """What the rules answer."""

    nodes: Mapping[str, Node]  # all of the scope, after
    changed: frozenset[str]  # the names whose node differs from what came in
    started: tuple[str, ...]  # by name: a plain one now has total 1, one that fans out has to be expanded
    outcome: RunState | None  # None until every node is final


def settle(
    nodes: Mapping[str, Node],
    *,
    finals: frozenset[str] = frozenset(),
    cancelled: bool = False,
    complete: bool = True,
) -> Settlement:
    """Apply the rules to one scope until nothing changes.

    `nodes` holds the scope's tasks by their name in it, `finals` names those of the `finally` section, `cancelled`
    says that the run was asked to end. Not `complete`: some of the scope's tasks are missing; then what waits for a
    missing parent waits on, no `finally` task starts, and the scope does not end. Raises ImpossibleCountError when
    more items of a node have ended than it has.
    """
    after = dict(nodes)
    _settle_tasks(after, finals, cancelled=cancelled)
    _settle_finals(after, finals, complete=complete)
    changed = frozenset(name for name, node in after.items() if node is not nodes[name])
    return Settlement(
        nodes=after,
        changed=changed,
        started=tuple(sorted(name for name in changed if _was_started(nodes[name], after[name]))),
        outcome=_outcome(after, finals, cancelled=cancelled) if complete else None,
    )


def _settle_tasks(nodes: dict[str, Node], finals: frozenset[str], *, cancelled: bool) -> None:
    children = _children(nodes)
    # How many parents each child still waits for: scanning a wide fan-in again for each of its parents would cost
    # the square of its width.
    awaited = {name: _open_parents(nodes, name) for name in nodes}
    work = deque(name for name in nodes if name not in finals)
    while work:
        name = work.popleft()
        node = _settled(nodes, name, ready=not awaited[name], cancelled=cancelled)
        if node is nodes[name]:
            continue
        nodes[name] = node
        if is_final(node.state):
            for child in children[name]:
                awaited[child] -= 1
                work.append(child)


def _open_parents(nodes: Mapping[str, Node], name: str) -> int:
    return sum(parent not in nodes or not is_final(nodes[parent].state) for parent in nodes[name].task.after)


def _children(nodes: Mapping[str, Node]) -> Mapping[str, list[str]]:
    children: dict[str, list[str]] = {name: [] for name in nodes}
    for name, node in nodes.items():
        for parent in node.task.after:
            if parent in children:
                children[parent].append(name)
    return children


def _settled(nodes: Mapping[str, Node], name: str, *, ready: bool, cancelled: bool) -> Node:
    node = nodes[name]
    if node.state is TaskState.PENDING and cancelled:
        return _cancelled(node)
    if node.state is TaskState.PENDING:
        return _judged(node, nodes) if ready else node
    if node.state is TaskState.RUNNING and cancelled and node.total is None:
        return _cancelled(node)  # not expanded: there is no item to wait for
    return _ended(node)


def _settle_finals(nodes: dict[str, Node], finals: frozenset[str], *, complete: bool) -> None:
    ready = complete and all(is_final(node.state) for name, node in nodes.items() if name not in finals)
    for name in finals & nodes.keys():
        node = nodes[name]
        nodes[name] = _started(node) if ready and node.state is TaskState.PENDING else _ended(node)


def _judged(node: Node, nodes: Mapping[str, Node]) -> Node:
    parents = [nodes[name] for name in node.task.after]
    return _started(node) if _starts(node.task.run_if, parents) else _skipped(node)


def _starts(rule: RunIf, parents: list[Node]) -> bool:
    match rule:
        case RunIf.ALL_SUCCEEDED:
            return all(_good(parent) for parent in parents)
        case RunIf.ALL_DONE:
            return True
        case RunIf.ANY_FAILED:
            return any(parent.state is TaskState.FAILED for parent in parents)
        case RunIf.ANY_SUCCEEDED:
            return any(parent.state is TaskState.SUCCEEDED for parent in parents)


def _good(parent: Node) -> bool:
    if parent.state is TaskState.FAILED:
        return parent.task.on_failure is OnFailure.CONTINUE
    return parent.state is TaskState.SUCCEEDED


def _started(node: Node) -> Node:
    return replace(node, state=advance(node.state, TaskEvent.STARTED), total=1 if node.plain else None)


def _skipped(node: Node) -> Node:
    one = 1 if node.plain else 0
    return replace(node, state=advance(node.state, TaskEvent.SKIPPED), total=one, skipped=one)


def _cancelled(node: Node) -> Node:
    one = 1 if node.plain else 0
    return replace(node, state=advance(node.state, TaskEvent.CANCELLED), total=one, cancelled=one)


def _ended(node: Node) -> Node:
    if node.state is not TaskState.RUNNING or node.total is None:
        return node
    if node.ended > node.total:
        raise ImpossibleCountError(f"Task {node.task.path} has {node.total} items, but {node.ended} have ended.")
    if node.ended < node.total:
        return node
    return replace(node, state=advance(node.state, _end_event(node)))


def _end_event(node: Node) -> TaskEvent:
    if node.failed:
        return TaskEvent.FAILED
    if node.cancelled:
        return TaskEvent.CANCELLED
    return TaskEvent.SKIPPED if node.plain and node.skipped else TaskEvent.SUCCEEDED


def _was_started(before: Node, after: Node) -> bool:
    return before.state is TaskState.PENDING and after.state is TaskState.RUNNING


def _outcome(nodes: Mapping[str, Node], finals: frozenset[str], *, cancelled: bool) -> RunState | None:
    if not all(is_final(node.state) for node in nodes.values()):
        return None
    if any(_fails_the_run(node, final=name in finals) for name, node in nodes.items()):
        return RunState.FAILED
    return RunState.CANCELLED if cancelled else RunState.SUCCEEDED


def _fails_the_run(node: Node, *, final: bool) -> bool:
    return node.state is TaskState.FAILED and (final or node.task.on_failure is OnFailure.BLOCK)
