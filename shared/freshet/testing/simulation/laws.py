"""What has to hold when everything has come to rest.

Purpose: DESIGN.md's truths as questions to the final tables and to what the world has noted. Guarantees: a broken law
is named, with the numbers that break it; asking changes nothing. Never: a tolerance without its reason beside it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, UUID, uuid5

import orjson

from freshet.domain.model import INDEX_BITS, Kind
from freshet.testing.simulation.behaviour import END, FAIL, Try
from freshet.testing.simulation.expectation import Expectation, Place, Tries, item_place
from freshet.testing.simulation.installation import BEGIN
from freshet.testing.twins.log_rows import LogAttempt, LogRun, LogTask
from freshet.testing.twins.rows import INDEX_MASK, Effect, TaskRun, WorkItem

if TYPE_CHECKING:
    from freshet.testing.simulation.seed import History

#: Seconds that a heartbeat lives.
EXPIRES = 3.0
#: Of one law, so many examples are told.
EXAMPLES = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Break:
    """A law that does not hold, and the numbers that say so."""

    law: str
    what: str


Law = Callable[["History"], Iterator[str]]
LAWS: dict[str, Law] = {}


def _law(name: str) -> Callable[[Law], Law]:
    def register(law: Law) -> Law:
        LAWS[name] = law
        return law

    return register


def judge(history: History) -> list[Break]:
    """Every law's breaks. What did not come to rest is not asked for the rest."""
    first = list(_asked(history, ("no pass ends by an unexpected error", "the installation comes to rest")))
    return first or list(_asked(history, tuple(LAWS)))


def _asked(history: History, names: Sequence[str]) -> Iterator[Break]:
    for name in names:
        for number, what in enumerate(LAWS[name](history)):
            if number < EXAMPLES:
                yield Break(law=name, what=what)


@_law("no pass ends by an unexpected error")
def _errors(history: History) -> Iterator[str]:
    yield from (f"{who}: {error!r}" for who, error in history.world.failures)
    yield from (f"{event}: {what}" for event, what in history.errors)


@_law("the installation comes to rest")
def _rest(history: History) -> Iterator[str]:
    if history.resting:
        return
    tables, account = history.installation.tables, history.installation.account
    parts: dict[str, Any] = {
        "steps": history.world.steps,
        "clients": sum(not client.done for client in history.clients),
        "runs": [f"{run.id} {run.state} held={run.held}" for run in tables.runs.values() if not run.final],
        "requests": list(tables.requests.values()),
        "reports": list(tables.reports.values()),
        "bundles": list(tables.bundles.values()),
        "outbox": len(tables.outbox),
        "jobs": {name: job.status(history.world.now).value for name, job in account.jobs.items()},
    }
    yield "; ".join(f"{name}: {part}" for name, part in parts.items() if part)


@_law("nobody is parked")
def _parked(history: History) -> Iterator[str]:
    yield from (f"{row.what} {row.run_id}: {row.error}" for row in history.installation.tables.parked.values())


@_law("an item begins only after its parents ended")
def _order(history: History) -> Iterator[str]:
    yield from history.installation.too_early


@_law("a payload is what the parents came to")
def _payloads(history: History) -> Iterator[str]:
    yield from history.installation.wrong_payloads


@_law("what began belongs to an item")
def _begun(history: History) -> Iterator[str]:
    known = {place for place, _, _ in _items(history)}
    for each in history.installation.behaviour.begun:
        if Place(each.run, each.task, each.item) not in known:
            yield f"{each} began, and there is no such item"


