"""A run in miniature, driven by Hypothesis: legal work, a cancel at any time, and an adversary."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from freshet.domain.model import OnFailure, RunIf, Task
from freshet.domain.settle import Node, Settlement, settle
from freshet.domain.states import RunState, TaskState, is_final

from .build import FINAL_STATES, ended, mapped, nested, node, scope, task

COUNTERS = ("succeeded", "failed", "skipped", "cancelled")


@st.composite
def tasks_of_a_scope(draw: st.DrawFn, most: int = 7) -> tuple[Task, ...]:
    """An acyclic scope, declared in any order."""
    tasks: list[Task] = []
    for index in range(draw(st.integers(1, most))):
        parents = [earlier.name for earlier in tasks if draw(st.integers(0, 2)) == 0]
        rules = list(RunIf) if parents else [RunIf.ALL_SUCCEEDED, RunIf.ALL_DONE]
        make = draw(st.sampled_from([task, task, mapped, nested]))
        fields = {
            "run_if": draw(st.sampled_from([RunIf.ALL_SUCCEEDED, *rules])),
            "on_failure": draw(st.sampled_from(OnFailure)),
        }
        tasks.append(make(f"t{index}", *parents, **fields))
    return tuple(draw(st.permutations(tasks)))


def may_start(of: Task, nodes: Mapping[str, Node]) -> bool:
    """The rules of the graph, written a second time from the design's words."""
    parents = [nodes[name] for name in of.after]
    good = [
        parent.state is TaskState.SUCCEEDED
        or (parent.state is TaskState.FAILED and parent.task.on_failure is OnFailure.CONTINUE)
        for parent in parents
    ]
    return {
        RunIf.ALL_SUCCEEDED: all(good),
        RunIf.ALL_DONE: True,
        RunIf.ANY_FAILED: TaskState.FAILED in [parent.state for parent in parents],
        RunIf.ANY_SUCCEEDED: TaskState.SUCCEEDED in [parent.state for parent in parents],
    }[of.run_if]


