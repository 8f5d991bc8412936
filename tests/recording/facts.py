"""Facts made by hand, in the short form that stands in engine.outbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from freshet.storage.database import Database

START = "2026-11-22T10:00:00.400000+00:00"
END = "2026-11-22T10:00:35.900000+00:00"
FACT = dict[str, Any]


@dataclass(kw_only=True)
class Run:
    """One run whose facts are told."""

    id: UUID = field(default_factory=uuid4)
    workflow: str = "score"
    group: UUID | None = None
    root_task_name: str | None = None
    traceparent: str | None = None

    def fact(self, state: str, *, at: str = START, error: Any = None, **more: Any) -> FACT:
        final = state not in {"pending", "running"}
        return {
            "type": f"freshet.run.{state}.v1",
            "run_id": str(self.id),
            "at": at,
            "workflow": self.workflow,
            "version": 1,
            "trigger": "call",
            "scheduled_for": None,
            "group_id": str(self.group or self.id),
            "rerun_of": None,
            "created_at": START,
            "started_at": None if state in {"pending", "skipped"} else START,
            "finished_at": at if final else None,
            "error": error,
            "root_task_name": self.root_task_name,
            "traceparent": self.traceparent,
            **more,
        }

    def task(self, name: str, state: str, *, total: int = 1, at: str = END, **more: Any) -> FACT:
        return {
            "type": f"freshet.task.{state}.v1",
            "run_id": str(self.id),
            "at": at,
            "task": name,
            "index_path": "",
            "kind": "job_service",
            "total": total,
            "succeeded": 0,
            "failed": 0,
            "skipped": 0,
            "cancelled": 0,
            **({state: total} if state in {"succeeded", "failed", "skipped", "cancelled"} else {}),
            "attempts": 0 if state == "skipped" else 1,
            "started_at": None if state == "skipped" else START,
            "finished_at": at,
            "error": None,
            "result": None,
            **more,
        }

    def items(self, name: str, state: str, entries: Sequence[Sequence[Any]], **more: Any) -> FACT:
        return {
            "type": f"freshet.item.{state}.v1",
            "run_id": str(self.id),
            "at": END,
            "task": name,
            "index_path": "",
            "kind": "job_service",
            "workflow": self.workflow,
            "mapped": False,
            "worker": "w1",
            "claim": str(uuid4()),
            "claimed_at": START,
            "items": [list(entry) for entry in entries],
            **more,
        }

    def item(
        self, name: str, state: str, *, attempt: int = 1, seconds: float | None = 1.5, error: Any = None, **more: Any
    ) -> FACT:
        return self.items(name, state, [[0, attempt, seconds, error]], **more)


def worker(name: str, state: str, *, busy_s: float, idle_s: float, at: str = START) -> FACT:
    return {
        "type": f"freshet.worker.{state}.v1",
        "at": at,
        "worker": name,
        "hostname": "h",
        "pid": 1,
        "queues": [],
        "busy_s": busy_s,
        "idle_s": idle_s,
        "wall_s": busy_s + idle_s,
    }


def failure(message: str, kind: str = "user") -> FACT:
    return {"class": kind, "message": message}


class Outbox:
    """Commits facts as the dispatcher does, and reads what became of them."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def commit(self, *facts: FACT, run: UUID | None = None, age_s: float = 0.0) -> int:
        with self.database.session() as session:
            row = session.execute(
                "insert into engine.outbox (run_id, body, created_at)"
                " values (%s, %s, clock_timestamp() - make_interval(secs => %s)) returning id",
                [run, Jsonb(list(facts)), age_s],
            ).fetchone()
        assert row is not None
        return int(row["id"])

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        with self.database.session() as session:
            return session.execute(query.encode(), parameters or None).fetchall()

    def value(self, query: str, *parameters: Any) -> Any:
        (row,) = self.rows(query, *parameters)
        (value,) = row.values()
        return value

    def waiting(self) -> int:
        return int(self.value("select count(*) from engine.outbox"))
