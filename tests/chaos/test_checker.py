"""The checker names what is planted: each break of each law, and nothing in a history that has none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.chaos.checker import LAWS, check
from tests.chaos.history import Effect, History, Item, Launch, LoggedAttempt, Run, TaskRun, WorkerTime
from tests.chaos.workload import Asked

WIDTH = 3
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
MAP, COUNT, JOB, SCRIPT = 11, 12, 13, 14


def sound() -> History:
    """A small history without a break: a map, a chain, a job that was tried twice, a script, a schedule."""
    runs = [run("map"), run("chain"), run("jobs"), run("scripts"), *(tick(n) for n in range(3))]
    task_runs = [
        task(MAP, "map", "row", mapped=True, total=WIDTH, succeeded=WIDTH, attempts=WIDTH),
        task(COUNT, "map", "count", result=WIDTH),
        *(task(20 + n, "chain", f"s{n}", result=n + 1) for n in range(3)),
        task(JOB, "jobs", "job", kind="job_service", mapped=True, attempts=2),
        task(SCRIPT, "scripts", "script", kind="python", mapped=True),
    ]
    items = [Item(id=MAP << 24 | index, state="succeeded") for index in range(WIDTH)]
    items += [Item(id=each << 24, state="succeeded") for each in (COUNT, 20, 21, 22, SCRIPT)]
    items.append(Item(id=JOB << 24, state="succeeded", attempt=2))
    effects = [Effect(id=1 + index, run="map", task="row", item=str(index), seen=index) for index in range(WIDTH)]
    effects.append(Effect(id=10, run="map", task="count", item="", seen=WIDTH))
    effects += [Effect(id=20 + n, run="chain", task=f"s{n}", item="", seen=n) for n in range(3)]
    attempts = [logged("map", "row", str(index)) for index in range(WIDTH)]
    attempts += [logged("map", "count", ""), *(logged("chain", f"s{n}", "") for n in range(3))]
    attempts += [logged("jobs", "job", "0", state="failed", final=False), logged("jobs", "job", "0", attempt=2)]
    attempts.append(logged("scripts", "script", "0"))
    return History(
        runs=runs,
        task_runs=task_runs,
        items=items,
        effects=effects,
        launches=[Launch(run="jobs", task="job", item="0", attempt=number) for number in (1, 2)],
        scripts=[("scripts", "0"), ("scripts", "0")],
        attempts=attempts,
        times=[
            WorkerTime(worker="w", at=100.0, busy_s=0.0, idle_s=2.0, wall_s=2.0),
            WorkerTime(worker="w", at=200.0, busy_s=60.0, idle_s=42.0, wall_s=102.0),
        ],
        asked=[Asked(key=f"key {each.id}", run_id=each.id, workflow=each.workflow, ends="succeeded") for each in runs],
        left={"bundle": 0, "report": 0},
        tick_s=2.0,
    )


def run(name: str, **more: Any) -> Run:
    return replace(Run(id=name, workflow=name, state="succeeded", logged=("succeeded",)), **more)


def tick(number: int) -> Run:
    return run(f"tick {number}", workflow="tick", scheduled_for=NOON + timedelta(seconds=2 * number))


def task(key: int, run: str, name: str, **more: Any) -> TaskRun:
    plain: dict[str, Any] = {"kind": "process", "state": "succeeded", "succeeded": 1, "attempts": 1}
    return TaskRun(**plain | {"id": key, "run": run, "task": name, "logged": ("succeeded",)} | more)


def logged(run: str, task: str, item: str, **more: Any) -> LoggedAttempt:
    plain: dict[str, Any] = {"attempt": 1, "state": "succeeded", "final": True}
    return LoggedAttempt(**plain | {"run": run, "task": task, "item": item} | more)


def broken(history: History) -> dict[str, str]:
    return {each.law: " | ".join(each.breaks) for each in check(history) if each.breaks}


def test_a_sound_history_breaks_no_law_and_each_law_looks_at_something() -> None:
    checks = check(sound())
    assert {each.law: each.breaks for each in checks if each.breaks} == {}
    assert all(each.held for each in checks)


def test_a_law_that_has_nothing_to_look_at_has_not_been_seen_to_hold() -> None:
    assert not any(each.held for each in check(History()))


def drop(rows: str, **match: Any) -> Callable[[History], None]:
    """Without the rows that match."""

    def plant(history: History) -> None:
        kept = [each for each in getattr(history, rows) if not fits(each, match)]
        assert len(kept) < len(getattr(history, rows))
        setattr(history, rows, kept)

    return plant


def double(rows: str, /, *, changed: dict[str, Any] | None = None, **match: Any) -> Callable[[History], None]:
    """With another one like those that match."""

    def plant(history: History) -> None:
        found = [replace(each, **(changed or {})) for each in getattr(history, rows) if fits(each, match)]
        assert found
        setattr(history, rows, [*getattr(history, rows), *found])

    return plant


def alter(rows: str, change: dict[str, Any], **match: Any) -> Callable[[History], None]:
    """With those that match changed."""

    def plant(history: History) -> None:
        before = getattr(history, rows)
        after = [replace(each, **change) if fits(each, match) else each for each in before]
        assert after != before
        setattr(history, rows, after)

    return plant


def fits(row: Any, match: dict[str, Any]) -> bool:
    return all(getattr(row, name) == value for name, value in match.items())


def leave(table: str) -> Callable[[History], None]:
    def plant(history: History) -> None:
        history.left = {**history.left, table: 1}

    return plant


def never_ran(history: History) -> None:
    history.scripts = ()


PLANTED: list[tuple[str, str, Callable[[History], None]]] = [
    ("accepted runs are there, once", "is not there", drop("runs", id="map")),
    ("accepted runs are there, once", "made 2 runs", alter("asked", {"key": "key map"}, run_id="chain")),
    ("accepted runs are there, once", "origin x made", alter("runs", {"origin": "x"}, workflow="tick")),
    ("no run is stuck", "is still running", alter("runs", {"state": "running"}, id="map")),
    ("no run is stuck", "is still pending", alter("task_runs", {"state": "pending"}, id=COUNT)),
    ("no run is stuck", "is still queued", alter("items", {"state": "queued"}, id=COUNT << 24)),
    ("no run is stuck", "left in engine.bundle", leave("bundle")),
    ("runs end as they should", "ended failed", alter("runs", {"state": "failed"}, id="map")),
    (
        "runs end as they should",
        "given up as lost",
        alter("items", {"state": "failed", "error_class": "lost"}, id=MAP << 24),
    ),
    (
        "runs end as they should",
        "`finally` task of run map is skipped",
        alter("task_runs", {"task": "last", "state": "skipped"}, id=COUNT),
    ),
    ("no effect is lost", "('map', 'row', '1') succeeded and its effect is lost", drop("effects", id=2)),
    ("no effect is doubled", "('map', 'row', '1') has 2 effects", double("effects", id=2, changed={"id": 9})),
    ("no effect is doubled", "is failed", alter("items", {"state": "failed"}, id=MAP << 24)),
    ("no effect is doubled", "its effect is of 2", alter("effects", {"attempt": 2}, id=1)),
    ("no fan-in is doubled", "counts 4 succeeded", alter("task_runs", {"succeeded": 4, "total": 4}, id=MAP)),
    ("no fan-in is doubled", "counted 6 results of 3", alter("task_runs", {"result": 6}, id=COUNT)),
    ("no fan-in is doubled", "counts 3 of 4 items", alter("task_runs", {"total": 4}, id=MAP)),
    ("order is respected", "in the order [1, 2, 0]", alter("effects", {"id": 30}, id=20)),
    ("order is respected", "step 1 of run chain saw 0", alter("effects", {"seen": 0}, id=21)),
    ("order is respected", "went on without s1", drop("effects", id=21)),
    ("order is respected", "began before row had ended", alter("effects", {"id": 11}, id=3)),
    ("one run per tick", "has 2 runs", double("runs", id="tick 1", changed={"id": "tick 1 again"})),
    ("one run per tick", "between the ticks", drop("runs", id="tick 1")),
    ("a job is launched once per attempt", "was launched 2 times", double("launches", attempt=1)),
    ("a job is launched once per attempt", "was never launched", drop("launches", attempt=2)),
    ("a job is launched once per attempt", "is not known", alter("launches", {"attempt": 3}, attempt=1)),
    ("a script runs at least once", "never ran", never_ran),
    ("the log has every run and task", "the log says []", alter("runs", {"logged": ()}, id="map")),
    ("the log has every run and task", "the log says ['failed']", alter("task_runs", {"logged": ("failed",)}, id=MAP)),
    ("the log has every attempt", "has attempts []", drop("attempts", run="map", item="1")),
    ("the log has every attempt", "has attempts [1, 1]", double("attempts", run="map", item="1")),
    ("the log has every attempt", "has attempts [2]", drop("attempts", run="jobs", attempt=1)),
    ("the log has every attempt", "the log says ['failed']", alter("attempts", {"state": "failed"}, task="count")),
    ("the log has every attempt", "which is not there", alter("attempts", {"item": "77"}, item="1")),
    ("attempts are counted", "counts 4 attempts, the log has 3", alter("task_runs", {"attempts": 4}, id=MAP)),
    ("busy + idle = wall", "is not wall", alter("times", {"busy_s": 55.0}, at=200.0)),
    ("busy + idle = wall", "a total fell", alter("times", {"idle_s": 1.0, "wall_s": 61.0}, at=200.0)),
    ("busy + idle = wall", "wall grew by", alter("times", {"at": 300.0}, at=200.0)),
]


@pytest.mark.parametrize(
    ("law", "sentence", "plant"), [pytest.param(*each, id=f"{each[0]}: {each[1]}") for each in PLANTED]
)
def test_what_is_planted_is_named(law: str, sentence: str, plant: Callable[[History], None]) -> None:
    history = sound()
    plant(history)
    assert sentence in broken(history)[law]


def test_every_law_is_seen_to_break() -> None:
    assert {law for law, *_ in PLANTED} == set(LAWS)


def test_what_was_cancelled_before_its_attempt_began_has_no_row_in_the_log() -> None:
    history = sound()
    alter("items", {"state": "cancelled"}, id=MAP << 24)(history)
    drop("attempts", run="map", item="0")(history)
    assert "the log has every attempt" not in broken(history)


def test_what_a_rerun_copies_needs_neither_effect_nor_log() -> None:
    history = sound()
    alter("task_runs", {"copied": True, "logged": (), "attempts": 0}, run="chain", task="s0")(history)
    for rows, match in (("items", {"id": 20 << 24}), ("effects", {"id": 20}), ("attempts", {"task": "s0"})):
        drop(rows, **match)(history)
    assert broken(history) == {}
