from __future__ import annotations

from enum import StrEnum
from itertools import product
from pathlib import Path

import pytest

from freshet.domain import diagram
from freshet.domain.errors import IllegalTransitionError
from freshet.domain.states import (
    TRANSITIONS,
    ItemEvent,
    ItemState,
    Machine,
    RunEvent,
    RunState,
    TaskEvent,
    TaskState,
    WorkerEvent,
    WorkerState,
    advance,
    is_final,
)

# Written from the design's words and not from the tables.
ARROWS: dict[type[StrEnum], str] = {
    RunState: """
        pending>running pending>skipped pending>cancelled pending>failed
        running>succeeded running>failed running>cancelled
    """,
    TaskState: """
        pending>running pending>skipped pending>cancelled
        running>succeeded running>failed running>skipped running>cancelled
    """,
    ItemState: """
        pending>queued pending>skipped pending>cancelled
        queued>running queued>cancelled queued>expired
        running>waiting running>retrying running>queued
        running>succeeded running>failed running>skipped running>cancelled running>expired
        waiting>succeeded waiting>failed waiting>cancelled waiting>expired waiting>retrying waiting>queued
        retrying>queued retrying>cancelled
    """,
    WorkerState: """
        available>busy available>draining available>offline
        busy>available busy>draining busy>offline
        draining>draining draining>offline
        offline>available
    """,
}
MACHINES = [pytest.param(kind, machine, id=machine.noun) for kind, machine in TRANSITIONS.items()]
EVENTS = (*RunEvent, *TaskEvent, *ItemEvent, *WorkerEvent)
LEGAL = [
    (state, event, after)
    for machine in TRANSITIONS.values()
    for state, moves in machine.table.items()
    for event, after in moves.items()
]
ILLEGAL = [
    (state, event)
    for kind, machine in TRANSITIONS.items()
    for state, event in product(kind, EVENTS)
    if type(event) is not machine.events or event not in machine.table[state]
]


@pytest.mark.parametrize(("kind", "machine"), MACHINES)
def test_arrows_are_those_of_the_design(kind: type[StrEnum], machine: Machine) -> None:
    drawn = {f"{state}>{after}" for state, moves in machine.table.items() for after in moves.values()}
    assert drawn == set(ARROWS[kind].split())


@pytest.mark.parametrize(("kind", "machine"), MACHINES)
def test_every_state_and_every_event_has_its_place(kind: type[StrEnum], machine: Machine) -> None:
    assert set(machine.table) == set(kind)
    assert {event for moves in machine.table.values() for event in moves} == set(machine.events)


@pytest.mark.parametrize(("kind", "machine"), MACHINES)
def test_every_state_can_be_reached_from_the_start(kind: type[StrEnum], machine: Machine) -> None:
    reached = {machine.start}
    for _ in kind:
        reached |= {after for state in reached for after in machine.table[state].values()}
    assert reached == set(kind)


@pytest.mark.parametrize(("state", "event", "after"), LEGAL)
def test_legal_event_moves_along_its_arrow(state: StrEnum, event: StrEnum, after: StrEnum) -> None:
    answer = advance(state, event)  # type: ignore[call-overload]
    assert answer is after


def test_illegal_event_is_refused_and_changes_nothing() -> None:
    before = repr(TRANSITIONS)
    for state, event in ILLEGAL:
        with pytest.raises(IllegalTransitionError, match=f"is {state} cannot be moved by {event}"):
            advance(state, event)  # type: ignore[call-overload]
    assert repr(TRANSITIONS) == before
    assert len(ILLEGAL) > 300


def test_event_of_another_machine_is_refused_though_it_reads_alike() -> None:
    with pytest.raises(IllegalTransitionError):
        advance(TaskState.RUNNING, ItemEvent.SUCCEEDED)  # type: ignore[call-overload]


@pytest.mark.parametrize("kind", [RunState, TaskState, ItemState])
def test_final_states_are_the_ends_and_nothing_follows(kind: type[StrEnum]) -> None:
    ends = {"succeeded", "failed", "skipped", "cancelled", "expired"}
    assert {state for state in kind if is_final(state)} == ends & set(kind)  # type: ignore[arg-type]


def test_worker_is_never_final() -> None:
    assert not any(is_final(state) for state in WorkerState)


def test_handed_back_item_is_queued_again() -> None:
    assert advance(ItemState.RUNNING, ItemEvent.HANDED_BACK) is ItemState.QUEUED
    assert advance(ItemState.RUNNING, ItemEvent.CLAIM_LOST) is ItemState.QUEUED
    assert advance(ItemState.WAITING, ItemEvent.WATCH_LOST) is ItemState.QUEUED


def test_page_of_life_cycles_is_fresh() -> None:
    page = Path(__file__).parents[2] / "docs" / "states.md"
    assert page.read_text(encoding="utf-8") == diagram.render(), (
        "docs/states.md is stale: uv run python -m freshet.domain.diagram > docs/states.md"
    )


@pytest.mark.parametrize(("state", "event", "after"), LEGAL)
def test_drawing_holds_every_arrow(state: StrEnum, event: StrEnum, after: StrEnum) -> None:
    assert f"    {state} --> {after}: {event}\n" in diagram.render()
