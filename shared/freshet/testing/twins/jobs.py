"""Watches and the attempts that own jobs: WatchList and JobOwnerList over dictionaries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

from freshet.domain.model import INDEX_BITS
from freshet.storage.worker_store import JobLog, KeptLog, LogPart
from freshet.testing.twins.rows import Bundle, LogLines, TaskRun, WorkItem
from freshet.testing.twins.tables import Tables

Row = dict[str, Any]


def watched(tables: Tables, kind: str) -> list[Row]:
    """Every watch of a kind, the oldest first."""
    rows = sorted((row.submitted_at, row.id) for row in tables.bundles.values() if row.submitted_at is not None)
    bundles = [tables.bundles[key] for _, key in rows]
    return [_watch(tables, each) for each in bundles if tables.task_runs[each.task_run_id].kind == kind]


def owners(tables: Tables, runs: Iterable[UUID], kind: str) -> list[Row]:
    """Attempts of a kind that are in a bundle, or in a report that is not folded yet."""
    found = (owner for run in runs for owner in _owners(tables, str(run)))
    return [owner for task, owner in found if task.kind == kind]


def note(tables: Tables, bundle: int, sentence: str | None) -> None:
    """Why a watch's job has not started."""
    row = tables.bundles.get(bundle)
    if row is not None and row.submitted_at is not None:
        tables.bundles[bundle] = row._replace(waits_for=sentence)


def kept_log(tables: Tables, where: JobLog, *, window: int, gap: str) -> KeptLog | None:
    """What is kept of a job's log: whole parts, so that at least the last `window` bytes are among them."""
    watch = _watch_of(tables, where)
    if watch is None and where.bundle is not None:
        return None
    lines = sorted((row for row in tables.log_lines.values() if _is_of(row, where)), key=lambda row: row.part)
    size, tail = 0, ""
    for row in reversed(lines):
        if size < window and row.text != gap:
            tail = row.text + tail
        size += len(row.text.encode())
    return KeptLog(parts=len(lines) if watch is None else watch.log_parts, size=size, tail=tail)


def write_log(tables: Tables, where: JobLog, parts: Sequence[LogPart]) -> bool:
    """The next parts, if nobody has written them and the watch goes on, or there is none."""
    if where.bundle is None:
        return _write_after_the_end(tables, where, parts)
    watch = _watch_of(tables, where)
    if watch is None or watch.log_parts != parts[0].number:
        return False
    tables.bundles[watch.id] = watch._replace(log_parts=watch.log_parts + len(parts))
    for part in parts:
        add_lines(tables, watch.run_id, where.task, where.claim, part)
    return True


def stopped(tables: Tables, where: JobLog) -> tuple[str, int] | None:
    """Workflow and version of an attempt that a cancel or its timeout has ended."""
    scope, _, index = where.item.rpartition(".")
    for path, mapped, idx in ((where.item, False, 0), (scope, True, int(index or 0))):
        task = tables.task_named.get((str(where.run_id), where.task, path))
        if task is None or tables.task_runs[task].mapped != mapped:
            continue
        item = tables.items.get(task << INDEX_BITS | idx)
        if item is not None and _was_stopped(item, where.attempt):
            run = tables.runs[str(where.run_id)]
            return run.workflow, run.version
    return None


def _was_stopped(item: WorkItem, attempt: int) -> bool:
    timed_out = item.error is not None and item.error.get("class") == "timeout"
    if item.attempt == attempt:
        return item.state == "cancelled" or (item.state != "queued" and timed_out)
    return item.attempt == attempt + 1 and timed_out


def add_lines(tables: Tables, run: str, task: str, claim: UUID, part: LogPart) -> None:
    """One part of an attempt's log."""
    number = tables.next_id("attempt_log")
    text = part.text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    tables.log_lines[number] = LogLines(number, run, task, part.item, part.attempt, claim, part.number, text)


def _write_after_the_end(tables: Tables, where: JobLog, parts: Sequence[LogPart]) -> bool:
    if parts[0].number != sum(_is_of(row, where) for row in tables.log_lines.values()):
        return False
    for part in parts:
        add_lines(tables, str(where.run_id), where.task, where.claim, part)
    return True


def _watch_of(tables: Tables, where: JobLog) -> Bundle | None:
    row = None if where.bundle is None else tables.bundles.get(where.bundle)
    return row if row is not None and row.submitted_at is not None and row.job_name == where.job else None


def _is_of(row: LogLines, where: JobLog) -> bool:
    names = ("task", "item", "attempt", "claim")
    return row.run_id == str(where.run_id) and all(getattr(row, name) == getattr(where, name) for name in names)


def _owners(tables: Tables, run: str) -> Iterator[tuple[TaskRun, Row]]:
    for bundle in tables.bundles.values():
        if bundle.run_id == run:
            yield from _attempts(tables, bundle.task_run_id, zip(bundle.items, bundle.attempts, strict=True))
    for report in tables.reports.values():
        if report.run_id == run:
            yield from _attempts(tables, report.task_run_id, ((each["i"], each["a"]) for each in report.body))


def _attempts(tables: Tables, task_run: int, attempts: Iterable[tuple[int, int]]) -> Iterator[tuple[TaskRun, Row]]:
    task = tables.task_runs[task_run]
    belongs = {"run_id": UUID(task.run_id), "task": task.task, "index_path": task.index_path}
    for item, attempt in attempts:
        yield task, {**belongs, "mapped": task.mapped, "item": item, "attempt": attempt}


def _watch(tables: Tables, bundle: Bundle) -> Row:
    task, run = tables.task_runs[bundle.task_run_id], tables.runs[bundle.run_id]
    assert bundle.submitted_at is not None  # a watch is a bundle that was submitted
    return {
        "id": bundle.id,
        "run_id": UUID(bundle.run_id),
        "partition": bundle.partition,
        "task_run_id": bundle.task_run_id,
        "items": list(bundle.items),
        "attempts": list(bundle.attempts),
        "timeout_s": bundle.timeout_s,
        "job_name": bundle.job_name,
        "submitted_at": bundle.submitted_at,
        "waiting_s": (tables.clock() - bundle.submitted_at).total_seconds(),
        "waits_for": bundle.waits_for,
        "task": task.task,
        "index_path": task.index_path,
        "mapped": task.mapped,
        "workflow": run.workflow,
        "version": run.version,
    }
