"""Processes end to end: a real child, Postgres and Redis."""

from typing import Any


def states(outcomes: list[dict[str, Any]]) -> list[str]:
    return [outcome["s"] for outcome in outcomes]


def test_a_bundle_is_worked_through_in_order(work, serve, rows) -> None:
    values = [None, 1, "ä", {"a": [1.5, True]}, 2**63]
    bundle = work("echo", values)
    outcomes = serve(bundle)
    assert [outcome["r"] for outcome in outcomes] == values
    assert states(outcomes) == ["succeeded"] * 5
    assert not rows.exists(bundle)


def test_what_is_written_is_committed_with_its_report(work, serve, rows) -> None:
    outcomes = serve(work("odd", range(7)))
    assert states(outcomes) == ["succeeded"] * 7
    assert [outcome["r"] for outcome in outcomes] == list(range(7))
    assert sorted(row["value"] for row in rows.sql("select value from effect")) == ["1", "3", "5"]


def test_yields_become_rows(work, serve, rows) -> None:
    first, second, nothing = serve(work("yield", [3, 2500, 0]))
    assert (first["n"], second["n"], nothing["n"]) == (3, 2500, 0)
    assert "r" not in first
    assert rows.sql("select value from engine.value where source = %s order by idx", first["i"]) == [
        {"value": {"n": 0}},
        {"value": {"n": 1}},
        {"value": {"n": 2}},
    ]
    assert rows.one("select count(*) from engine.value where source = %s", second["i"]) == 2500
