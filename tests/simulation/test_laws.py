"""Each law can be broken: a violation planted into a history's end is named by its law."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from uuid import NAMESPACE_URL, uuid5

import pytest

from freshet.domain.model import Kind
from freshet.testing.simulation.behaviour import END, Try
from freshet.testing.simulation.cast import Burial
from freshet.testing.simulation.installation import BEGIN
from freshet.testing.simulation.laws import LAWS, judge
from freshet.testing.simulation.seed import History
from freshet.testing.twins.rows import Parked, Request, TaskRun, WorkItem

Plant = Callable[[History], None]
KINDS = {Kind.PROCESS, Kind.PYTHON, Kind.JOB_SERVICE}


@functools.cache
def rich_seed() -> int:
    """The first seed that has something of everything, and so something to break for every law."""
    return next(seed for seed in itertools.count() if promises(seed) and keeps(seed))


def promises(seed: int) -> bool:
    workload = History(seed).installation.workload
    kinds = {task.kind for each in workload.workflows.values() for task in each.tasks}
    return kinds >= KINDS and any(each.schedule for each in workload.workflows.values())


def keeps(seed: int) -> bool:
    history = History(seed)
    history.play()
    tables = history.installation.tables
    succeeded = {row.kind for row in tables.task_runs.values() if row.state == "succeeded"}
    triggers = {run.trigger for run in tables.runs.values() if run.state == "succeeded"}
    return succeeded >= KINDS and {"schedule", "call"} <= triggers and len(tables.effects) > 0


@pytest.fixture
def history() -> History:
    history = History(rich_seed())
    assert history.play().breaks == []
    return history


def item_of(history: History, kind: Kind, state: str = "succeeded") -> tuple[WorkItem, TaskRun]:
    tables = history.installation.tables
    found = ((item, tables.task_runs[item.id >> 24]) for item in tables.items.values() if item.state == state)
    return next((item, row) for item, row in found if row.kind == kind)


def leave_a_request(history: History) -> None:
    run = next(iter(history.installation.tables.runs.values()))
    history.installation.tables.requests[99] = Request(99, run.partition, run.id, "start", BEGIN)


def raise_in_a_pass(history: History) -> None:
    history.world.failures.append(("dispatcher", ValueError("planted")))


def park_a_run(history: History) -> None:
    history.installation.tables.parked[1] = Parked(1, "run", "r", "planted")


def begin_before_a_parent_ends(history: History) -> None:
    installation = history.installation
    for the_try in list(installation.behaviour.begun):
        task = installation.behaviour.task(the_try.run, the_try.task)
        if task.after and "." not in the_try.task:
            key = installation.tables.task_named[the_try.run, task.after[0], ""]
            installation.tables.task_runs[key] = installation.tables.task_runs[key]._replace(finished_at=None)
            installation.note_begin(the_try, None)
            return


def call_with_something_else(history: History) -> None:
    history.installation.note_begin(history.installation.behaviour.begun[0], "planted")


def begin_what_nobody_asked_for(history: History) -> None:
    begun = history.installation.behaviour.begun
    begun.append(Try(begun[0].run, begun[0].task, "77", 1))


def double_an_effect(history: History) -> None:
    effects = history.installation.tables.effects
    behaviour = history.installation.behaviour
    key = next(key for key, row in effects.items() if behaviour.plan(row.value[0]).end != END)
    effects[10_000] = effects[key]._replace(id=10_000)


def lose_an_effect(history: History) -> None:
    effects = history.installation.tables.effects
    behaviour = history.installation.behaviour
    del effects[next(key for key, row in effects.items() if behaviour.plan(row.value[0]).end != END)]


def never_run_a_script(history: History) -> None:
    history.installation.behaviour.outside.clear()


def end_a_run_otherwise(history: History) -> None:
    runs = history.installation.tables.runs
    key = next(key for key, run in runs.items() if run.state == "succeeded")
    runs[key] = runs[key]._replace(state="failed")


def miscount_a_map(history: History) -> None:
    _, row = item_of(history, Kind.PROCESS)
    history.installation.tables.task_runs[row.id] = row._replace(succeeded=row.succeeded + 1)


def change_a_result(history: History) -> None:
    item, _ = item_of(history, Kind.PROCESS)
    history.installation.tables.items[item.id] = item._replace(result="planted", row_count=None)


def charge_too_much(history: History) -> None:
    item, _ = item_of(history, Kind.PROCESS)
    history.installation.tables.items[item.id] = item._replace(failures=9)


def end_an_attempt_twice(history: History) -> None:
    rows = history.installation.tables.table("log.attempt")
    rows[10_000] = next(iter(rows.values()))


def forget_a_task(history: History) -> None:
    rows = history.installation.tables.table("log.task")
    del rows[next(iter(rows))]


def lose_time(history: History) -> None:
    workers = history.installation.tables.workers
    key = next(iter(workers))
    workers[key] = workers[key]._replace(busy_s=workers[key].busy_s + 1.0)


def bury_the_living(history: History) -> None:
    burial = Burial(worker="w", at=1.0, alive=True, silent=5.0, heard=False, witnessed=True)
    history.installation.burials.append(burial)


def tick_twice(history: History) -> None:
    runs = history.installation.tables.runs
    run = next(run for run in runs.values() if run.trigger == "schedule")
    # Another run of the same tick, with all that belongs to a skipped one.
    runs["f" * 32] = run._replace(id="f" * 32, state="skipped", origin="planted")


def ask_twice(history: History) -> None:
    runs = history.installation.tables.runs
    run = next(run for run in runs.values() if run.trigger == "call")
    runs["f" * 32] = run._replace(id="f" * 32, state="skipped")


def launch_twice(history: History) -> None:
    account = history.installation.account
    account.launches[next(iter(account.launches))] = 2


def job_lines(history: History) -> int:
    """A part of some job's log."""
    tables, names = history.installation.tables, history.installation.account.tries
    claims = {uuid5(NAMESPACE_URL, name) for name in names}
    return next(key for key, row in tables.log_lines.items() if row.claim in claims and row.text)


