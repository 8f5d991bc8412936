"""The state machine: the engine and the book side by side, compared after every step.

Guarantees: workers make legal moves only, the adversary makes the others and changes nothing; settling again changes
nothing; every example is driven to its end, for what is stuck is wrong too. Never: a sleep, or an id in a choice.
"""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from tests.model.entries import Outcome, Report, Run
from tests.model.plans import PARAM, Plan, plans
from tests.model.rig import DEPTH, STALE, WORKERS
from tests.model.side_by_side import SideBySide, chosen

from freshet.bus import Message
from freshet.domain.errors import ConflictError
from freshet.runtime import fault

PICK = st.integers(0, 255)
#: Runs that are started, and as many again that are rerun.
RUNS = 3


class Engine(SideBySide):
    """Everything that can happen."""

    @initialize(first=plans("w"), second=plans("w"), quick=st.sampled_from((True, True, False)), whole=st.booleans())
    def begin(self, first: Plan, second: Plan, quick: bool, whole: bool) -> None:
        self.empty(quick=quick, whole=whole)
        self.plans = [replace(plan, name=self.rig.name()) for plan in (first, second)]
        for plan in self.plans:
            self.rig.apply(plan.document())
        self.start(which=0, held=False)
        self.fold(which=0, all_of_it=True)

    def teardown(self) -> None:
        if getattr(self, "sound", False):
            self._drive()

    # --- asking -----------------------------------------------------------------------------------------------------

    @precondition(lambda self: sum(run.old is None for run in self.book.runs.values()) < RUNS)
    @rule(which=st.integers(0, 1), held=st.booleans())
    def start(self, which: int, held: bool) -> None:
        plan = self.plans[which]
        # Nobody would ever start a held run that waits for nothing.
        held = held and any(run.plan is plan and not run.over and not run.held for run in self.book.runs.values())
        run = Run(id=self.rig.start(plan.name, {"n": PARAM}, held=held), plan=plan, held=held)
        self.book.begin(run)
        self.agree()

    @precondition(lambda self: any(run.over for run in self.book.runs.values()))
    @rule(pick=PICK, mode=st.sampled_from(("all", "failed", "failed", "from", "from")), name=PICK)
    def rerun(self, pick: int, mode: str, name: int) -> None:
        if len(self.book.runs) >= 2 * RUNS:
            return
        old = chosen(pick, [run for run in self.book.runs.values() if run.over])
        step = chosen(name, old.plan.steps).name if mode == "from" else None
        try:
            again = self.book.chosen(old, mode, step)
        except LookupError:
            with pytest.raises(ConflictError):
                self.rig.rerun(old.id, old.plan.name, {"n": PARAM}, mode, step)
            return
        key = self.rig.rerun(old.id, old.plan.name, {"n": PARAM}, mode, step)
        self.book.begin(Run(id=key, plan=old.plan, again=again, old=old))
        self.agree()
        self.fold(which=0, all_of_it=True)

    @precondition(lambda self: any(not run.over for run in self.book.runs.values()))
    @rule(pick=PICK, first=st.sampled_from(("any", "held", "late")), and_fold=st.booleans())
    def cancel(self, pick: int, first: str, and_fold: bool) -> None:
        going = [run for run in self.book.runs.values() if not run.over]
        held = [run for run in going if run.held]
        late = [run for run in going if any(part.last and part.state == "running" for part in run.parts)]
        run = chosen(pick, {"any": going, "held": held, "late": late}[first] or going)
        self.rig.requests.cancel(uuid.UUID(run.id))
        self.book.cancel(run)
        self.agree()
        if and_fold:
            self.fold(which=0, all_of_it=True)

    # --- the dispatchers --------------------------------------------------------------------------------------------

    @rule(which=st.integers(0, 1), all_of_it=st.booleans())
    def fold(self, which: int, all_of_it: bool) -> None:
        self._fold(which)
        while all_of_it and (self.book.inbox or self.book.asked):
            self._fold(which)
        if not (self.book.inbox or self.book.asked):
            self._settle_again(lambda: self.rig.sql(STALE))

    @rule(which=st.integers(0, 1))
    def ring(self, which: int) -> None:
        self._ring(which)

    @precondition(lambda self: bool(self.book.inbox or self.book.asked))
    @rule(pick=PICK, seed=PICK)
    def two_dispatchers_at_once(self, pick: int, seed: int) -> None:
        """The one is stopped with its runs in hand; the other folds what is left, and what comes in meanwhile."""
        one = self.book.taken(self.rig.dispatchers[1].limit)
        locked = {report.part.scope.run.id for report in one[0]} | {run for run, _ in one[1]}
        others: list[tuple[list[Report], list[tuple[str, str]]]] = []

        def meanwhile(point: str) -> None:
            if point == "fold.taken" and not others:
                self._finish_some(pick, seed)
                reports, asked = self.book.taken(self.rig.dispatchers[0].limit)
                left = [report for report in reports if report.part.scope.run.id not in locked]
                others.append((left, [request for request in asked if request[0] not in locked]))
                self.rig.dispatchers[0].fold()

        with fault.armed(meanwhile):
            self.rig.dispatchers[1].fold()
        self.book.fold(*one)
        self.book.fold(*others[0])
        self.agree()
        self.fold(which=0, all_of_it=True)

    @precondition(lambda self: any(not bundle.part.scope.run.stopped for bundle in self._claimed()))
    @rule(pick=PICK, seed=PICK, which=st.integers(0, 1))
    def finish_meets_a_cancel(self, pick: int, seed: int, which: int) -> None:
        """What is committed after the cancel was read, and before it is decided, wins over it."""
        self.fold(which=which, all_of_it=True)
        claimed = [bundle for bundle in self._claimed() if not bundle.part.scope.run.stopped]
        if not claimed:
            return
        bundle = chosen(pick, claimed)
        self.rig.requests.cancel(uuid.UUID(bundle.part.scope.run.id))
        self.book.cancel(bundle.part.scope.run)
        taken = self.book.taken(200)

        def finish(point: str) -> None:
            if point == "fold.taken":
                self._finish(bundle, len(bundle.left), seed)

        with fault.armed(finish):
            self.rig.dispatchers[which].fold()
        self.book.fold(*taken)
        self.agree()
        self.fold(which=which, all_of_it=True)

    @rule()
    def flush(self) -> None:
        self.rig.bus.client.flushdb()
        self._ring(0)
        free = Counter(self._queue(bundle) for bundle in self.book.bundles.values() if bundle.free)
        for queue, count in free.items():
            named = self.rig.bus.queued(queue)
            assert len(named) == min(count, DEPTH)
            assert named <= {bundle.id for bundle in self.book.bundles.values() if bundle.free}

    @precondition(lambda self: any(bundle.wait for bundle in self.book.bundles.values()))
    @rule(pick=PICK, everything=st.booleans(), which=st.integers(0, 1))
    def time_passes(self, pick: int, everything: bool, which: int) -> None:
        waiting = sorted(bundle.id for bundle in self.book.bundles.values() if bundle.wait)
        ripe = waiting if everything else [chosen(pick, waiting)]
        self._ripen(ripe)
        self._ring(which)
        assert not any(bundle.wait for bundle in self.book.bundles.values() if bundle.id in ripe)

    # --- workers ----------------------------------------------------------------------------------------------------

    @precondition(lambda self: any(bundle.free for bundle in self.book.bundles.values()))
    @rule(count=st.integers(1, 4), pick=PICK, seed=PICK)
    def work(self, count: int, pick: int, seed: int) -> None:
        for place in range(count):
            free = self._published()
            if free:
                bundle = chosen(pick + place, free)
                self._claim(bundle, WORKERS[place % 3])
                self._finish(bundle, len(bundle.left), seed + 7 * place)
        self.agree()
        self.fold(which=0, all_of_it=True)

    @precondition(lambda self: any(bundle.free for bundle in self.book.bundles.values()))
    @rule(seed=PICK, rounds=st.integers(2, 6))
    def work_on(self, seed: int, rounds: int) -> None:
        """All that is published is worked off, again and again: far enough for runs to end."""
        for place in range(rounds):
            for bundle in self._published():
                self._claim(bundle, WORKERS[0])
                self._finish(bundle, len(bundle.left), seed + place)
            self._ripen([bundle.id for bundle in self.book.bundles.values() if bundle.wait])
            self.fold(which=0, all_of_it=True)
            self._ring(0)

    @precondition(lambda self: any(bundle.free for bundle in self.book.bundles.values()))
    @rule(pick=PICK, worker=st.sampled_from(WORKERS), count=st.integers(1, 3))
    def claim(self, pick: int, worker: str, count: int) -> None:
        for _ in range(count):
            if free := self._published():
                # The larger ones first: there are fewer of them.
                most = max(len(bundle.left) for bundle in free)
                self._claim(chosen(pick, [bundle for bundle in free if len(bundle.left) == most]), worker)
        self.agree()

    @precondition(lambda self: bool(self._claimed()))
    @rule(pick=PICK, count=st.integers(1, 3), seed=PICK)
    def finish(self, pick: int, count: int, seed: int) -> None:
        bundle = chosen(pick, self._claimed())
        self._finish(bundle, min(count, len(bundle.left)), seed)
        self.agree()

    @precondition(lambda self: bool(self._claimed()))
    @rule(pick=PICK, how=st.sampled_from(("returned", "handed_back")), and_fold=st.booleans())
    def give_back(self, pick: int, how: str, and_fold: bool) -> None:
        bundle = chosen(pick, self._claimed())
        rest = [(self._item(bundle.part, index), attempt) for index, attempt in bundle.left]
        assert self.rig.workers.release(bundle.id, uuid.UUID(bundle.token), rest, how)
        self.book.end(bundle, [Outcome(index=index, attempt=attempt, says=how) for index, attempt in bundle.left])
        self.agree()
        if and_fold:
            self.fold(which=0, all_of_it=True)

    @precondition(lambda self: any(bundle.part.step.job for bundle in self._claimed()))
    @rule(pick=PICK)
    def watch(self, pick: int) -> None:
        bundle = chosen(pick, [each for each in self._claimed() if each.part.step.job])
        token = uuid.UUID(bundle.token)
        bundle.job = f"job-{bundle.id}"
        self.rig.workers.store_job_name(bundle.id, token, bundle.job)
        self.rig.workers.watch(bundle.id, token)
        bundle.token, bundle.worker, bundle.watched = None, None, True
        self.agree()

    @precondition(lambda self: any(bundle.watched for bundle in self.book.bundles.values()))
    @rule(pick=PICK, says=st.sampled_from(("succeeded", "failed", "lost", "lost", "timed_out")))
    def end_watch(self, pick: int, says: str) -> None:
        bundle = chosen(pick, [each for each in self.book.bundles.values() if each.watched])
        ((index, attempt),) = bundle.left
        told = Outcome(index=index, attempt=attempt, says=says, value=index, ended=says == "lost")
        if says != "succeeded":
            told = replace(told, value=None)
        assert self.rig.workers.finish_job(bundle.id, str(bundle.job), [self._body(bundle.part, told)])
        self.book.end(bundle, [told])
        self.agree()

    @precondition(lambda self: bool(self._claimed()))
    @rule(pick=PICK, which=st.integers(0, 1), begun=st.booleans())
    def kill(self, pick: int, which: int, begun: bool) -> None:
        for bundle in self._claimed() if begun else []:
            if len(bundle.left) > 1:
                self._finish(bundle, 1, pick)
        self._kill(str(chosen(pick, self._claimed()).worker), which)

    @precondition(lambda self: any(bundle.free and len(bundle.left) > 1 for bundle in self.book.bundles.values()))
    @rule(pick=PICK, seed=PICK, which=st.integers(0, 1))
    def die_half_way(self, pick: int, seed: int, which: int) -> None:
        """A worker reports a part of its bundle, and is killed or overruns."""
        several = [bundle for bundle in self._published() if len(bundle.left) > 1]
        for place, bundle in enumerate(several[pick % 2 :]):
            self._claim(bundle, WORKERS[0])
            self._finish(bundle, 1 if (seed + place) % 4 else 0, seed)
            if bundle.part.step.limit and (seed + place) % 2:
                self._overrun(bundle, which)
            else:
                self._kill(WORKERS[0], which)
        self.fold(which=which, all_of_it=True)

    @precondition(lambda self: any(bundle.part.step.limit for bundle in self._claimed()))
    @rule(pick=PICK, which=st.integers(0, 1))
    def overrun(self, pick: int, which: int) -> None:
        bundle = chosen(pick, [each for each in self._claimed() if each.part.step.limit])
        self._overrun(bundle, which)

    # --- reports that misbehave -------------------------------------------------------------------------------------

    @precondition(lambda self: any(repeatable(report) for report in self.book.inbox))
    @rule(pick=PICK, and_fold=st.booleans())
    def report_comes_twice(self, pick: int, and_fold: bool) -> None:
        places = [place for place, report in enumerate(self.book.inbox) if repeatable(report)]
        place = chosen(pick, places)
        rows = self.rig.sql("select id from engine.report order by id")
        self.rig.sql(
            "insert into engine.report (partition, run_id, task_run_id, bundle_id, worker, claimed_at, body)"
            " select partition, run_id, task_run_id, bundle_id, worker, claimed_at, body from engine.report"
            " where id = %s",
            rows[place]["id"],
        )
        self.book.inbox.append(replace(self.book.inbox[place]))
        self.agree()
        if and_fold:
            self.fold(which=0, all_of_it=True)

    @precondition(lambda self: len(self.book.inbox) > 1)
    @rule(pick=PICK)
    def report_comes_late(self, pick: int) -> None:
        """A report is overtaken by all others."""
        rows = self.rig.sql("select id from engine.report order by id")
        place = pick % len(rows)
        self.rig.sql(
            "with gone as (delete from engine.report where id = %s returning *)"
            " insert into engine.report (partition, run_id, task_run_id, bundle_id, worker, claimed_at, body)"
            " select partition, run_id, task_run_id, bundle_id, worker, claimed_at, body from gone",
            rows[place]["id"],
        )
        self.book.inbox.append(self.book.inbox.pop(place))
        self.agree()

    # --- the adversary ----------------------------------------------------------------------------------------------

    @precondition(lambda self: bool(self._busy()))
    @rule(worker=st.sampled_from(WORKERS))
    def claim_what_is_taken(self, worker: str) -> None:
        """Whatever is held, watched or not due yet, for all that a second message says."""
        taken = self._busy()
        self.rig.bus.publish([Message(queue=self._queue(bundle), bundle_id=bundle.id) for bundle in taken])

        def claim() -> None:
            for bundle in taken:
                assert self.rig.claim(bundle.id, worker, uuid.uuid4()) is None

        self._unchanged(claim)

    @precondition(lambda self: bool(self._claimed()))
    @rule(pick=PICK)
    def misuse_a_claim(self, pick: int) -> None:
        bundle = chosen(pick, self._claimed())
        token, other, workers, key = uuid.UUID(bundle.token), uuid.uuid4(), self.rig.workers, bundle.id
        body = [self._body(bundle.part, Outcome(index=i, attempt=a, says="succeeded")) for i, a in bundle.left]
        self._refused(
            lambda: workers.finish(key, other, body),
            lambda: workers.finish(key, other, body[:1]),
            lambda: workers.finish(key, token, [*body, body[-1]]),
            lambda: workers.finish(key, token, [{**body[0], "i": body[0]["i"] + 1}, *body[1:]]),
            lambda: workers.finish(key, token, []),
            lambda: workers.watch(key, other),
            lambda: workers.store_job_name(key, other, "other"),
        )

    @precondition(lambda self: bool(self._lost_tokens()))
    @rule(pick=PICK)
    def use_a_lost_claim(self, pick: int) -> None:
        key, token, left, part = chosen(pick, self._lost_tokens())
        body = [self._body(part, Outcome(index=index, attempt=attempt, says="succeeded")) for index, attempt in left]
        workers = self.rig.workers
        self._refused(
            lambda: workers.finish(key, token, body),
            lambda: workers.finish(key, token, body[:1]),
            lambda: workers.watch(key, token),
        )

    @rule(pick=PICK)
    def touch_what_is_not_yours(self, pick: int) -> None:
        store = self.rig.dispatchers[0].store
        taken = [bundle.id for bundle in self._busy() if not bundle.wait]

        def touch() -> None:
            store.unpublish(taken)
            store.release_workers(["nobody"])
            store.expire_bundles(limit=100)
            assert not self.rig.workers.finish_job(chosen(pick, taken or [0]), "no such job", [])

        self._unchanged(touch)

    @precondition(lambda self: not self.book.inbox and not self.book.asked)
    @rule(pick=PICK, cancel=st.booleans())
    def ask_out_of_turn(self, pick: int, cancel: bool) -> None:
        run = chosen(pick, [run for run in self.book.runs.values() if not run.held])

        if run.over and cancel:
            self._settle_again(lambda: self._request(run, "cancel"))
        else:
            self._settle_again(lambda: self._request(run, "start"))

    @precondition(lambda self: bool(self._claimed()))
    @rule(pick=PICK, session=st.booleans())
    def one_witness_is_silent(self, pick: int, session: bool) -> None:
        """A worker that one witness still speaks for keeps what it has."""
        worker = str(chosen(pick, self._claimed()).worker)
        if session:
            self.rig.bury(worker)
            self.rig.beat([worker])
        else:
            self.dead.add(worker)
            self.rig.silence(worker)
        for _ in range(3):
            assert self._ring(0) == ()
        if session:
            self.rig.revive(worker)
        self.dead.discard(worker)
        self.rig.beat([worker])
        self._ring(0)


def repeatable(report: Report) -> bool:
    """Whether a second one is known by its attempts: what gives an attempt back leaves its number as it is."""
    return all(told.says in {"succeeded", "failed", "timed_out", "ended_transaction"} for told in report.outcomes)
