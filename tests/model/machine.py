"""The state machine: the engine and the book side by side, compared after every step.

Guarantees: workers make legal moves only, the adversary makes the others and changes nothing; settling again changes
nothing; every example is driven to its end, for what is stuck is wrong too. Never: a sleep, or an id in a choice.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from tests.model.book import FINAL, NOTHING, Book, Bundle, Outcome, Part, Report, Run, Unit
from tests.model.plans import PARAM, Plan, plans
from tests.model.rig import STALE, WORKERS, NotingBatch, Rig

from freshet.bus import Message
from freshet.domain.errors import ClaimLostError, ConflictError
from freshet.runtime import fault

T = TypeVar("T")

PICK = st.integers(0, 255)
MASK = (1 << 24) - 1
#: How a try ends; failures often enough to use up the retries.
ENDINGS = ("succeeded", "failed", "succeeded", "failed", "timed_out", "ended_transaction")
VALUES: tuple[Any, ...] = ([1, 2, 3], 2, [], "text", None, [[7], 1], 0, {"k": 1}, [5])
RUNS = 4
#: Looks after which a dead worker must have been found, grace after a flush included.
LOOKS = 20


class Engine(RuleBasedStateMachine):
    """Both, and the steps that they take together."""

    rig: ClassVar[Rig]

    @initialize(first=plans("w"), second=plans("w"))
    def begin(self, first: Plan, second: Plan) -> None:
        self.rig.fresh()
        self.book = Book()
        self.sound = True
        self.ids: dict[int, Part] = {}  # by the TaskRun's id
        self.numbers: dict[Part, int] = {}  # of a task's items: another TaskRun's, where it was copied
        self.due: dict[int, float] = {}
        self.leases: dict[int, float] = {}
        self.overdue: set[int] = set()
        self.dead: set[str] = set()
        self.tokens: list[tuple[int, uuid.UUID, tuple[tuple[int, int], ...], Part]] = []
        self.plans = [replace(plan, name=self.rig.name()) for plan in (first, second)]
        for plan in self.plans:
            self.rig.apply(plan.document())
        self.start(which=0, held=False)
        self.fold(which=0, all_of_it=True)

    def teardown(self) -> None:
        if getattr(self, "sound", False):
            self._drive()

    # --- asking -----------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.book.runs) < RUNS)
    @rule(which=st.integers(0, 1), held=st.booleans())
    def start(self, which: int, held: bool) -> None:
        plan = self.plans[which]
        # Nobody would ever start a held run that waits for nothing.
        held = held and any(run.plan is plan and not run.over and not run.held for run in self.book.runs.values())
        run = Run(id=self.rig.start(plan.name, {"n": PARAM}, held=held), plan=plan, held=held)
        self.book.begin(run)
        self.agree()

    @precondition(lambda self: len(self.book.runs) < RUNS and any(run.over for run in self.book.runs.values()))
    @rule(pick=PICK, mode=st.sampled_from(("all", "failed", "failed", "from")), name=PICK)
    def rerun(self, pick: int, mode: str, name: int) -> None:
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

    @precondition(lambda self: any(not run.over for run in self.book.runs.values()))
    @rule(pick=PICK, and_fold=st.booleans())
    def cancel(self, pick: int, and_fold: bool) -> None:
        run = chosen(pick, [run for run in self.book.runs.values() if not run.over])
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
        others = []

        def meanwhile(point: str) -> None:
            if point == "fold.taken" and not others:
                self._finish_some(pick, seed)
                reports, asked = self.book.taken(self.rig.dispatchers[0].limit)
                others.append([report for report in reports if report.part.scope.run.id not in locked])
                others.append([request for request in asked if request[0] not in locked])
                self.rig.dispatchers[0].fold()

        with fault.armed(meanwhile):
            self.rig.dispatchers[1].fold()
        self.book.fold(*one)
        self.book.fold(*others)
        self.agree()
        self.fold(which=0, all_of_it=True)

    @rule()
    def flush(self) -> None:
        self.rig.bus.client.flushdb()
        self._ring(0)
        free = Counter(self._queue(bundle) for bundle in self.book.bundles.values() if bundle.free)
        for queue, count in free.items():
            named = self.rig.bus.queued(queue)
            assert len(named) == min(count, 4)
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
    @rule(pick=PICK, worker=st.sampled_from(WORKERS))
    def claim(self, pick: int, worker: str) -> None:
        free = self._published()
        if free:
            self._claim(chosen(pick, free), worker)
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
    @rule(pick=PICK, which=st.integers(0, 1))
    def kill(self, pick: int, which: int) -> None:
        self._kill(str(chosen(pick, self._claimed()).worker), which)

    @precondition(lambda self: any(bundle.part.step.limit for bundle in self._claimed()))
    @rule(pick=PICK, which=st.integers(0, 1))
    def overrun(self, pick: int, which: int) -> None:
        bundle = chosen(pick, [each for each in self._claimed() if each.part.step.limit])
        self.rig.sql("update engine.bundle set expires_at = clock_timestamp() - interval '1 s' where id = %s", bundle.id)
        self.overdue.add(bundle.id)
        self._ring(which)
        assert bundle.id not in self.book.bundles

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
    @rule(pick=PICK, worker=st.sampled_from(WORKERS))
    def claim_what_is_taken(self, pick: int, worker: str) -> None:
        bundle = chosen(pick, self._busy())
        self.rig.bus.publish([Message(queue=self._queue(bundle), bundle_id=bundle.id)])
        self._refused(lambda: self.rig.claim(bundle.id, worker, uuid.uuid4()), answer=None)

    @precondition(lambda self: bool(self._claimed()))
    @rule(pick=PICK, how=st.integers(0, 5))
    def misuse_a_claim(self, pick: int, how: int) -> None:
        bundle = chosen(pick, self._claimed())
        token, workers, key = uuid.UUID(bundle.token), self.rig.workers, bundle.id
        body = [self._body(bundle.part, Outcome(index=i, attempt=a, says="succeeded")) for i, a in bundle.left]
        attempts: Sequence[Callable[[], Any]] = (
            lambda: workers.finish(key, uuid.uuid4(), body),
            lambda: workers.finish(key, token, [*body, body[-1]]),
            lambda: workers.finish(key, token, [{**body[0], "i": body[0]["i"] + 1}, *body[1:]]),
            lambda: workers.finish(key, token, []),
            lambda: workers.watch(key, uuid.uuid4()),
            lambda: workers.store_job_name(key, uuid.uuid4(), "other"),
        )
        self._refused(attempts[how])

    @precondition(lambda self: bool(self._lost_tokens()))
    @rule(pick=PICK, how=st.integers(0, 2))
    def use_a_lost_claim(self, pick: int, how: int) -> None:
        key, token, left, part = chosen(pick, self._lost_tokens())
        body = [self._body(part, Outcome(index=index, attempt=attempt, says="succeeded")) for index, attempt in left]
        workers = self.rig.workers
        attempts: Sequence[Callable[[], Any]] = (
            lambda: workers.finish(key, token, body),
            lambda: workers.finish(key, token, body[:1]),
            lambda: workers.watch(key, token),
        )
        self._refused(attempts[how])

    @rule(how=st.integers(0, 3), pick=PICK)
    def touch_what_is_not_yours(self, how: int, pick: int) -> None:
        store = self.rig.dispatchers[0].store
        taken = [bundle.id for bundle in self._busy() if not bundle.wait]
        attempts: Sequence[Callable[[], Any]] = (
            lambda: store.unpublish(taken),
            lambda: store.release_workers(["nobody"]),
            lambda: store.expire_bundles(limit=100),
            lambda: self.rig.workers.finish_job(chosen(pick, taken or [0]), "no such job", []),
        )
        self._unchanged(attempts[how])

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

    # --- how it is done ---------------------------------------------------------------------------------------------

    def _fold(self, which: int) -> None:
        dispatcher = self.rig.dispatchers[which]
        folded = dispatcher.fold()
        self.book.fold(*self.book.taken(dispatcher.limit))
        if folded.backlog:
            dispatcher.refill.refill(folded.backlog)
        self.agree()

    def _ring(self, which: int) -> tuple[str, ...]:
        self.rig.beat([worker for worker in WORKERS if worker not in self.dead])
        rung = self.rig.dispatchers[which].ring()
        self.rig.seconds += 1.0
        assert set(rung.dead) <= self.dead
        for key in sorted(self.overdue & set(self.book.bundles)):
            self.book.expire(self.book.bundles[key])
        self.overdue.clear()
        for worker in rung.dead:
            self.book.lose(worker)
        self.agree(released=True)
        return rung.dead

    def _kill(self, worker: str, which: int) -> None:
        self.rig.bury(worker)
        self.dead.add(worker)
        for _ in range(LOOKS):
            if not any(bundle.worker == worker for bundle in self.book.bundles.values()):
                break
            self._ring(which)
        assert not any(bundle.worker == worker for bundle in self.book.bundles.values())
        self.dead.discard(worker)
        self.rig.revive(worker)
        self.rig.beat([worker])

    def _claim(self, bundle: Bundle, worker: str) -> None:
        token = uuid.uuid4()
        claimed = self.rig.claim(bundle.id, worker, token)
        assert claimed is not None
        bundle.token, bundle.worker = str(token), worker
        self.leases[bundle.id] = len(bundle.left) * (bundle.part.step.limit or 0) + 5.0
        self.tokens.append((bundle.id, token, bundle.left, bundle.part))
        self._check_document(bundle, claimed.document)

    def _finish(self, bundle: Bundle, count: int, seed: int) -> None:
        told = [
            self._outcome(bundle.part, index, attempt, seed + place)
            for place, (index, attempt) in enumerate(bundle.left[:count])
        ]
        for outcome in told:
            self._yield(bundle.part, outcome)
        body = [self._body(bundle.part, outcome) for outcome in told]
        ended = self.rig.workers.finish(bundle.id, uuid.UUID(bundle.token), body)
        assert ended == (count == len(bundle.left))
        self.book.end(bundle, told)

    def _finish_some(self, pick: int, seed: int) -> None:
        claimed = self._claimed()
        if claimed:
            bundle = chosen(pick, claimed)
            self._finish(bundle, len(bundle.left), seed)

    def _outcome(self, part: Part, index: int, attempt: int, seed: int) -> Outcome:
        says = chosen(seed, ENDINGS)
        if says != "succeeded":
            return Outcome(index=index, attempt=attempt, says=says)
        value = chosen(seed // 3, VALUES)
        if isinstance(value, list) and part.step.plain and part.scope.outer is None and seed % 2:
            return Outcome(index=index, attempt=attempt, says=says, rows=tuple(value))
        return Outcome(index=index, attempt=attempt, says=says, value=value)

    def _yield(self, part: Part, told: Outcome) -> None:
        for place, value in enumerate(told.rows or ()):
            self.rig.put_value(self._item(part, told.index), place, value)

    def _body(self, part: Part, told: Outcome) -> dict[str, Any]:
        body = {"i": self._item(part, told.index), "a": told.attempt, "s": told.says, "d": 0.001}
        if told.says == "succeeded":
            body |= {"r": told.value} if told.rows is None else {"n": len(told.rows)}
        elif told.says not in {"returned", "handed_back"}:
            body["e"] = {"class": "user", "message": "broken"}
        return body | ({"x": True} if told.ended else {})

    def _item(self, part: Part, index: int) -> int:
        return self.numbers[part] << 24 | index

    def _queue(self, bundle: Bundle) -> str:
        return "job_service" if bundle.part.step.job else "p@1.0.0"

    def _ripen(self, keys: Sequence[int]) -> None:
        self.rig.sql("update engine.bundle set due_at = 'epoch' where id = any (%s)", list(keys))
        self.due |= dict.fromkeys(keys, 0.0)

    def _request(self, run: Run, kind: str) -> None:
        self.rig.sql(
            "insert into engine.request (partition, run_id, kind) select partition, id, %s from engine.run where id = %s",
            kind,
            run.id,
        )

    def _claimed(self) -> list[Bundle]:
        return [bundle for bundle in self.book.bundles.values() if bundle.token is not None]

    def _busy(self) -> list[Bundle]:
        return [bundle for bundle in self.book.bundles.values() if not bundle.free]

    def _published(self) -> list[Bundle]:
        return [bundle for bundle in self.book.bundles.values() if bundle.free and bundle.id in self.published]

    def _lost_tokens(self) -> list[tuple[int, uuid.UUID, tuple[tuple[int, int], ...], Part]]:
        held = {bundle.token for bundle in self.book.bundles.values()}
        return [each for each in self.tokens if str(each[1]) not in held]

    def _refused(self, attempt: Callable[[], Any], *, answer: Any = NotImplemented) -> None:
        def refused() -> None:
            if answer is NotImplemented:
                with pytest.raises(ClaimLostError):
                    attempt()
            else:
                assert attempt() is answer

        self._unchanged(refused)

    def _unchanged(self, attempt: Callable[[], Any]) -> None:
        before = self._tables()
        attempt()
        equal(self._tables(), before, "what should have changed nothing")

    def _tables(self) -> dict[str, Any]:
        seen = self.rig.look()
        del seen["now"]
        return seen

    def _settle_again(self, ask: Callable[[], Any]) -> None:
        """What is asked for the second time or reported too late has every scope settled again, and changes nothing."""
        before = self._tables()
        self.sound = False
        ask()
        while self.rig.dispatchers[0].fold().again:
            pass
        after = self._tables()
        if [row["mark"] for row in after["tasks"]] == [row["mark"] for row in before["tasks"]]:
            equal(after, before, "settling again")
        self.agree()  # a window may be opened further, for more workers are known by now

    # --- comparing --------------------------------------------------------------------------------------------------

    def agree(self, *, released: bool = False) -> None:
        """The book and the tables say the same."""
        self.sound = False
        seen = self.rig.look()
        equal(seen["parked"], [], "parked")
        self._compare_runs(seen["runs"])
        opened = self._compare_tasks(seen["tasks"])
        self._compare_items(seen["items"])
        self._compare_bundles(seen["bundles"], opened, seen["now"], released=released)
        self._compare_inbox(seen["reports"], seen["requests"])
        self._compare_cover()
        NotingBatch.times.clear()
        self.published = {row["id"] for row in seen["bundles"] if row["published_at"] is not None}
        self.sound = True

    def _compare_runs(self, rows: list[dict[str, Any]]) -> None:
        real = {row["id"]: (row["state"], row["held"], row["cancel_requested_at"] is not None) for row in rows}
        equal(real, {run.id: (run.state, run.held, run.stopped) for run in self.book.runs.values()}, "runs")

    def _compare_tasks(self, rows: list[dict[str, Any]]) -> dict[Part, range]:
        """Which items of maps were opened since."""
        parts = {(run.id, *part.key): part for run in self.book.runs.values() for part in run.parts}
        equal({(row["run_id"], row["task"], row["index_path"]) for row in rows}, set(parts), "tasks")
        opened = {}
        for row in rows:
            part = parts[row["run_id"], row["task"], row["index_path"]]
            self.ids[row["id"]] = part
            self.numbers[part] = row["copied_from"] or row["id"]
            real = [row["state"], row["total"], *(row[name] for name in part.tally), row["attempts"]]
            equal(real, [part.state, part.total, *part.tally.values(), part.tries], part.key)
            if part.feed is not None and not part.step.inner and row["mark"] > part.opened:
                opened[part] = self._open(part, row["mark"])
            equal(row["mark"], part.opened, part.key)
        return opened

    def _open(self, part: Part, mark: int) -> range:
        assert part.state == "running"
        assert part.last or not part.scope.run.stopped
        assert mark <= (part.total or 0)
        opened = range(part.opened, mark)
        part.units |= {index: Unit() for index in opened}
        part.opened = mark
        return opened

    def _compare_items(self, rows: list[dict[str, Any]]) -> None:
        units = {
            self._item(part, index): unit
            for run in self.book.runs.values()
            for part in run.parts
            for index, unit in part.units.items()
        }
        real = {row["id"]: row for row in rows}
        equal(set(real), set(units), "items")
        for key, unit in units.items():
            row = real[key]
            equal((row["state"], row["attempt"]), (unit.state, unit.attempt), key)
            if unit.state == "queued":
                numbers = (row["failures"], row["losses"], row["handbacks"])
                equal(numbers, (unit.failures, unit.losses, unit.handbacks), key)
            rows_of_it = None if unit.rows is None else len(unit.rows)
            equal((row["result"], row["row_count"]), (unit.value, rows_of_it), key)

    def _compare_bundles(
        self, rows: list[dict[str, Any]], opened: dict[Part, range], now: float, *, released: bool
    ) -> None:
        fresh = {(part, index) for part, indices in opened.items() for index in indices}
        for row in rows:
            part = self.ids[row["task_run_id"]]
            entries = tuple(zip([item & MASK for item in row["items"]], row["attempts"], strict=True))
            if row["id"] not in self.book.bundles:
                fresh -= self._adopt(row, part, entries, fresh)
            bundle = self.book.bundles[row["id"]]
            if released and bundle.wait and row["due"] is None:
                assert self.due[bundle.id] <= now
                bundle.wait = 0.0
            real = (row["done"], row["claim"], row["worker"], row["job_name"], row["submitted_at"] is not None)
            equal(real, (bundle.done, bundle.token, bundle.worker, bundle.job, bundle.watched), f"bundle {bundle.id}")
            equal((row["due"] is not None, entries), (bool(bundle.wait), bundle.entries), f"bundle {bundle.id}")
            if bundle.token and bundle.id not in self.overdue:
                equal(row["lease"], self.leases[bundle.id] if part.step.limit else None, f"bundle {bundle.id}")
        equal({row["id"] for row in rows}, set(self.book.bundles), "bundles")
        equal([], [(bundle.part.key, bundle.entries) for bundle in self.book.made], "bundles to be made")
        equal(fresh, set(), "items without a bundle")

    def _adopt(
        self,
        row: dict[str, Any],
        part: Part,
        entries: tuple[tuple[int, int], ...],
        fresh: set[tuple[Part, int]],
    ) -> set[tuple[Part, int]]:
        """A bundle that was not there before: one that was expected, or the next items of a map."""
        for bundle in self.book.made:
            if bundle.part is part and bundle.entries == entries:
                self.book.made.remove(bundle)
                bundle.id = row["id"]
                self.book.bundles[bundle.id] = bundle
                if bundle.wait:
                    self.due[bundle.id] = row["due"]
                    assert any(abs(row["due"] - now - bundle.wait) < 0.001 for now in NotingBatch.times)
                return set()
        covered = {(part, index) for index, _ in entries}
        assert covered <= fresh, f"nobody asked for bundle {entries} of {part.key}"
        assert all(attempt == 1 for _, attempt in entries)
        self.book.bundles[row["id"]] = Bundle(part=part, entries=entries, id=row["id"])
        return covered

    def _compare_inbox(self, reports: list[dict[str, Any]], requests: list[dict[str, Any]]) -> None:
        # Of what one pass reports of several bundles, the order is anybody's: the book takes the one in the table.
        left = list(self.book.inbox)
        ordered = []
        for row in reports:
            found = next((report for report in left if self._same(report, row)), None)
            assert found is not None, f"nobody reported {row}"
            left.remove(found)
            ordered.append(found)
        assert left == []
        self.book.inbox = ordered
        asked = [(row["run_id"], row["kind"]) for row in requests]
        equal(sorted(asked), sorted(self.book.asked), "requests")
        self.book.asked = asked

    def _same(self, report: Report, row: dict[str, Any]) -> bool:
        if row["bundle_id"] != report.bundle or len(row["body"]) != len(report.outcomes):
            return False
        for told, body in zip(report.outcomes, row["body"], strict=True):
            charged = body.get("c", True) if told.says == "lost" else body.get("c", False)
            if (body["i"], body["a"], body["s"]) != (self._item(report.part, told.index), told.attempt, told.says):
                return False
            if told.says in {"lost", "cancelled"} and charged != told.charged:
                return False
        return True

    def _compare_cover(self) -> None:
        """An active item is in one bundle, or in a report that is not folded yet."""
        cover = Counter(
            (bundle.part, index, attempt) for bundle in self.book.bundles.values() for index, attempt in bundle.left
        )
        told = {
            (report.part, outcome.index, outcome.attempt) for report in self.book.inbox for outcome in report.outcomes
        }
        for run in self.book.runs.values():
            for part in run.parts:
                if part.step.inner or part.scope.closed:
                    continue
                for index, unit in part.units.items():
                    if unit.state == "queued":
                        key = (part, index, unit.attempt)
                        equal(cover.pop(key, 0), int(key not in told), f"bundles of item {index} of {part.key}")
                waits = part.state == "running" and part.opened < (part.total or 0)
                assert not waits or any(unit.state == "queued" for unit in part.units.values()), part.key
        assert not cover

    def _check_document(self, bundle: Bundle, document: Any) -> None:
        """What the worker is given to work with."""
        part, real = bundle.part, document["bundle"]
        assert [item & MASK for item in real["items"]] == [index for index, _ in bundle.entries]
        assert (real["attempts"], real["done"]) == ([attempt for _, attempt in bundle.entries], bundle.done)
        assert document["task"]["path"] == part.path
        assert document["task"]["index_path"] == part.scope.place
        equal(document["element"], part.scope.element, part.key)
        if part.feed is not None:
            equal(document["values"], [part.feed(index) for index, _ in bundle.entries], part.key)
            return
        parents = {name: _given(part.scope.parts[name]) for name in part.step.after}
        told = {
            name: (each["state"], each.get("value"), each["results"]["total"] if "results" in each else None)
            for name, each in document["parents"].items()
        }
        equal(told, parents, f"parents of {part.key}")

    # --- to the end -------------------------------------------------------------------------------------------------

    def _drive(self) -> None:
        """Everything ends: what is due is served, what is published is worked off."""
        for worker in sorted({str(bundle.worker) for bundle in self._claimed()}):
            self._kill(worker, 0)
        for _ in range(200):
            self._ripen([bundle.id for bundle in self.book.bundles.values() if bundle.wait])
            self._ring(0)
            self._work_off()
            self._fold_all()
            if all(run.over for run in self.book.runs.values()) and not self.book.bundles:
                break
        else:
            raise AssertionError("something is stuck")
        self._compare_facts()

    def _work_off(self) -> None:
        for key in self.rig.messages():
            bundle = self.book.bundles.get(key)
            if bundle is not None and bundle.free:
                self._claim(bundle, "w1")
                self._finish(bundle, len(bundle.left), 0)
        for bundle in [each for each in self.book.bundles.values() if each.watched]:
            self.end_watch_of(bundle)

    def end_watch_of(self, bundle: Bundle) -> None:
        ((index, attempt),) = bundle.left
        told = Outcome(index=index, attempt=attempt, says="succeeded", value=0)
        assert self.rig.workers.finish_job(bundle.id, str(bundle.job), [self._body(bundle.part, told)])
        self.book.end(bundle, [told])

    def _fold_all(self) -> None:
        while self.book.inbox or self.book.asked:
            self._fold(0)
        self.agree()

    def _compare_facts(self) -> None:
        """Each end of a run, a task, an attempt was told once."""
        twice = self.rig.sql(
            "select min(fact::text) from engine.outbox, jsonb_array_elements(body) fact"
            " where split_part(fact ->> 'type', '.', 2) in ('run', 'task')"
            " group by fact -> 'type', fact -> 'run_id', fact -> 'task', fact -> 'index_path' having count(*) > 1"
        )
        equal(twice, [], "facts told twice")
        ended = self.rig.sql(
            "select f ->> 'run_id' as run, f ->> 'task' as task, f ->> 'index_path' as place, i -> 0 as index,"
            " count(*) as n from engine.outbox, jsonb_array_elements(body) f, jsonb_array_elements(f -> 'items') i"
            " where split_part(f ->> 'type', '.', 2) = 'item'"
            " and split_part(f ->> 'type', '.', 3) in ('succeeded', 'failed', 'cancelled', 'expired')"
            " group by 1, 2, 3, 4"
        )
        told = {(row["run"], row["task"], row["place"], row["index"]): row["n"] for row in ended}
        real = {
            (run.id, part.path, part.scope.place, index): 1
            for run in self.book.runs.values()
            for part in run.parts
            if not part.step.inner and self.ids[self.numbers[part]] is part
            for index, unit in part.units.items()
            if unit.state in FINAL
        }
        equal(told, real, "ends told of items")


def equal(real: Any, told: Any, where: object = "") -> None:
    """Raises AssertionError with what differs."""
    if real != told:
        difference = "; ".join(_differences(real, told, ""))
        raise AssertionError(f"{where}: (the tables, the book) say {difference}")


def _differences(real: Any, told: Any, at: str) -> Iterator[str]:
    if isinstance(real, list) and isinstance(told, list):
        real, told = dict(enumerate(real)), dict(enumerate(told))
    if isinstance(real, dict) and isinstance(told, dict):
        for key in {**real, **told}:
            yield from _differences(real.get(key, NOTHING), told.get(key, NOTHING), f"{at}.{key}")
    elif real != told:
        yield f"{at} ({real}, {told})"


def chosen(pick: int, among: Sequence[T]) -> T:
    return among[pick % len(among)]


def repeatable(report: Report) -> bool:
    """Whether a second one is known by its attempts: what gives an attempt back leaves its number as it is."""
    return all(told.says in {"succeeded", "failed", "timed_out", "ended_transaction"} for told in report.outcomes)


def _given(parent: Part) -> tuple[str, Any, int | None]:
    """What a task is told of its parent: state, value, length of its results."""
    if parent.feed is not None:
        return parent.state, None, parent.total
    unit = parent.only()
    if unit is not None and unit.rows is not None:
        return parent.state, None, len(unit.rows)
    return parent.state, parent.result(), None
