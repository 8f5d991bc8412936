"""What the recorder relies on of its store, said of the real one and of its twin."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
import pytest
from tests.recording.facts import END, FACT, START, Run, failure, worker
from tests.recording.test_once import bad
from tests.twins.desks import TABLES, Desk, RealDesk, TwinDesk

from freshet.storage.database import Database
from freshet.storage.record import Recorded


def real_desk(url: str) -> Iterator[RealDesk]:
    database = Database(url, name="test")
    yield RealDesk(database)
    database.close()


@pytest.fixture(params=["twin", "real"])
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    if request.param == "twin":
        yield TwinDesk()
    else:
        yield from real_desk(request.getfixturevalue("database"))


def of(desk: Desk, table: str, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in desk.logged(table)]


def test_a_fact_is_recorded_once(desk: Desk) -> None:
    entry = desk.commit(Run().item("a", "succeeded"))
    assert (desk.recording.record([entry, entry]).entries, desk.waiting()) == (1, [])
    assert desk.recording.record([entry]) == Recorded()
    assert len(desk.logged("attempt")) == len(desk.logged("event")) == 1
    assert desk.recording.record([]) == Recorded()


def test_what_nobody_announced_is_left_until_it_is_old_enough(desk: Desk) -> None:
    old, young, older = desk.commit({}, age_s=10), desk.commit({}), desk.commit({}, age_s=20)
    assert desk.recording.left(older_than_s=5, limit=10) == [old, older]
    assert desk.recording.left(older_than_s=0, limit=2) == [old, young]


def test_a_sweep_records_what_was_left(desk: Desk) -> None:
    entries = [desk.commit(Run().item("a", "succeeded"), age_s=10) for _ in range(3)]
    assert desk.recording.sweep(older_than_s=5, limit=2).entries == 2
    assert desk.waiting() == entries[2:]


@pytest.mark.parametrize(
    ("state", "more", "logged"),
    [
        ("running", {}, []),
        ("waiting", {}, []),
        ("queued", {}, []),
        ("retrying", {}, [("failed", False)]),
        ("succeeded", {}, [("succeeded", True)]),
        ("expired", {}, [("expired", True)]),
        ("cancelled", {}, [("cancelled", True)]),
        ("cancelled", {"worker": None, "claimed_at": None}, [("cancelled", True)]),
        ("cancelled", {"worker": None, "claimed_at": None, "seconds": None}, []),
        ("skipped", {"worker": None, "claimed_at": None, "seconds": None}, []),
    ],
)
def test_an_attempt_that_ended_is_one_row(desk: Desk, state: str, more: FACT, logged: list[Any]) -> None:
    desk.recording.record([desk.commit(Run().item("a", state, **more))])
    assert of(desk, "attempt", "state", "final") == logged


def test_a_runs_row_never_goes_back(desk: Desk) -> None:
    run = Run()
    final = desk.commit(run.fact("failed", at=END, error=failure("no")))
    running, pending = desk.commit(run.fact("running")), desk.commit(run.fact("pending"))
    for entry in (pending, running, final, desk.commit(run.fact("running")), desk.commit(run.fact("succeeded"))):
        desk.recording.record([entry])
    assert of(desk, "run", "state", "finished_at", "error") == [("failed", datetime.fromisoformat(END), "no")]


def test_of_one_batch_the_furthest_fact_of_a_run_counts(desk: Desk) -> None:
    one, two = Run(id=UUID(int=1)), Run(id=UUID(int=2))
    desk.recording.record(
        [
            desk.commit(one.fact("succeeded", at=END), one.fact("running"), two.fact("running"), two.fact("pending")),
            desk.commit(one.fact("pending")),
        ]
    )
    assert of(desk, "run", "state") == [("succeeded",), ("running",)]


CULPRITS = {
    "word": bad(at="yesterday-ish"),
    "year-294277": bad(at="294277-01-01T00:00:00Z"),
    "long-task": bad(task="t" * 1025),
    "no-task": bad(task=None),
    "no-workflow": bad(workflow=None),
    "run-id": bad(run_id="not-a-uuid"),
    "no-run": bad(run_id=None),
    "no-items": bad(items=None),
    "mapped": bad(mapped="perhaps"),
    "queued-at": Run().item("a", "waiting", queued_at="zzz"),
    "items": bad(items={"0": 1}),
    "index": bad(items=[["x", 1, None, None]]),
    "large-index": bad(items=[[0, 1, 1.0, None], [99999999999, 1, None, None]]),
    "no-attempt": bad(items=[[0, None, 1.0, None]]),
    "seconds": bad(items=[[0, 1, "long", None]]),
    "claimed-at": bad(claimed_at="zzz"),
    "state": {"type": "freshet.run.melted.v1", "at": "2026-11-22T10:00:00Z", "workflow": "w"},
    "nobody": worker("w" * 513, "available", busy_s=1, idle_s=1),
    "empty": {},
}


@pytest.mark.parametrize("culprit", CULPRITS.values(), ids=CULPRITS)
def test_one_bad_row_is_parked_and_all_else_is_recorded(desk: Desk, culprit: FACT) -> None:
    run = Run()
    entries = [desk.commit(run.item(f"t{k}", "succeeded")) for k in range(5)]
    in_between = desk.commit(run.item("with it", "succeeded"), culprit)
    recorded = desk.recording.record([*entries[:3], in_between, *entries[3:]])
    assert (recorded.entries, recorded.facts, recorded.parked) == (5, 5, 1)
    assert len(desk.logged("attempt")) == 5
    assert (desk.waiting(), desk.parked()) == ([], [("outbox", None)])


class Story:
    """Facts of some runs by chance, also such as nobody would write."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._runs = [Run(id=self._uuid(), root_task_name=name, workflow="w") for name in (None, "root_task", None)]
        self._ats = [START, END, "2026-11-22T10:01:00+00:00", "2026-11-22T12:00:00.25+02:00"]
        self._errors = [None, failure("no"), {"class": "x"}, {"message": None}, "text", {"message": "m", "n": [1, 2.5]}]

    def fact(self) -> FACT:
        make = self._random.choice([self._run, self._task, self._items, self._items, self._worker])
        fact = make(self._random.choice(self._runs))
        for name in self._random.sample(sorted(fact), self._random.choice([0, 0, 0, 0, 1])):
            fact[name] = self._random.choice(["zzz", 7, END] if name == "at" else [None, "zzz", 7, END])
        return fact

    def batches(self) -> Iterator[list[list[FACT]]]:
        for _ in range(12):
            yield [[self.fact() for _ in range(self._random.randint(1, 3))] for _ in range(self._random.randint(1, 5))]

    def _uuid(self) -> UUID:
        return UUID(int=self._random.getrandbits(128))

    def _run(self, run: Run) -> FACT:
        states = ["pending", "running", "succeeded", "failed", "skipped", "cancelled"]
        return run.fact(self._random.choice(states), at=self._at(), error=self._error())

    def _task(self, run: Run) -> FACT:
        states = ["running", "succeeded", "failed", "skipped", "cancelled"]
        return run.task(
            f"t{self._random.random()}", self._random.choice(states), at=self._at(), error=self._error(),
            result=self._random.choice([None, 3, "r", [1], {"b": 1, "aa": 2}]), index_path=self._path(),
        )  # fmt: skip

    def _items(self, run: Run) -> FACT:
        states = [
            "running", "waiting", "retrying", "queued", "succeeded", "failed", "skipped", "cancelled", "expired",
        ]  # fmt: skip
        entries = [
            [k, 1 + k, self._random.choice([None, 0.5]), self._error()] for k in range(self._random.randint(1, 4))
        ]
        return run.items(
            f"t{self._random.random()}", self._random.choice(states), entries, at=self._at(), claim=str(self._uuid()),
            claimed_at=self._random.choice([None, START]), worker=self._random.choice([None, "w1"]),
            mapped=self._random.random() < 0.5, index_path=self._path(), queued_at=self._random.choice([None, START]),
        )  # fmt: skip

    def _worker(self, _run: Run) -> FACT:
        return worker(f"w{self._random.random()}", "busy", busy_s=self._random.random(), idle_s=0.25, at=self._at())

    def _at(self) -> str:
        return self._random.choice(self._ats)

    def _error(self) -> Any:
        return self._random.choice(self._errors)

    def _path(self) -> str:
        return self._random.choice(["", "3", "3.17"])


def comparable(rows: list[FACT]) -> list[str]:
    """In an order of their own, with times as texts."""
    return sorted(str({name: _text(each) for name, each in row.items()}) for row in rows)


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


@pytest.mark.parametrize("seed", range(12))
def test_any_facts_become_the_same_rows(database: str, seed: int) -> None:
    twin = TwinDesk()
    for real in real_desk(database):
        for batch in Story(seed).batches():
            recorded = []
            for desk in (twin, real):
                told = desk.recording.record([desk.commit(*facts) for facts in batch])
                recorded.append((told.entries, told.facts, told.items, told.parked))
            assert recorded[0] == recorded[1], batch
        assert twin.parked() == real.parked() != []
        for table in TABLES:
            assert comparable(twin.logged(table)) == comparable(real.logged(table)) != [], table
