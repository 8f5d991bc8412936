"""What the rules are made of: each thing is done to the engine, noted in the book, and compared.

Never: a choice (the rules of `machine.py` choose).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pytest
from tests.model.comparison import Comparison, equal
from tests.model.entries import FINAL, Bundle, Outcome, Part, Run
from tests.model.rig import WORKERS

from freshet.domain.errors import ClaimLostError

T = TypeVar("T")

#: How a try ends; failures often enough to use up the retries.
ENDINGS = ("succeeded", "failed", "succeeded", "failed", "timed_out", "ended_transaction")
VALUES: tuple[Any, ...] = ([1, 2, 3], 2, [], "text", None, [[7], 1], 0, {"k": 1}, [5])
#: Looks after which a dead worker must have been found, grace after a flush included.
LOOKS = 20


class SideBySide(Comparison):
    """Steps of both."""

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

    def _overrun(self, bundle: Bundle, which: int) -> None:
        self.rig.sql(
            "update engine.bundle set expires_at = clock_timestamp() - interval '1 s' where id = %s", bundle.id
        )
        self.overdue.add(bundle.id)
        self._ring(which)
        assert bundle.id not in self.book.bundles

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
        if not count:
            return
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

    def _queue(self, bundle: Bundle) -> str:
        return "job_service" if bundle.part.step.job else "p@1.0.0"

    def _ripen(self, keys: Sequence[int]) -> None:
        self.rig.sql("update engine.bundle set due_at = 'epoch' where id = any (%s)", list(keys))
        self.due |= dict.fromkeys(keys, 0.0)

    def _request(self, run: Run, kind: str) -> None:
        self.rig.sql(
            "insert into engine.request (partition, run_id, kind)"
            " select partition, id, %s from engine.run where id = %s",
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

    def _refused(self, *attempts: Callable[[], Any]) -> None:
        """Each attempt is refused, and none has changed anything."""

        def refused() -> None:
            for attempt in attempts:
                with pytest.raises(ClaimLostError):
                    attempt()

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
            self._end_watch(bundle)

    def _end_watch(self, bundle: Bundle) -> None:
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


def chosen(pick: int, among: Sequence[T]) -> T:
    return among[pick % len(among)]
