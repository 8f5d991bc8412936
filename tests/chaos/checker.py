"""The history checker: what must hold of the rows when all is over.

Purpose: each law looks at the history and names every break in a sentence. Guarantees: pure, so that a planted history
shows that the law can fail; a law says how much it has looked at, for a law over nothing proves nothing. Never: a
query, a clock, or forgiveness.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain, pairwise

from tests.chaos.history import Effect, History, Item, LoggedAttempt, TaskRun, WorkerTime
from tests.chaos.reading import Place, Reading

FINAL = frozenset({"succeeded", "failed", "skipped", "cancelled"})
TRIED = frozenset({"succeeded", "failed", "expired"})
#: Share by which a worker's sums may miss, and seconds by which its clock may (a report waits for Postgres).
TOLERANCE, LATENESS = 0.01, 8.0
UNKNOWN = 0  # the attempt of an effect that does not know it


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """A law, how many things it has looked at, and its breaks."""

    law: str
    looked_at: int
    breaks: Sequence[str]

    @property
    def held(self) -> bool:
        """Nothing breaks it; a law that has looked at nothing has not been seen to hold."""
        return self.looked_at > 0 and not self.breaks


Law = Callable[[Reading], tuple[int, Iterator[str]]]


def check(history: History) -> tuple[Check, ...]:
    """Every law, with its breaks."""
    reading = Reading(history)
    checks = []
    for name, law in LAWS.items():
        looked_at, breaks = law(reading)
        checks.append(Check(law=name, looked_at=looked_at, breaks=tuple(breaks)))
    return tuple(checks)


# --- nothing is lost ------------------------------------------------------------------------------------------------


def accepted_runs_are_there(reading: Reading) -> tuple[int, Iterator[str]]:
    """What the front door has accepted exists, once for each key; an event starts one run."""

    def breaks() -> Iterator[str]:
        runs: dict[str, set[str]] = defaultdict(set)
        for each in reading.history.asked:
            runs[each.key].add(each.run_id)
            if each.run_id not in reading.runs:
                yield f"run {each.run_id} of {each.workflow} was accepted and is not there"
        yield from (f"key {key} made {len(found)} runs" for key, found in runs.items() if len(found) > 1)
        origins = Counter(run.origin for run in reading.history.runs if run.origin)
        yield from (f"origin {origin} made {n} runs" for origin, n in origins.items() if n > 1)

    return len(reading.history.asked), breaks()


def no_run_is_stuck(reading: Reading) -> tuple[int, Iterator[str]]:
    """Every run and TaskRun is final, and no row waits for anybody."""

    def breaks() -> Iterator[str]:
        for run in reading.history.runs:
            if run.state not in FINAL:
                yield f"run {run.id} of {run.workflow} is still {run.state}"
        for task in reading.history.task_runs:
            if task.state not in FINAL:
                yield f"task {task.task} [{task.index_path}] of run {task.run} is still {task.state}"
        for item in reading.history.items:
            if item.state not in TRIED | FINAL:
                yield f"item {reading.place(item)} is still {item.state}"
        yield from (
            f"{count} rows are left in engine.{table}" for table, count in reading.history.left.items() if count
        )

    return len(reading.history.runs), breaks()


def runs_end_as_they_should(reading: Reading) -> tuple[int, Iterator[str]]:
    """Chaos fails nothing: a run ends as its workflow says, its `finally` tasks run also after a cancel, and no item
    was given up after five losses in a row.
    """

    breaks = chain(_wrong_ends(reading), _wrong_last_tasks(reading), _given_up(reading))
    return len(reading.history.asked), breaks


def _wrong_ends(reading: Reading) -> Iterator[str]:
    wanted = {each.run_id: each.ends for each in reading.history.asked}
    wanted |= {run.id: "succeeded" for run in reading.history.runs if run.workflow in {"tick", "on-event"}}
    for run in reading.history.runs:
        if wanted.get(run.id) not in {None, run.state}:
            yield f"run {run.id} of {run.workflow} ended {run.state} instead of {wanted[run.id]}"


def _wrong_last_tasks(reading: Reading) -> Iterator[str]:
    for task in reading.history.task_runs:
        if task.task == "last" and task.state != "succeeded":
            yield f"the `finally` task of run {task.run} is {task.state}"


def _given_up(reading: Reading) -> Iterator[str]:
    for place, item in reading.items.items():
        if item.error_class == "lost" and item.state == "failed":
            yield f"item {place} was given up as lost"


def no_effect_is_lost(reading: Reading) -> tuple[int, Iterator[str]]:
    """Each item of a process or of a statement that succeeded has left its effect."""
    succeeded = [(place, item) for place, item in reading.of_kind("process", "sql") if item.state == "succeeded"]
    missing = (
        f"item {place} succeeded and its effect is lost" for place, _ in succeeded if place not in reading.effects
    )
    return len(succeeded), missing


# --- nothing is doubled ---------------------------------------------------------------------------------------------


def no_effect_is_doubled(reading: Reading) -> tuple[int, Iterator[str]]:
    """An effect is there once, by the attempt that succeeded, and never of an item that did not."""

    def breaks() -> Iterator[str]:
        for place, effects in reading.effects.items():
            if len(effects) > 1:
                attempts = ", ".join(str(each.attempt) for each in effects)
                yield f"item {place} has {len(effects)} effects (attempts {attempts})"
            item = reading.items.get(place)
            if item is None or item.state != "succeeded":
                yield f"item {place} has an effect and is {item.state if item else 'not there'}"
            elif effects[0].attempt not in {UNKNOWN, item.attempt}:
                yield f"item {place} succeeded in attempt {item.attempt}, its effect is of {effects[0].attempt}"

    return len(reading.history.effects), breaks()


def no_job_is_launched_twice(reading: Reading) -> tuple[int, Iterator[str]]:
    """A job is launched once for each attempt, and whatever succeeded was launched."""

    def breaks() -> Iterator[str]:
        times = Counter((each.run, each.task, each.item, each.attempt) for each in reading.history.launches)
        yield from (f"attempt {key[3]} of job {key[:3]} was launched {n} times" for key, n in times.items() if n > 1)
        for place, item in reading.of_kind("job_service"):
            if item.state == "succeeded" and not times[(*place, item.attempt)]:
                yield f"attempt {item.attempt} of job {place} succeeded and was never launched"
        known = {place: item.attempt for place, item in reading.of_kind("job_service")}
        for run, task, index, attempt in times:
            if attempt > known.get((run, task, index), 0):
                yield f"attempt {attempt} of job {(run, task, index)} was launched and is not known"

    return len(reading.history.launches), breaks()


def scripts_run_at_least_once(reading: Reading) -> tuple[int, Iterator[str]]:
    """That is what is promised of python items."""
    ran = {(run, index) for run, index in reading.history.scripts}
    succeeded = [place for place, item in reading.of_kind("python") if item.state == "succeeded"]
    return len(succeeded), (
        f"item {place} succeeded and never ran" for place in succeeded if (place[0], place[2]) not in ran
    )


def no_fan_in_is_doubled(reading: Reading) -> tuple[int, Iterator[str]]:
    """Counters are what the items say, and a count is as wide as its map."""

    def breaks() -> Iterator[str]:
        states: dict[int, Counter[str]] = defaultdict(Counter)
        for item in reading.history.items:
            states[item.id >> 24]["failed" if item.state == "expired" else item.state] += 1
        for task in reading.history.task_runs:
            if not task.copied:
                yield from _miscounted(task, states[task.id])
        yield from _narrow_counts(reading)

    return len(reading.history.task_runs), breaks()


def _miscounted(task: TaskRun, states: Counter[str]) -> Iterator[str]:
    name = f"task {task.task} [{task.index_path}] of run {task.run}"
    for state in ("succeeded", "failed"):
        if states[state] != getattr(task, state):
            yield f"{name} counts {getattr(task, state)} {state}, its items are {states[state]}"
    counted = task.succeeded + task.failed + task.skipped + task.cancelled
    if task.state in FINAL and counted != (task.total or 0):
        yield f"{name} counts {counted} of {task.total} items"


#: A task that counts, and the map in front of it, in the same scope.
COUNTED = {"count": ("row", "job"), "end": ("groups",), "groups.whole": ("groups.row",)}


def _narrow_counts(reading: Reading) -> Iterator[str]:
    by_key = {(each.run, each.task, each.index_path): each for each in reading.history.task_runs}
    for (run, task, path), found in by_key.items():
        if found.state != "succeeded" or found.copied:
            continue
        for counted in COUNTED.get(task, ()):
            width = by_key.get((run, counted, path))
            if width is not None and found.result != width.succeeded:
                yield f"task {task} [{path}] of run {run} counted {found.result} results of {width.succeeded}"


# --- order and time -------------------------------------------------------------------------------------------------


def order_is_respected(reading: Reading) -> tuple[int, Iterator[str]]:
    """Steps of a chain happen one after the other and see their parent's answer; a count comes after all it counts."""
    chains: dict[str, list[Effect]] = defaultdict(list)
    last: dict[tuple[str, str, str], int] = defaultdict(int)
    counts: list[Effect] = []
    for each in reading.history.effects:
        if each.task[0] == "s" and each.task[1:].isdigit():
            chains[each.run].append(each)
        scope = each.item.rpartition(".")[0] if each.task.endswith("row") else each.item
        key = each.run, each.task, scope
        last[key] = max(last[key], each.id)
        counts += [each] if each.task in COUNTED else []

    def breaks() -> Iterator[str]:
        for run, steps in chains.items():
            yield from _misplaced(reading, run, sorted(steps, key=lambda each: each.id))
        for each in counts:
            for counted in COUNTED[each.task]:
                if last.get((each.run, counted, each.item), 0) > each.id:
                    yield f"task {each.task} of run {each.run} began before {counted} had ended"

    return sum(map(len, chains.values())) + len(counts), breaks()