def print_twice(history: History) -> None:
    lines, key = history.installation.tables.log_lines, job_lines(history)
    lines[10_000] = lines[key]._replace(id=10_000, part=99)


def lose_lines(history: History) -> None:
    del history.installation.tables.log_lines[job_lines(history)]


PLANTS: tuple[tuple[str, Plant], ...] = (
    ("no pass ends by an unexpected error", raise_in_a_pass),
    ("the installation comes to rest", leave_a_request),
    ("nobody is parked", park_a_run),
    ("an item begins only after its parents ended", begin_before_a_parent_ends),
    ("a payload is what the parents came to", call_with_something_else),
    ("what began belongs to an item", begin_what_nobody_asked_for),
    ("a process item's effects happen exactly once", double_an_effect),
    ("a process item's effects happen exactly once", lose_an_effect),
    ("a python item's effects happen at least once", never_run_a_script),
    ("every run comes to what its rules and its items say", end_a_run_otherwise),
    ("every run comes to what its rules and its items say", miscount_a_map),
    ("an item's tries follow its plan and its policy", change_a_result),
    ("an item's tries follow its plan and its policy", charge_too_much),
    ("an attempt's number is issued once", end_an_attempt_twice),
    ("the log tells of runs and tasks what the engine holds", forget_a_task),
    ("a worker's busy and idle time make its wall time", lose_time),
    ("no live worker is declared dead", bury_the_living),
    ("a tick makes one run", tick_twice),
    ("asking twice makes one run", ask_twice),
    ("a job service is launched once per attempt", launch_twice),
    ("what a job prints is kept once", print_twice),
    ("what a job prints is kept once", lose_lines),
)


@pytest.mark.parametrize(("law", "plant"), PLANTS, ids=[plant.__name__ for _, plant in PLANTS])
def test_a_planted_violation_is_named(history: History, law: str, plant: Plant) -> None:
    plant(history)
    assert law in {each.law for each in judge(history)}


def test_every_law_has_a_planted_violation() -> None:
    assert {law for law, _ in PLANTS} == set(LAWS)
