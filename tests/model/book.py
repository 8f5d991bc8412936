"""The model: what must have become of every run, task and item, kept in a book of its own.

Purpose: to be compared with the tables after every step. Guarantees: nothing of the engine is imported, and nothing is
clever: every rule is asked of everything until nothing changes. Never: how many items travel in a bundle or how many of
a map are opened at once; these are choices of speed, so the book reads them off the tables (`machine.py`) and only
minds that all is covered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.model.entries import FINAL, NOTHING, Bundle, Outcome, Part, Report, Run, Scope, Unit
from tests.model.plans import LISTED, PARAM, Step

#: Losses in a row after which an item is given up.
PATIENCE = 5


@dataclass(kw_only=True, eq=False)
class Book:
    """Everything there is."""

    runs: dict[str, Run] = field(default_factory=dict)
    bundles: dict[int, Bundle] = field(default_factory=dict)
    made: list[Bundle] = field(default_factory=list)  # of the last fold, without an id yet
    inbox: list[Report] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)  # (run, start or cancel)

    # --- asking -----------------------------------------------------------------------------------------------------

    def begin(self, run: Run) -> None:
        self.runs[run.id] = run
        if not run.held:
            self.asked.append((run.id, "start"))

    def cancel(self, run: Run) -> None:
        if not run.over and not run.stopped and (run.id, "cancel") not in self.asked:
            self.asked.append((run.id, "cancel"))

    def chosen(self, run: Run, mode: str, name: str | None) -> frozenset[str] | None:
        """What a rerun runs again: all (None), or what did not succeed or was named, and everything after it."""
        if mode == "all":
            return None
        states = {part.step.name: part.state for part in run.scopes[0].parts.values()} if run.scopes else {}
        again = {step.name for step in run.plan.steps if states.get(step.name) != "succeeded"}
        if name is not None:
            again.add(name)
        elif not again and all(states.get(step.name) == "succeeded" for step in run.plan.last):
            raise LookupError
        grown = True
        while grown:
            more = {step.name for step in run.plan.steps if again & set(step.after)} - again
            again |= more
            grown = bool(more)
        return frozenset(again | {step.name for step in run.plan.last})

    # --- what workers and sweeps do ---------------------------------------------------------------------------------

    def end(self, bundle: Bundle, outcomes: Iterable[Outcome]) -> None:
        """The next items of a bundle are reported; with the last one the bundle is gone."""
        told = tuple(outcomes)
        self.inbox.append(Report(bundle=bundle.id, part=bundle.part, outcomes=told))
        bundle.done += len(told)
        if bundle.done == len(bundle.entries):
            del self.bundles[bundle.id]

    def lose(self, worker: str) -> None:
        for bundle in [each for each in self.bundles.values() if each.worker == worker]:
            alone = len(bundle.left) == 1
            self.end(bundle, [Outcome(index=i, attempt=a, says="lost", charged=alone) for i, a in bundle.left])

    def expire(self, bundle: Bundle) -> None:
        (first, attempt), *rest = bundle.left
        late = Outcome(index=first, attempt=attempt, says="timed_out")
        self.end(bundle, [late, *(Outcome(index=i, attempt=a, says="lost", charged=False) for i, a in rest)])

    # --- the dispatcher ---------------------------------------------------------------------------------------------

    def taken(self, limit: int) -> tuple[list[Report], list[tuple[str, str]]]:
        """What a batch takes: the oldest reports and the oldest requests."""
        return self.inbox[:limit], self.asked[:limit]

    def fold(self, reports: list[Report], asked: list[tuple[str, str]]) -> None:
        """One batch."""
        touched = {each.part.scope.run.id for each in reports} | {run for run, _ in asked}
        self.inbox = [each for each in self.inbox if not any(each is one for one in reports)]
        self.asked = [each for each in self.asked if each not in asked]
        ended = set()
        for run in [self.runs[each] for each in sorted(touched)]:
            before = run.over
            told = [each for each in reports if each.part.scope.run is run]
            self._turn(run, told, {kind for each, kind in asked if each == run.id})
            if run.over and not before:
                ended.add(run.plan.name)
        for name in ended:
            self._release(name)

    def _turn(self, run: Run, told: list[Report], kinds: set[str]) -> None:
        if "start" in kinds and not run.held:
            self._open_run(run)
        stopping = run.stopped or "cancel" in kinds
        for report in told:
            for outcome in report.outcomes:
                self._conclude(report, outcome, stopping=stopping and not report.part.last)
        if "cancel" in kinds and not run.over and not run.stopped:
            run.held = False
            self._open_run(run)
            self._stop(run)
        self._settle(run)

    def _release(self, name: str) -> None:
        mates = [run for run in self.runs.values() if run.plan.name == name and not run.over]
        held = sorted(run.id for run in mates if run.held)
        if held and len(held) == len(mates):
            self.runs[held[0]].held = False
            self.asked.append((held[0], "start"))

    # --- opening ----------------------------------------------------------------------------------------------------

    def _open_run(self, run: Run) -> None:
        if run.scopes:
            return
        scope = Scope(run=run)
        run.scopes.append(scope)
        run.state = "running"
        for step in run.plan.steps + run.plan.last:
            scope.parts[step.name] = self._part(step, scope, last=step in run.plan.last)
        if run.old is not None and run.again is not None:
            for name in set(scope.parts) - run.again:
                scope.parts[name] = _copied(run.old.scopes[0].parts[name], scope)

    def _part(self, step: Step, scope: Scope, *, last: bool) -> Part:
        return Part(step=step, scope=scope, path=f"{scope.path}.{step.name}" if scope.path else step.name, last=last)

    def _start(self, part: Part) -> None:
        part.state = "running"
        if part.step.plain:
            part.total = 1
            part.opened = 1
            part.units[0] = Unit()
            self.made.append(Bundle(part=part, entries=((0, 1),)))
            return
        values = _spread(part)
        if values is NOTHING:
            part.state, part.total = "failed", 0
            return
        part.total = len(values)
        part.feed = values.__getitem__
        for index in range(part.total if part.step.inner else 0):
            self._open_element(part, index, values[index])

    def _open_element(self, part: Part, index: int, element: Any) -> None:
        unit = Unit(state="running")
        outer = part.scope
        place = f"{outer.place}.{index}" if outer.place else str(index)
        scope = Scope(run=outer.run, place=place, path=part.path, outer=part, unit=unit, element=element)
        scope.parts = {step.name: self._part(step, scope, last=part.last) for step in part.step.inner}
        part.units[index] = unit
        part.scopes[index] = scope
        part.opened = index + 1
        outer.run.scopes.append(scope)

    # --- one try ----------------------------------------------------------------------------------------------------

    def _conclude(self, report: Report, told: Outcome, *, stopping: bool) -> None:
        part, unit = report.part, report.part.units.get(told.index)
        if unit is None or unit.state != "queued" or unit.attempt != told.attempt:
            return
        part.tries += _counts(told)
        end = _verdict(part, unit, told)
        if end is None and stopping:
            end = "cancelled"
        if end is None:
            self._repeat(report, unit, told)
            return
        unit.state = end
        part.tally["failed" if end == "expired" else end] += 1
        if end == "succeeded":
            unit.value = told.value
            unit.rows = None if told.rows is None else list(told.rows)

    def _repeat(self, report: Report, unit: Unit, told: Outcome) -> None:
        step, wait = report.part.step, 0.0
        if told.says in {"failed", "timed_out"}:
            wait = float(step.pause * step.growth**unit.failures)
            unit.failures, unit.losses, unit.handbacks = unit.failures + 1, 0, 0
            unit.attempt += 1
        elif told.says == "lost":
            unit.losses += told.charged
            if told.ended:
                unit.attempt += 1
                unit.handbacks = 0
                wait = _doubling(max(1, unit.losses))
        elif told.says == "handed_back":
            unit.handbacks += 1
            wait = _doubling(unit.handbacks)
        # What was given back travels on together, everything else alone.
        batch = (report.bundle, wait) if told.says in {"handed_back", "returned"} else None
        for bundle in self.made:
            if batch is not None and bundle.batch == batch and bundle.part is report.part:
                bundle.entries += ((told.index, unit.attempt),)
                return
        self.made.append(Bundle(part=report.part, entries=((told.index, unit.attempt),), wait=wait, batch=batch))

    # --- the graph --------------------------------------------------------------------------------------------------

    def _stop(self, run: Run) -> None:
        run.stopped = True
        for bundle in [each for each in self.bundles.values() if each.part.scope.run is run]:
            if bundle.part.last:
                continue
            busy = bundle.token is not None or bundle.watched
            self.end(
                bundle,
                [
                    Outcome(index=i, attempt=a, says="cancelled", charged=busy and place == 0)
                    for place, (i, a) in enumerate(bundle.left)
                ],
            )
        for part in run.parts:
            if not part.last and part.state == "running" and part.total is not None:
                part.tally["cancelled"] += part.total - part.opened
                part.opened = part.total

    def _settle(self, run: Run) -> None:
        changed = True
        while changed:
            changed = sum(self._settle_scope(scope) for scope in list(run.scopes)) > 0

    def _settle_scope(self, scope: Scope) -> bool:
        if scope.closed:
            return False
        changed = [self._settle_part(part) for part in list(scope.parts.values())]
        if all(part.state in FINAL for part in scope.parts.values()):
            self._close(scope)
            return True
        return any(changed)

    def _settle_part(self, part: Part) -> bool:
        before = part.state
        if part.state == "pending":
            self._judge(part)
        elif part.state == "running" and part.done == part.total:
            part.state = _sum(part)
        return part.state != before

    def _judge(self, part: Part) -> None:
        scope = part.scope
        finals = {step.name for step in scope.run.plan.last} if scope.outer is None else set()
        if part.step.name in finals:
            if all(other.state in FINAL for name, other in scope.parts.items() if name not in finals):
                self._start(part)
            return
        parents = [scope.parts[name] for name in part.step.after]
        if scope.run.stopped and not part.last:
            _shut(part, "cancelled")
        elif all(parent.state in FINAL for parent in parents):
            if _runs(part.step.rule, parents):
                self._start(part)
            else:
                _shut(part, "skipped")

    def _close(self, scope: Scope) -> None:
        scope.closed = True
        finals = {step.name for step in scope.run.plan.last} if scope.outer is None else set()
        bad = any(
            part.state == "failed" and (name in finals or not part.step.lenient) for name, part in scope.parts.items()
        )
        stopped = scope.run.stopped and not (scope.outer is not None and scope.outer.last)
        end = "failed" if bad else "cancelled" if stopped else "succeeded"
        if scope.outer is None or scope.unit is None:
            scope.run.state = end
            return
        scope.unit.state = end
        scope.outer.tally[end] += 1
        if end == "succeeded" and scope.outer.step.gives:
            scope.unit.value = scope.parts[scope.outer.step.gives].result()


def _verdict(part: Part, unit: Unit, told: Outcome) -> str | None:
    """The item's end, or None when it is to be tried again."""
    if told.says in {"succeeded", "cancelled"}:
        return told.says
    if told.says == "ended_transaction":
        return "failed"
    if told.says in {"failed", "timed_out"} and unit.failures >= part.step.again:
        return "failed" if told.says == "failed" else "expired"
    return "failed" if told.says == "lost" and unit.losses + told.charged >= PATIENCE else None