def _misplaced(reading: Reading, run: str, steps: Sequence[Effect]) -> Iterator[str]:
    copied = (
        {task.task for task in reading.history.task_runs if task.run == run and task.copied} if len(steps) else set()
    )
    order = [int(each.task[1:]) for each in steps]
    if order != sorted(order):
        yield f"the steps of run {run} happened in the order {order}"
    for each in steps:
        number = int(each.task[1:])
        if each.seen != number:
            yield f"step {number} of run {run} saw {each.seen} from the step before it"
    missing = {f"s{n}" for n in range(max(order, default=0))} - {each.task for each in steps} - copied
    if missing:
        yield f"run {run} went on without {', '.join(sorted(missing))}"


def one_run_per_tick(reading: Reading) -> tuple[int, Iterator[str]]:
    """The schedule's ticks have a run each, without a gap (it catches up on all)."""
    ticks = Counter(run.scheduled_for for run in reading.history.runs if run.workflow == "tick" and run.scheduled_for)
    moments = sorted(tick for tick in ticks if tick is not None)
    step = timedelta(seconds=reading.history.tick_s)

    def breaks() -> Iterator[str]:
        yield from (f"tick {tick} has {n} runs" for tick, n in ticks.items() if n > 1)
        for earlier, later in pairwise(moments):
            if later - earlier != step:
                yield f"between the ticks {earlier} and {later} there are {later - earlier} instead of {step}"

    return len(moments), breaks()


