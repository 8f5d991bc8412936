"""What only a twin has: the way in and out of a verb, and what it leaves when a process ends there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from tests.twins.backing import TwinBacking, outcomes, turn
from tests.twins.setting import ALL, claim, items_of, new_run, open_task, put, queue_items, run_change, succeed, take

from freshet.domain.errors import UnreachableError
from freshet.testing.twins.engine_store import EngineStoreTwin, PartitionLocksTwin
from freshet.testing.twins.process_session import ProcessSessionTwin
from freshet.testing.twins.tables import Tables
from freshet.testing.twins.worker_store import WorkerStoreTwin


class Killed(BaseException):
    """The process is gone."""


class Gate:
    """A passage that notes who passes, and does something once at one place."""

    def __init__(self, at: str = "", act: Callable[[], object] = lambda: None) -> None:
        self.passed: list[str] = []
        self._at = at
        self._act = act

    def enter(self, verb: str) -> None:
        self._pass(f"+{verb}")

    def leave(self, verb: str) -> None:
        self._pass(f"-{verb}")

    def block(self, verb: str, seconds: float, ready: Callable[[], bool]) -> bool:
        return ready()

    def _pass(self, place: str) -> None:
        self.passed.append(place)
        if place == self._at:
            self._at = ""
            self._act()


@pytest.fixture
def backing() -> TwinBacking:
    return TwinBacking()


@pytest.fixture
def tables(backing: TwinBacking) -> Tables:
    return backing.tables()


def refuse() -> None:
    raise UnreachableError


def kill() -> None:
    raise Killed


def test_a_server_that_is_away_before_a_verb_has_done_nothing(backing: TwinBacking, tables: Tables) -> None:
    bundle = queue_items(backing, open_task(backing), 1)
    before = tables.dump()
    with pytest.raises(UnreachableError):
        WorkerStoreTwin(tables, Gate("+claim", refuse)).claim(bundle, "w1", uuid4())
    assert tables.dump() == before


def test_an_answer_that_is_lost_was_given(backing: TwinBacking, tables: Tables) -> None:
    bundle, token = queue_items(backing, open_task(backing), 1), uuid4()
    workers = WorkerStoreTwin(tables, Gate("-claim", refuse))
    with pytest.raises(UnreachableError):
        workers.claim(bundle, "w1", token)
    assert tables.bundles[bundle].claim == token
    assert workers.claim(bundle, "w1", token) is not None


def test_others_run_while_a_batch_holds_its_locks_and_skip_what_it_holds(backing: TwinBacking, tables: Tables) -> None:
    node = open_task(backing, width=2)
    claimed = claim(backing, queue_items(backing, node, 2))
    backing.workers.finish(claimed.bundle, claimed.claim, outcomes(items_of(claimed)[:1]))

    def meanwhile() -> None:
        backing.workers.finish(claimed.bundle, claimed.claim, outcomes(items_of(claimed)[1:]))
        other = new_run(backing)
        with backing.store.batch() as batch:
            assert [run.id for run in take(batch).runs] == [str(other.run_id)]

    gate = Gate("+batch.locked", meanwhile)
    with EngineStoreTwin(tables, gate).batch() as batch:
        assert [run.id for run in take(batch).runs] == [node.run_id]
    assert gate.passed == ["+batch", "+batch.locked", "-batch"]
    # What came meanwhile is for the next batch.
    assert tables.task_runs[node.id].succeeded == 1
    assert len(tables.reports) == 1


def test_a_batch_that_dies_takes_back_its_own_writes_and_nobody_else_s(backing: TwinBacking, tables: Tables) -> None:
    node = open_task(backing)
    succeed(backing, claim(backing, queue_items(backing, node, 1)))
    store = EngineStoreTwin(tables, Gate("+batch.locked", lambda: assert_created(backing)))

    def fold_and_die() -> None:
        with store.batch() as batch:
            taken = take(batch)
            batch.put({"runs": [run_change(node.run_id, turn=9)]}, now=taken.now)
            kill()

    with pytest.raises(Killed):
        fold_and_die()
    assert (tables.runs[node.run_id].turn, tables.task_runs[node.id].succeeded) == (0, 0)
    assert (len(tables.runs), len(tables.reports), len(tables.requests)) == (2, 1, 1)
    assert not tables.run_locks
    assert not tables.sessions
    assert not tables.in_transaction


def assert_created(backing: TwinBacking) -> None:
    assert new_run(backing).created


def test_a_process_that_ends_inside_a_batch_frees_its_runs(backing: TwinBacking, tables: Tables) -> None:
    new_run(backing)
    store = EngineStoreTwin(tables, Gate("+batch.locked", kill))
    with pytest.raises(Killed), store.batch() as batch:
        take(batch)
    with backing.store.batch() as batch:
        assert len(take(batch).runs) == 1


def test_a_batch_whose_session_was_ended_commits_nothing(backing: TwinBacking, tables: Tables) -> None:
    run = str(new_run(backing).run_id)
    frozen = EngineStoreTwin(tables, Gate("+batch.locked", lambda: tables.end_session("frozen")), owner="frozen")
    with pytest.raises(UnreachableError), frozen.batch() as batch:
        take(batch)

    def decide_too_late() -> None:
        with EngineStoreTwin(tables, owner="late").batch() as batch:
            taken = take(batch)
            batch.put({"runs": [run_change(run, turn=9)]}, now=taken.now)
            tables.end_session("late")

    with pytest.raises(UnreachableError):
        decide_too_late()
    assert tables.runs[run].turn == 0
    assert len(tables.requests) == 1


def test_a_held_run_under_another_batch_s_lock_is_not_released(backing: TwinBacking, tables: Tables) -> None:
    going, held = new_run(backing).run_id, new_run(backing, held=True).run_id
    with backing.store.batch() as batch:
        take(batch)
    backing.requests.cancel(held)
    gate = Gate("+batch.locked", lambda: put(backing, runs=[run_change(going, state="succeeded")]))
    with EngineStoreTwin(tables, gate).batch() as batch:
        take(batch)
    assert tables.runs[str(held)].held
    assert [asked.run_id for asked in backing.requests.release_held()] == [held]


def test_a_dead_process_leaves_no_lock(backing: TwinBacking, tables: Tables) -> None:
    locks = PartitionLocksTwin(tables, owner="d1")
    locks.take(ALL, wanted=16)
    witness = WorkerStoreTwin(tables, owner="w1").witness(7)
    assert witness.take()
    tables.end_session("d1")
    tables.end_session("w1")
    assert witness.ended()
    with pytest.raises(UnreachableError):
        witness.holds()
    assert PartitionLocksTwin(tables, owner="d2").take(ALL, wanted=16) == set(ALL)
    locks.check()
    assert locks.held == set()


def test_partitions_are_given_up_by_a_session_that_loses_its_server(tables: Tables) -> None:
    locks = PartitionLocksTwin(tables, Gate("-locks.release", refuse), owner="d1")
    locks.take(ALL, wanted=16)
    with pytest.raises(UnreachableError):
        locks.release([1])
    assert PartitionLocksTwin(tables, owner="d2").take(ALL, wanted=16) == set(ALL)


def test_a_child_s_transaction_dies_with_it(backing: TwinBacking, tables: Tables) -> None:
    claimed = claim(backing, queue_items(backing, open_task(backing), 1))
    session = ProcessSessionTwin(tables, owner="child")
    session.open_turn(turn(claimed.bundle, claimed.claim))
    session.connection.execute("an effect")
    tables.end_sessions()
    assert session.lost
    with pytest.raises(UnreachableError):
        session.finish(b"[]")
    assert not tables.effects
    assert not session.begun


@pytest.mark.parametrize(("place", "committed"), [("+session.finish", False), ("-session.finish", True)])
def test_a_commit_whose_answer_is_lost_may_have_happened(
    backing: TwinBacking, tables: Tables, place: str, committed: bool
) -> None:
    claimed = claim(backing, queue_items(backing, open_task(backing), 1))
    ((item, attempt),) = items_of(claimed)
    session = ProcessSessionTwin(tables, Gate(place, refuse))
    session.open_turn(turn(claimed.bundle, claimed.claim))
    session.connection.execute("an effect")
    with pytest.raises(UnreachableError):
        session.finish(b'[{"i": %d, "a": %d, "s": "succeeded"}]' % (item, attempt))
    assert bool(tables.effects) is committed
    assert bool(tables.reports) is committed


def test_the_same_history_gives_the_same_picture_whatever_its_ids(tables: Tables) -> None:
    def history(backing: TwinBacking, burnt: int) -> object:
        for _ in range(burnt):
            backing.tables().next_id("task_run")
            backing.tables().next_id("bundle")
        run = UUID(int=uuid4().int)
        node = open_task(backing, id=run, width=[1, 2])
        claimed = claim(backing, queue_items(backing, node, 2))
        backing.workers.finish(claimed.bundle, claimed.claim, outcomes(items_of(claimed)[:1], r={"x": 1}))
        return backing.tables().dump()

    first, second = history(TwinBacking(), 0), history(TwinBacking(), 5)
    assert strip_partitions(first) == strip_partitions(second)


def strip_partitions(picture: object) -> object:
    """The last digit of a random run id names its partition."""
    if isinstance(picture, dict):
        return {name: strip_partitions(value) for name, value in picture.items() if name != "partition"}
    return [strip_partitions(each) for each in picture] if isinstance(picture, list) else picture


def test_the_clock_is_the_one_that_was_given() -> None:
    moment = datetime(2030, 5, 6, tzinfo=UTC)
    assert Tables(lambda: moment).clock() == moment