class RunInMiniature(RuleBasedStateMachine):
    """What dispatcher and workers do to one scope, with counters for items."""

    nodes: dict[str, Node]
    finals: frozenset[str]

    @initialize(tasks=tasks_of_a_scope(), last=st.integers(0, 2), shuffle=st.integers(0, 2**16))
    def begin(self, tasks: tuple[Task, ...], last: int, shuffle: int) -> None:
        ends = [make(f"f{make.__name__}", on_failure=OnFailure.CONTINUE) for make in (task, mapped)[:last]]
        self.finals = frozenset(each.name for each in ends)
        self.shuffle = random.Random(shuffle)
        self.cancelled = False
        self.outcome: RunState | None = None
        self.begun: set[str] = set()
        self.nodes = scope(*map(node, (*tasks, *ends)))
        self.settle()

    def settled(self, nodes: Mapping[str, Node]) -> Settlement:
        """Settle in a shuffled order."""
        names = list(nodes)
        self.shuffle.shuffle(names)
        return settle({name: nodes[name] for name in names}, finals=self.finals, cancelled=self.cancelled)

    def settle(self) -> None:
        before = self.nodes
        answer = self.settled(before)
        assert answer == self.settled(before), "the order of declaration changed the answer"
        self.nodes = dict(answer.nodes)
        self.check_changes(before, answer)
        self.outcome = answer.outcome

    def check_changes(self, before: Mapping[str, Node], answer: Settlement) -> None:
        assert answer.changed == {name for name in before if before[name] != self.nodes[name]}
        assert not self.begun & set(answer.started), "a task started twice"
        self.begun |= set(answer.started)
        for name, old in before.items():
            new = self.nodes[name]
            if is_final(old.state):
                assert new is old, "a final state is final"
            if old.state is TaskState.PENDING and new.state is not TaskState.PENDING:
                self.check_first_move(name, new)
            if old.state is TaskState.RUNNING and is_final(new.state):
                self.check_end(old, new)

    def check_end(self, old: Node, new: Node) -> None:
        if new.failed:
            assert new.state is TaskState.FAILED
        elif new.cancelled:
            assert new.state is TaskState.CANCELLED
        elif new.plain:
            assert getattr(new, new.state.value) == 1
        else:
            assert new.state is (TaskState.CANCELLED if old.total is None else TaskState.SUCCEEDED)
            assert self.cancelled or old.total is not None

    def check_first_move(self, name: str, new: Node) -> None:
        assert (new.state is TaskState.RUNNING) == (name in self.begun)
        assert new.state is not TaskState.RUNNING or new.total == (1 if new.plain else None)
        if name in self.finals:
            assert all(is_final(self.nodes[other].state) for other in self.nodes if other not in self.finals)
        elif self.cancelled:
            assert new.state is TaskState.CANCELLED
        else:
            assert all(is_final(self.nodes[parent].state) for parent in new.task.after)
            assert (new.state is not TaskState.SKIPPED) == may_start(new.task, self.nodes)

    def running(self, *, expanded: bool) -> list[str]:
        return sorted(
            name
            for name, each in self.nodes.items()
            if each.state is TaskState.RUNNING and (each.total is not None) == expanded
        )

    def put(self, name: str, **fields: object) -> None:
        self.nodes = {**self.nodes, name: replace(self.nodes[name], **fields)}  # type: ignore[arg-type]
        self.settle()

    @precondition(lambda self: self.running(expanded=False))
    @rule(data=st.data(), total=st.integers(0, 3))
    def expand(self, data: st.DataObject, total: int) -> None:
        self.put(data.draw(st.sampled_from(self.running(expanded=False))), total=total)

    @precondition(lambda self: self.running(expanded=False))
    @rule(data=st.data())
    def fail_to_expand(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.running(expanded=False)))
        self.put(name, state=TaskState.FAILED, total=0, error={"class": "user"})

    @precondition(lambda self: self.running(expanded=True))
    @rule(data=st.data(), counter=st.sampled_from(("succeeded", "succeeded", "failed", "skipped")))
    def report(self, data: st.DataObject, counter: str) -> None:
        """A worker's legal move: some running item ends."""
        name = data.draw(st.sampled_from(self.running(expanded=True)))
        self.put(name, **{counter: getattr(self.nodes[name], counter) + 1})

    @precondition(lambda self: self.outcome is None)
    @rule(odds=st.integers(0, 3))
    def cancel(self, odds: int) -> None:
        if odds == 0:
            self.cancelled = True
            self.settle()

    @precondition(lambda self: self.cancelled and self.running(expanded=True))
    @rule(data=st.data())
    def sweep(self, data: st.DataObject) -> None:
        """After a cancel, what is in flight comes back cancelled."""
        name = data.draw(st.sampled_from(self.running(expanded=True)))
        self.put(name, cancelled=self.nodes[name].cancelled + 1)

    @precondition(lambda self: any(is_final(each.state) for each in self.nodes.values()))
    @rule(data=st.data(), counter=st.sampled_from(COUNTERS))
    def adversary_counts_on_after_the_end(self, data: st.DataObject, counter: str) -> None:
        """A late report that slipped in: nothing moves, no effect is asked for."""
        name = data.draw(st.sampled_from(sorted(n for n, each in self.nodes.items() if is_final(each.state))))
        late = replace(self.nodes[name], **{counter: getattr(self.nodes[name], counter) + 1})
        answer = self.settled({**self.nodes, name: late})
        assert answer.changed == frozenset()
        assert answer.started == ()
        assert answer.outcome == self.outcome

    @invariant()
    def settling_again_changes_nothing(self) -> None:
        if hasattr(self, "nodes"):
            again = self.settled(self.nodes)
            assert again.nodes == self.nodes
            assert again.changed == frozenset()
            assert again.started == ()
            assert again.outcome == self.outcome

    @invariant()
    def run_is_over_exactly_when_all_tasks_are_and_is_never_stuck(self) -> None:
        if hasattr(self, "nodes"):
            alive = [each for each in self.nodes.values() if not is_final(each.state)]
            assert (self.outcome is None) == bool(alive)
            assert not alive or any(each.state is TaskState.RUNNING for each in alive)
            assert not self.cancelled or self.finals.issuperset(self.running(expanded=False))

    @invariant()
    def ended_tasks_have_counted_all_their_items(self) -> None:
        if hasattr(self, "nodes"):
            for each in self.nodes.values():
                if is_final(each.state):
                    assert each.total == each.ended

    @invariant()
    def outcome_is_the_one_of_the_words(self) -> None:
        if hasattr(self, "nodes") and self.outcome is not None:
            failed = [name for name, each in self.nodes.items() if each.state is TaskState.FAILED]
            blocking = [
                name for name in failed if name in self.finals or self.nodes[name].task.on_failure is OnFailure.BLOCK
            ]
            calm = RunState.CANCELLED if self.cancelled else RunState.SUCCEEDED
            assert self.outcome is (RunState.FAILED if blocking else calm)


TestRunInMiniature = RunInMiniature.TestCase
TestRunInMiniature.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


@settings(max_examples=100, deadline=None)
@given(tasks_of_a_scope(), st.data())
def test_any_mixture_of_states_is_settled_in_one_call(tasks: tuple[Task, ...], data: st.DataObject) -> None:
    """Not only what a run can reach: parents may be final while children of children are too."""
    nodes = {}
    for each in tasks:
        state = data.draw(st.sampled_from((None, *FINAL_STATES)))
        nodes[each.name] = node(each) if state is None else ended(each, state)
    answer = settle(nodes)
    again = settle(dict(reversed(list(answer.nodes.items()))))
    assert again.nodes == answer.nodes
    assert again.changed == frozenset()