def busy_and_idle_are_wall(reading: Reading) -> tuple[int, Iterator[str]]:
    """Busy + idle = wall, the totals never fall, and wall grows with the clock; within 1 %."""
    by_worker: dict[str, list[WorkerTime]] = defaultdict(list)
    for each in reading.history.times:
        by_worker[each.worker].append(each)
    spans = {worker: [each for each in rows if each.wall_s > 0] for worker, rows in by_worker.items()}

    def breaks() -> Iterator[str]:
        for worker, rows in spans.items():
            yield from _gaps(worker, rows)

    return sum(1 for rows in spans.values() if rows), breaks()


def _gaps(worker: str, rows: Sequence[WorkerTime]) -> Iterator[str]:
    for each in rows:
        if abs(each.busy_s + each.idle_s - each.wall_s) > TOLERANCE * each.wall_s:
            yield f"worker {worker}: busy {each.busy_s:.2f} + idle {each.idle_s:.2f} is not wall {each.wall_s:.2f}"
    for earlier, later in pairwise(rows):
        if later.busy_s < earlier.busy_s or later.idle_s < earlier.idle_s:
            yield f"worker {worker}: a total fell from {earlier} to {later}"
    if len(rows) > 1:
        grown, passed = rows[-1].wall_s - rows[0].wall_s, rows[-1].at - rows[0].at
        if abs(grown - passed) > max(TOLERANCE * passed, LATENESS):
            yield f"worker {worker}: wall grew by {grown:.2f} s while {passed:.2f} s passed"