@_law("a process item's effects happen exactly once")
def _effects(history: History) -> Iterator[str]:
    behaviour = history.installation.behaviour
    written: dict[Place, Counter[tuple[int, int]]] = defaultdict(Counter)
    for effect in history.installation.tables.effects.values():
        the_try, number = _author(effect)
        written[Place(the_try.run, the_try.task, the_try.item)][the_try.attempt, number] += 1
    for place, item, row in _items(history):
        if row.kind != Kind.PROCESS:
            continue
        expected: Counter[tuple[int, int]] = Counter()
        if item.state == "succeeded":
            plan = behaviour.plan(Try(place.run, place.task, place.item, item.attempt))
            expected.update((item.attempt, number) for number in range(plan.writes))
        found = Counter(
            {
                key: count
                for key, count in written.pop(place, Counter()).items()
                # Who commits by hand leaves the fence: what that committed stays.
                if behaviour.plan(Try(place.run, place.task, place.item, key[0])).end != END
            }
        )
        if found != expected:
            yield f"{place}, which {item.state}, has effects {dict(found)} instead of {dict(expected)}"
    yield from (f"{place} has effects and no item" for place in written)


@_law("a python item's effects happen at least once")
def _python(history: History) -> Iterator[str]:
    done = set(history.installation.behaviour.outside)
    for place, item, row in _items(history):
        if row.kind == Kind.PYTHON and item.state == "succeeded":
            the_try = Try(place.run, place.task, place.item, item.attempt)
            if the_try not in done:
                yield f"{the_try} succeeded and never ran"


@_law("every run comes to what its rules and its items say")
def _outcomes(history: History) -> Iterator[str]:
    installation = history.installation
    for run in installation.tables.runs.values():
        if run.state != "skipped":
            workflow = installation.workload.workflows[run.workflow]
            yield from Expectation(installation.tables, installation.behaviour, workflow, run).problems()


@_law("an item's tries follow its plan and its policy")
def _tries(history: History) -> Iterator[str]:
    tries = Tries(history.installation.tables, history.installation.behaviour, _attempts(history))
    for _, item, row in _items(history):
        if row.kind != Kind.MAP:
            yield from tries.problems(row, item.id & INDEX_MASK, rough=history.rough)


@_law("an attempt's number is issued once")
def _numbers(history: History) -> Iterator[str]:
    rows = history.installation.tables.table("log.attempt").values()
    counted = Counter((row.run_id, row.task, row.item, row.attempt) for row in rows)
    yield from (f"{key} ended {count} times" for key, count in counted.items() if count > 1)


@_law("the log tells of runs and tasks what the engine holds")
def _log(history: History) -> Iterator[str]:
    tables = history.installation.tables
    runs: Mapping[Any, LogRun] = tables.table("log.run")
    logged = {row.run_id: row.state for row in runs.values()}
    for run in tables.runs.values():
        if logged.get(run.id) != run.state:
            yield f"run {run.id} is {run.state} and recorded as {logged.get(run.id)}"
    if len(runs) != len(tables.runs):
        yield f"{len(runs)} runs are recorded, and there are {len(tables.runs)}"
    ended: dict[tuple[str, str, str], list[LogTask]] = defaultdict(list)
    for row in tables.table("log.task").values():
        ended[row.run_id, row.task, row.index_path].append(row)
    for task in tables.task_runs.values():
        if task.copied_from is None:
            yield from _task_log(task, ended.pop((task.run_id, task.task, task.index_path), []))
    yield from (f"{key} is recorded, and there is no such task" for key in ended)


def _task_log(task: TaskRun, rows: Sequence[LogTask]) -> Iterator[str]:
    name = f"task {task.task}[{task.index_path}] of run {task.run_id}"
    if len(rows) != 1:
        yield f"{name} is recorded {len(rows)} times"
        return
    for field in ("state", "total", "succeeded", "failed", "skipped", "cancelled", "attempts"):
        told, held = getattr(rows[0], field), getattr(task, field)
        if told != held:
            yield f"{name} has {field} {held}, and {told} is recorded"


@_law("a worker's busy and idle time make its wall time")
def _times(history: History) -> Iterator[str]:
    installation = history.installation
    for row in installation.tables.workers.values():
        if abs(row.busy_s + row.idle_s - row.wall_s) > 1e-6:
            yield f"{row.id}: {row.busy_s} + {row.idle_s} is not {row.wall_s}"
    for process in history.world.processes:
        if process.name in installation.stopwatches:
            stopwatch, since = installation.stopwatches[process.name]
            wall = stopwatch.read().wall_s
            if abs(wall - (history.world.now - since)) > 1e-6:
                yield f"{process.name} counts {wall} s since {since} s, and it is {history.world.now} s"


