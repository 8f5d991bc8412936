"""The drawing of a run is a pure function of the run object."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

from freshet.cli import drawing

START = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def _at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat()


def _task(state: str, after: list[str], **changes: Any) -> dict[str, Any]:
    items = dict.fromkeys(("succeeded", "failed", "skipped", "cancelled"), 0)
    items |= {"total": 1, **changes.pop("items", {})}
    return {
        "kind": "process",
        "state": state,
        "after": after,
        "items": items,
        "attempts": 0,
        "started_at": None,
        "finished_at": None,
        "error": None,
        **changes,
    }


DIAMOND: dict[str, Any] = {
    "run_id": "0192-run",
    "workflow": "diamond",
    "version": 3,
    "state": "running",
    "started_at": _at(0),
    "finished_at": None,
    "tasks": {
        "merge": _task("pending", ["left", "right"]),
        "assign": _task("succeeded", [], items={"succeeded": 1}, attempts=2, started_at=_at(0), finished_at=_at(0.25)),
        "left": _task("running", ["assign"], items={"total": 4, "succeeded": 2}, attempts=3, started_at=_at(0.3)),
        "right": _task(
            "failed",
            ["assign"],
            items={"failed": 1},
            attempts=1,
            started_at=_at(0.3),
            finished_at=_at(61.3),
            error={"class": "user", "message": "ValueError: no room\nTraceback …"},
        ),
    },
}

EXPECTED = """\
diamond v3  running  1:15 min  0192-run
● assign       succeeded  ━━━━━━━━━━━━━━━━     1/1 1↻     0.2 s
├─ ◐ left      running    ━━━━━━━━────────        2/4  1:14 min  ← assign
└─ ✗ right     failed     ━━━━━━━━━━━━━━━━     1/1 1✗  1:01 min  ← assign
     ValueError: no room
   └─ ○ merge  pending    ────────────────        0/1            ← left, right"""


def test_a_diamond_is_drawn_level_by_level_with_its_edges() -> None:
    assert drawing.text(DIAMOND, START + timedelta(seconds=75)) == EXPECTED


def test_a_task_stands_below_its_deepest_parent() -> None:
    tasks = {
        "d": {"after": ["a", "c"]},
        "c": {"after": ["b"]},
        "b": {"after": ["a"]},
        "a": {"after": []},
        "alone": {"after": []},
    }
    assert drawing.levels(tasks) == [["a", "alone"], ["b"], ["c"], ["d"]]


def test_inner_tasks_stand_below_their_map() -> None:
    tasks = {"docs": {"after": []}, "docs.part": {"after": ["docs.split"]}, "docs.split": {"after": []}}
    assert drawing.levels(tasks) == [["docs"], ["docs.split"], ["docs.part"]]


def test_an_empty_map_that_succeeded_is_full_and_a_pending_one_empty() -> None:
    run = copy.deepcopy(DIAMOND)
    run["tasks"] = {
        "done": _task("succeeded", [], items={"total": 0}),
        "open": _task("pending", [], items={"total": 0}),
    }
    bars = [row.bar for row in drawing.rows(run, START)]
    assert bars == ["━" * drawing.BAR, "─" * drawing.BAR]


def test_plain_lines_tell_only_what_changed() -> None:
    before, after = copy.deepcopy(DIAMOND), copy.deepcopy(DIAMOND)
    assert drawing.changes(before, after) == []
    after["tasks"]["merge"]["state"] = "skipped"
    after["state"] = "failed"
    assert drawing.changes(before, after) == ["diamond  merge  skipped  0/1", "diamond  failed  0192-run"]


def test_the_first_look_tells_all_that_has_begun() -> None:
    assert drawing.changes(None, DIAMOND) == [
        "diamond  assign  succeeded  1/1 1↻",
        "diamond  left  running  2/4",
        "diamond  right  failed  1/1 1✗: ValueError: no room",
        "diamond  running  0192-run",
    ]


def test_rich_draws_the_same_rows() -> None:
    from rich.console import Console

    from freshet.cli.live import drawn

    console = Console(width=120, force_terminal=False)
    with console.capture() as capture:
        console.print(drawn([DIAMOND], START))
    text = capture.get()
    for expected in ("diamond v3", "├─ ◐ left", "└─ ✗ right", "   └─ ○ merge", "← left, right", "ValueError: no room"):
        assert expected in text


def test_what_a_run_cost_stands_in_its_headline_and_nothing_does_if_that_is_unknown() -> None:
    assert "  ≈ 0.1045 credits  " in drawing.headline({**DIAMOND, "estimated_credits": 0.1045}, START)
    assert "  ≈ 0.000002 credits  " in drawing.headline({**DIAMOND, "estimated_credits": 0.000002}, START)
    for unknown in ({}, {"estimated_credits": None}, {"estimated_credits": 0.0}):
        assert "credits" not in drawing.headline({**DIAMOND, **unknown}, START)