# --- the log --------------------------------------------------------------------------------------------------------


def the_log_has_every_run_and_task(reading: Reading) -> tuple[int, Iterator[str]]:
    """One row for each run and each TaskRun that was not copied, in the state that the engine has."""

    def breaks() -> Iterator[str]:
        for run in reading.history.runs:
            if list(run.logged) != [run.state]:
                yield f"run {run.id} is {run.state}, the log says {list(run.logged)}"
        for task in reading.history.task_runs:
            wanted = [] if task.copied else [task.state]
            if list(task.logged) != wanted:
                name = f"task {task.task} [{task.index_path}] of run {task.run}"
                yield f"{name} is {task.state}{' (copied)' if task.copied else ''}, the log says {list(task.logged)}"

    return len(reading.history.runs) + len(reading.history.task_runs), breaks()


def the_log_has_every_attempt(reading: Reading) -> tuple[int, Iterator[str]]:
    """One row for each attempt that ended, and the last one says what became of the item."""
    logged: dict[Place, list[LoggedAttempt]] = defaultdict(list)
    for each in reading.history.attempts:
        logged[each.run, each.task, each.item].append(each)

    def breaks() -> Iterator[str]:
        for place, item in reading.items.items():
            if reading.kinds[place[:2]] != "map":
                yield from _unlogged(place, item, sorted(logged[place], key=lambda each: each.attempt))
        yield from (
            f"the log has attempts of {place}, which is not there" for place in logged.keys() - reading.items.keys()
        )

    return len(reading.history.attempts), breaks()


def _unlogged(place: Place, item: Item, rows: Sequence[LoggedAttempt]) -> Iterator[str]:
    numbers = [each.attempt for each in rows]
    wanted = list(range(1, item.attempt + 1))
    # What was cancelled may have been cancelled before its attempt began.
    allowed = [wanted] if item.state in TRIED else [wanted, wanted[:-1]]
    if numbers not in allowed:
        yield f"item {place} is {item.state} in attempt {item.attempt}, the log has attempts {numbers}"
        return
    ends = [each for each in rows if each.final]
    if [each.state for each in ends] != [item.state][: len(ends)] or (item.state in TRIED and not ends):
        yield f"item {place} is {item.state}, the log says {[each.state for each in ends]}"


def attempts_are_counted(reading: Reading) -> tuple[int, Iterator[str]]:
    """A TaskRun's number of attempts is that of its rows in the log."""
    logged: Counter[tuple[str, str, str]] = Counter()
    mapped = {(each.run, each.task): each.mapped for each in reading.history.task_runs}
    for each in reading.history.attempts:
        scope = each.item.rpartition(".")[0] if mapped.get((each.run, each.task)) else each.item
        logged[each.run, each.task, scope] += 1
    # A map's own attempts are its scopes', which are no attempts.
    counted = [each for each in reading.history.task_runs if each.kind != "map" and not each.copied]

    def breaks() -> Iterator[str]:
        for task in counted:
            rows = logged[task.run, task.task, task.index_path]
            if rows != task.attempts:
                name = f"task {task.task} [{task.index_path}] of run {task.run}"
                yield f"{name} ({task.state}) counts {task.attempts} attempts, the log has {rows}"

    return len(counted), breaks()


LAWS: dict[str, Law] = {
    "accepted runs are there, once": accepted_runs_are_there,
    "no run is stuck": no_run_is_stuck,
    "runs end as they should": runs_end_as_they_should,
    "no effect is lost": no_effect_is_lost,
    "no effect is doubled": no_effect_is_doubled,
    "no fan-in is doubled": no_fan_in_is_doubled,
    "order is respected": order_is_respected,
    "one run per tick": one_run_per_tick,
    "a job is launched once per attempt": no_job_is_launched_twice,
    "a script runs at least once": scripts_run_at_least_once,
    "the log has every run and task": the_log_has_every_run_and_task,
    "the log has every attempt": the_log_has_every_attempt,
    "attempts are counted": attempts_are_counted,
    "busy + idle = wall": busy_and_idle_are_wall,
}
