"""Outcomes are reported in order, each once, whatever gets lost on the way."""

from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshet.domain.errors import ClaimLostError, UnreachableError
from freshet.execution.channel import Sent
from freshet.execution.ledger import Ledger
from freshet.storage.database import DataError


class Store:
    """The fence, in memory: a prefix rule, and answers that get lost before or after the commit."""

    def __init__(self, total: int, faults: list[str]) -> None:
        self.total, self.faults = total, faults
        self.reported: list[dict[str, Any]] = []
        self.released = False

    def finish(self, _bundle: int, _claim: UUID, outcomes: list[orjson.Fragment]) -> bool:
        fault = self.faults.pop() if self.faults else "none"
        if fault == "before":
            raise UnreachableError
        found = orjson.loads(orjson.dumps(outcomes))
        if self.released or found[0]["i"] != len(self.reported) or len(self.reported) >= self.total:
            raise ClaimLostError
        if any(outcome.get("r") == "poison" for outcome in found):
            raise DataError("no such text")
        self.reported += found
        if fault == "after":
            raise UnreachableError
        return len(self.reported) == self.total

    def progress(self, _bundle: int, _claim: UUID) -> int | None:
        over = self.released or len(self.reported) == self.total
        return None if over else len(self.reported)


def sent(position: int, result: object = None, *, committed: bool = False) -> Sent:
    return Sent(position, committed, orjson.dumps({"i": position, "s": "succeeded", "r": result}))


@given(
    st.lists(st.sampled_from(["own", "child", "child, answer lost"]), min_size=1, max_size=12),
    st.lists(st.sampled_from(["none", "before", "after"]), max_size=12),
    st.data(),
)
def test_each_outcome_is_reported_once_and_in_order(ways: list[str], faults: list[str], data: st.DataObject) -> None:
    store = Store(len(ways), faults)
    ledger = Ledger(store, bundle=1, claim=uuid4(), total=len(ways))
    over = False
    for position, way in enumerate(ways):
        if way != "own":
            over = over or flushed(ledger)  # a child commits only after what came before
            store.reported.append({"i": position, "by": "child"})
        ledger.add(sent(position, committed=way == "child"))
        if data.draw(st.booleans()):
            over = over or flushed(ledger)
    over = over or flushed(ledger)
    assert [outcome["i"] for outcome in store.reported] == list(range(len(ways)))


def flushed(ledger: Ledger) -> bool:
    """Flush until it works; True once the bundle has ended without us."""
    while True:
        try:
            ledger.flush()
        except UnreachableError:
            continue
        except ClaimLostError:
            return True
        return False


def test_a_lost_claim_reports_nothing() -> None:
    store = Store(3, [])
    ledger = Ledger(store, bundle=1, claim=uuid4(), total=3)
    ledger.add(sent(0))
    store.released = True
    with pytest.raises(ClaimLostError):
        ledger.flush()
    assert store.reported == []
    assert not ledger.holds()


def test_a_result_that_postgres_refuses_fails_its_item_alone() -> None:
    store = Store(3, [])
    ledger = Ledger(store, bundle=1, claim=uuid4(), total=3)
    for position, result in enumerate([1, "poison", 3]):
        ledger.add(sent(position, result))
    ledger.flush()
    assert [outcome["s"] for outcome in store.reported] == ["succeeded", "failed", "succeeded"]
    assert store.reported[1]["e"]["message"] == "Postgres can't keep the result: no such text"
    assert (ledger.pending, ledger.size) == ([], 0)