def _doubling(times: int) -> float:
    """Seconds: 1, 2, 4, up to 60."""
    return min(60.0, 2.0 ** (times - 1))


def _counts(told: Outcome) -> int:
    """Whether somebody's code was tried."""
    if told.says == "lost":
        return int(told.ended)
    if told.says == "cancelled":
        return int(told.charged)
    return int(told.says in {"succeeded", "failed", "timed_out", "ended_transaction"})


def _sum(part: Part) -> str:
    if part.tally["failed"]:
        return "failed"
    return "cancelled" if part.tally["cancelled"] else "succeeded"


def _shut(part: Part, end: str) -> None:
    part.state = end
    part.total = 1 if part.step.plain else 0
    part.tally[end] = part.total


def _runs(rule: str, parents: list[Part]) -> bool:
    states = [parent.state for parent in parents]
    if rule == "any_failed":
        return "failed" in states
    if rule == "any_succeeded":
        return "succeeded" in states
    fine = [part.state == "succeeded" or (part.state == "failed" and part.step.lenient) for part in parents]
    return rule == "all_done" or all(fine)


def _spread(part: Part) -> Any:
    """The values of a map's items, NOTHING when what it goes over is no list and no number."""
    text = part.step.over or ""
    if text.startswith("tasks."):
        return _of(part.scope.find(text.split(".")[1]))
    if text == "params.n":
        return list(range(PARAM))
    if text == "item":
        return _list(part.scope.element)
    return list(range(int(text))) if text.isdigit() else LISTED


def _of(source: Part) -> Any:
    if source.feed is not None:
        return [source.units[index].value for index in range(source.total or 0)]
    unit = source.only()
    if unit is not None and unit.rows is not None:
        return unit.rows
    return _list(source.result())


def _list(value: Any) -> Any:
    if isinstance(value, list):
        return value
    return list(range(value)) if isinstance(value, int) else NOTHING


def _copied(part: Part, scope: Scope) -> Part:
    """A task of a rerun that does not run again: as it was, without tries."""
    copy = Part(
        step=part.step,
        scope=scope,
        path=part.path,
        last=part.last,
        state=part.state,
        total=part.total,
        opened=part.opened,
        tally=dict(part.tally),
        units=part.units,
        feed=part.feed,
    )
    for index, old in part.scopes.items():
        new = Scope(run=scope.run, place=old.place, path=old.path, outer=copy, unit=old.unit, element=old.element)
        new.closed = True
        new.parts = {name: _copied(each, new) for name, each in old.parts.items()}
        copy.scopes[index] = new
        scope.run.scopes.append(new)
    return copy