@_law("no live worker is declared dead")
def _burials(history: History) -> Iterator[str]:
    lease = history.installation.fleet.lease
    for burial in history.installation.burials:
        # A heartbeat lives 3 s: that long a silence is seen as shorter.
        needed = lease - EXPIRES if burial.heard or burial.witnessed else EXPIRES
        if burial.alive and (burial.heard or burial.silent < needed):
            yield f"{burial} was declared dead with a lease of {lease} s"


@_law("a tick makes one run")
def _ticks(history: History) -> Iterator[str]:
    installation = history.installation
    seen: set[tuple[str, Any]] = set()
    for run in installation.tables.runs.values():
        if run.trigger != "schedule":
            continue
        schedule = installation.workload.workflows[run.workflow].schedule
        assert schedule is not None and run.scheduled_for is not None  # noqa: PT018  (that is what the trigger says)
        if (run.workflow, run.scheduled_for) in seen:
            yield f"{run.workflow} has two runs for {run.scheduled_for}"
        seen.add((run.workflow, run.scheduled_for))
        if (run.scheduled_for - BEGIN).total_seconds() % (schedule.every or 1.0):
            yield f"{run.scheduled_for} is no tick of {run.workflow}"


@_law("asking twice makes one run")
def _requests(history: History) -> Iterator[str]:
    for client in history.clients:
        runs = [run for run in history.installation.tables.runs.values() if (run.origin or "").endswith(client.key)]
        reruns = [run for run in runs if run.rerun_of is not None]
        if len(runs) - len(reruns) != 1 or len(reruns) > 1:
            yield f"{client.key} made {len(runs)} runs, {len(reruns)} of them again"


@_law("a job service is launched once per attempt")
def _jobs(history: History) -> Iterator[str]:
    account = history.installation.account
    for name, count in account.launches.items():
        # What the platform lost before anybody watched it is launched again under its name.
        if count != 1 and not account.behaviour.plan(account.tries[name]).vanishes:
            yield f"{name} was launched {count} times"
    tries = Counter(account.tries.values())
    yield from (f"{each} was launched under {count} names" for each, count in tries.items() if count > 1)
    yield from (f"{name} goes on, and no attempt owns it" for name in account.alive())


@_law("what a job prints is kept once")
def _job_logs(history: History) -> Iterator[str]:
    account, texts = history.installation.account, defaultdict[UUID, str](str)
    for row in sorted(history.installation.tables.log_lines.values(), key=lambda row: (row.claim, row.part)):
        texts[row.claim] += row.text
    succeeded = {
        Try(place.run, place.task, place.item, row.attempt)
        for place, rows in _attempts(history).items()
        for row in rows
        if row.state == "succeeded"
    }
    for name, the_try in account.tries.items():
        plan = account.behaviour.plan(the_try)
        printed = "" if plan.end == FAIL else orjson.dumps(plan.values).decode()
        kept = texts[uuid5(NAMESPACE_URL, name)]
        if not printed.startswith(kept):
            yield f"{name} printed {printed!r}, and {kept!r} was kept"
        if the_try in succeeded and kept != printed:
            yield f"{name} has succeeded and printed {printed!r}, of which only {kept!r} was kept"


def _attempts(history: History) -> dict[Place, list[LogAttempt]]:
    """The recorded attempts of each item in their order."""
    found: dict[Place, list[LogAttempt]] = defaultdict(list)
    for row in history.installation.tables.table("log.attempt").values():
        found[Place(row.run_id, row.task, row.item)].append(row)
    for rows in found.values():
        rows.sort(key=lambda row: row.attempt)
    return found


def _items(history: History) -> Iterator[tuple[Place, WorkItem, TaskRun]]:
    tables = history.installation.tables
    for item in tables.items.values():
        row = tables.task_runs[item.id >> INDEX_BITS]
        yield item_place(row, item.id & INDEX_MASK), item, row


def _author(effect: Effect) -> tuple[Try, int]:
    the_try, number = effect.value
    return the_try, number
