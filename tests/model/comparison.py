"""The tables and the book, compared.

Guarantees: everything that both can say is compared, from the state of a run to the cover of every active item; what is
a choice of speed (windows, sizes of bundles, the order of reports of one pass) is read off the tables into the book.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any, ClassVar

from hypothesis.stateful import RuleBasedStateMachine
from tests.model.book import Book
from tests.model.entries import NOTHING, Bundle, Part, Report, Unit
from tests.model.rig import NotingBatch, Rig

MASK = (1 << 24) - 1


class Comparison(RuleBasedStateMachine):
    """The engine and the book, and whether they agree."""

    rig: ClassVar[Rig]

    def empty(self, *, quick: bool, whole: bool) -> None:
        """Nothing has happened yet."""
        self.rig.fresh(quick=quick, whole=whole)
        self.book = Book()
        self.sound = True
        self.published: set[int] = set()
        self.ids: dict[int, Part] = {}  # by the TaskRun's id
        self.numbers: dict[Part, int] = {}  # of a task's items: another TaskRun's, where it was copied
        self.due: dict[int, float] = {}
        self.leases: dict[int, float] = {}
        self.overdue: set[int] = set()
        self.dead: set[str] = set()
        self.tokens: list[tuple[int, uuid.UUID, tuple[tuple[int, int], ...], Part]] = []

    def agree(self, *, released: bool = False) -> None:
        """The book and the tables say the same."""
        self.sound = False
        self.rig.steps += 1
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

    def _item(self, part: Part, index: int) -> int:
        return self.numbers[part] << 24 | index

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


def _given(parent: Part) -> tuple[str, Any, int | None]:
    """What a task is told of its parent: state, value, length of its results."""
    if parent.feed is not None:
        return parent.state, None, parent.total
    unit = parent.only()
    if unit is not None and unit.rows is not None:
        return parent.state, None, len(unit.rows)
    return parent.state, parent.result(), None
