"""The drawing of a run: pure text from a run object.

Purpose: the same rows for the live view, for `show` and for tests. Guarantees: tasks stand in levels by
depth, each with its state, counters, a bar, its time and the names of its parents; no clock, no terminal in
here. Never: more than a row per task, however wide its map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Run = Mapping[str, Any]

BAR = 16  # cells
FINAL = frozenset({"succeeded", "failed", "skipped", "cancelled"})
MARKS = {"pending": "○", "running": "◐", "succeeded": "●", "failed": "✗", "skipped": "–", "cancelled": "◌"}
STYLES = {"pending": "dim", "running": "cyan", "succeeded": "green", "failed": "red", "skipped": "yellow"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One task of a drawing."""

    name: str
    rail: str  # the lines that lead to it from its parents' level
    state: str
    bar: str
    counters: str  # "3/10", with failures and further tries
    elapsed: str
    parents: str
    error: str | None
    note: str | None = None  # what it waits for

    @property
    def mark(self) -> str:
        """The sign of its state."""
        return MARKS.get(self.state, "?")


def levels(tasks: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Task paths by depth: a task stands one below its deepest parent, inner tasks one below their map."""
    depths: dict[str, int] = {}

    def depth(name: str, seen: frozenset[str]) -> int:
        if name not in depths:
            above = [each for each in _above(name, tasks) if each in tasks and each not in seen]
            depths[name] = 1 + max((depth(each, seen | {name}) for each in above), default=-1)
        return depths[name]

    for name in tasks:
        depth(name, frozenset({name}))
    return [[name for name in tasks if depths[name] == level] for level in range(max(depths.values(), default=-1) + 1)]


def rows(run: Run, now: datetime) -> list[Row]:
    """The rows of a run's drawing, level by level; `now` (UTC) is the end of what still runs."""
    tasks = run["tasks"]
    found = []
    for level, names in enumerate(levels(tasks)):
        for place, name in enumerate(names):
            rail = _rail(level, last=place == len(names) - 1)
            found.append(_row(name, tasks[name], rail, now))
    return found


def headline(run: Run, now: datetime) -> str:
    """`score-documents v3  running  3.2 s  ≈ 0.012 credits  0192…`."""
    parts = [f"{run['workflow']} v{run['version']}", run["state"], _elapsed(run, now), _credits(run), run["run_id"]]
    return "  ".join(part for part in parts if part)


def text(run: Run, now: datetime) -> str:
    """The whole drawing as plain text, for a terminal that can't be redrawn."""
    drawn = rows(run, now)
    width = max((len(row.rail) + len(row.name) for row in drawn), default=0)
    lines = [headline(run, now)]
    for row in drawn:
        label = f"{row.rail}{row.mark} {row.name}"
        line = f"{label:<{width + 2}}  {row.state:<9}  {row.bar}  {row.counters:>9}  {row.elapsed:>8}  {row.parents}"
        lines.append(line.rstrip())
        lines += [f"{' ' * len(row.rail)}  {said}" for said in (row.error, row.note) if said]
    return "\n".join(lines)


def changes(before: Run | None, after: Run) -> list[str]:
    """A line for each task (and the run) that is in another state than before."""
    name = after["workflow"]
    lines = []
    for path, task in after["tasks"].items():
        earlier = before["tasks"].get(path, {}).get("state", "pending") if before else "pending"
        if task["state"] != earlier:
            error = f": {_sentence(task['error'])}" if task.get("error") else ""
            lines.append(f"{name}  {path}  {task['state']}  {_counters(task)}{error}")
    if before is None or before["state"] != after["state"]:
        lines.append(f"{name}  {after['state']}  {after['run_id']}")
    return lines


def _above(name: str, tasks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    outer = name.rpartition(".")[0]
    return [*(tasks[name].get("after") or ()), *([outer] if outer else [])]


def _rail(level: int, *, last: bool) -> str:
    return "" if level == 0 else "   " * (level - 1) + ("└─ " if last else "├─ ")


def _row(name: str, task: Mapping[str, Any], rail: str, now: datetime) -> Row:
    return Row(
        name=name,
        rail=rail,
        state=task["state"],
        bar=_bar(task),
        counters=_counters(task),
        elapsed=_elapsed(task, now),
        parents="← " + ", ".join(task["after"]) if task.get("after") else "",
        error=_sentence(task["error"]) if task.get("error") else None,
        note=_sentence(task["note"]) if task.get("note") else None,
    )


def _bar(task: Mapping[str, Any]) -> str:
    items = task["items"]
    done = _done(items)
    share = done / items["total"] if items["total"] else float(task["state"] in FINAL)
    cells = int(share * BAR)
    return "━" * cells + "─" * (BAR - cells)


def _done(items: Mapping[str, int]) -> int:
    return sum(items[name] for name in ("succeeded", "failed", "skipped", "cancelled"))


def _counters(task: Mapping[str, Any]) -> str:
    """`3/10`, then what failed and the tries beyond one per item."""
    items = task["items"]
    again = task["attempts"] - items["succeeded"] - items["failed"]
    failed = f" {items['failed']}✗" if items["failed"] else ""
    return f"{_done(items)}/{items['total']}{failed}" + (f" {again}↻" if again > 0 and task["state"] in FINAL else "")


def _elapsed(timed: Mapping[str, Any], now: datetime) -> str:
    if not timed.get("started_at"):
        return ""
    end = datetime.fromisoformat(timed["finished_at"]) if timed.get("finished_at") else now
    seconds = max(0.0, (end - datetime.fromisoformat(timed["started_at"])).total_seconds())
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)}:{int(seconds % 60):02} min"


def _credits(priced: Mapping[str, Any]) -> str:
    """What its job services have cost, as far as that is known."""
    estimate = priced.get("estimated_credits")
    return f"≈ {estimate:.6f}".rstrip("0").rstrip(".") + " credits" if estimate else ""


def _sentence(error: object) -> str:
    """The first line of an error, whatever its form."""
    found = error.get("message", error) if isinstance(error, Mapping) else error
    lines: Sequence[str] = str(found).strip().splitlines() or [""]
    return lines[0]
