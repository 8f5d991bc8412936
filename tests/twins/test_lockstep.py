"""One random history on Postgres and on its twin at once: they answer the same, and hold the same after every step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any
from uuid import UUID

import pytest
from tests.twins.backing import RealBacking, TwinBacking
from tests.twins.reading import differences
from tests.twins.script import DOCUMENTS, Script
from tests.twins.side import Side

from freshet.engine.pace import Pace
from freshet.testing.twins import decision, ending, fence, inbox, values
from freshet.testing.twins.tables import Tables

SCRIPTS = 20
STEPS = 40


def charge_for_every_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = ending._lost
    monkeypatch.setattr(ending, "_lost", lambda bundle, k: lost(bundle, k) | {"c": True})


def count_a_late_success(monkeypatch: pytest.MonkeyPatch) -> None:
    count = inbox._count
    monkeypatch.setattr(inbox, "_count", lambda tables, moved: count(tables, [*moved, *moved[:1]]))


def accept_any_outcomes(monkeypatch: pytest.MonkeyPatch) -> None:
    def finish(tables: Tables, key: int, token: UUID, outcomes: Sequence[Any]) -> bool:
        bundle = tables.bundles.get(key)
        if bundle is not None and len(outcomes) > bundle.left:
            outcomes = outcomes[: bundle.left]
        return honest(tables, key, token, outcomes)

    honest = fence.finish
    monkeypatch.setattr(fence, "finish", finish)


def forget_the_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = decision._bundle
    monkeypatch.setattr(decision, "_bundle", lambda tables, row, **more: bundle(tables, {**row, "turn": 0}, **more))


def keep_what_was_yielded_to_oneself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "rows_of", lambda tables, source: None)


BREAKS = (
    charge_for_every_loss,
    count_a_late_success,
    accept_any_outcomes,
    forget_the_turn,
    keep_what_was_yielded_to_oneself,
)


@pytest.fixture
def real(database: str) -> Iterator[RealBacking]:
    backing = RealBacking(database)
    yield backing
    backing.close()


@pytest.mark.parametrize("seed", range(SCRIPTS))
def test_the_twin_keeps_step_with_postgres(real: RealBacking, seed: int) -> None:
    run_script(real, seed, STEPS)


@pytest.mark.parametrize("seed", range(SCRIPTS, 2 * SCRIPTS))
def test_what_is_decided_on_a_part_of_a_scope_is_what_is_decided_on_all_of_it(
    real: RealBacking, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Who sees more tasks sees more measured ones, and so opens a window a little earlier: that is no decision.
    monkeypatch.setattr(Pace, "mean", lambda *_: (0.002, 1))
    real.see_in_part()
    run_script(real, seed, STEPS)


@pytest.mark.parametrize("broken", BREAKS, ids=lambda broken: broken.__name__)
def test_a_twin_that_strays_is_seen(
    real: RealBacking, monkeypatch: pytest.MonkeyPatch, broken: Callable[[pytest.MonkeyPatch], None]
) -> None:
    broken(monkeypatch)
    for seed in range(SCRIPTS):
        real.empty()
        try:
            run_script(real, seed, STEPS)
        except AssertionError:
            return
    pytest.fail("No script has seen it.")


def run_script(real: RealBacking, seed: int, steps: int) -> list[str]:
    twin_side, real_side = Side(TwinBacking(), DOCUMENTS, seed), Side(real, DOCUMENTS, seed)
    script, history = Script(seed, twin_side), []
    with closing(real_side):
        for _ in range(steps):
            name, step = script.draw()
            history.append(name)
            real.hold()
            expected, answered = step(real_side), step(twin_side)
            found = differences(answered, expected, "answer") or differences(twin_side.picture(), real_side.picture())
            assert not found, history
        assert not differences(twin_side.reads(), real_side.reads()), history
    return history
