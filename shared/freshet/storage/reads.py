"""The run object, the same everywhere, and lists of runs.

Purpose: what `GET /runs/{id}`, `show`, and the payload of a `finally` task answer. Guarantees: the cost depends on the
number of TaskRuns, never on the width of a map; times are UTC; keys are those of the contract. Never: a write.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from freshet.domain.errors import NotFoundError
from freshet.domain.model import Kind
from freshet.domain.states import RunState, TaskState, is_final
from freshet.storage.database import Database, Row

#: Bytes of JSON; a larger result is fetched by its own address.
RESULT_LIMIT = 65_536
#: Items; a wider map's results are fetched by their own address.
WIDTH_LIMIT = 1_000

_RUN_KEYS = (
    "workflow",
    "version",
    "state",
    "trigger",
    "params",
    "scheduled_for",
    "rerun_of",
    "group_id",
    "created_at",
    "started_at",
    "finished_at",
)
_COUNTERS = ("total", "succeeded", "failed", "skipped", "cancelled")


class Reads:
    """Reading runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def run_object(self, run_id: uuid.UUID) -> dict[str, Any]:
        """The run as users see it: plain JSON values, times in ISO 8601. Raises NotFoundError."""
        row = self._database.row("RunGet", {"run": run_id})
        if row is None:
            raise NotFoundError(f"There is no run {run_id}.")
        return _json(
            {
                "run_id": row["id"],
                **{key: row[key] for key in _RUN_KEYS},
                "held": row["held"],
                "error": sentence(row["error"]),
                "recorded": row["recorded"],
                "tasks": {path: _json(task) for path, task in self._tasks(row).items()},
            }
        )

    def recorded(self, run_id: uuid.UUID) -> bool:
        """Whether the run has ended and all its facts stand in the log. Raises NotFoundError."""
        row = self._database.row("RunRecorded", {"run": run_id})
        if row is None:
            raise NotFoundError(f"There is no run {run_id}.")
        return bool(row["recorded"])

    def state(self, run_id: uuid.UUID) -> RunState:
        """The run's state. Raises NotFoundError."""
        row = self._database.row("RunExists", {"run": run_id})
        if row is None:
            raise NotFoundError(f"There is no run {run_id}.")
        return RunState(row["state"])

    def page(
        self,
        *,
        before: uuid.UUID | None = None,
        limit: int = 100,
        workflow: str | None = None,
        state: str | None = None,
        group: uuid.UUID | None = None,
    ) -> list[dict[str, Any]]:
        """Runs, newest first, older than `before`."""
        rows = self._database.rows(
            "RunsPage",
            {"before": before, "limit": limit, "workflow": workflow, "state": state, "group": group},
        )
        return [_listed(row) for row in rows]

    def _tasks(self, run: Row) -> dict[str, Any]:
        run_over = is_final(RunState(run["state"]))
        tasks = {
            path: _unstarted(kind, parents, over=run_over)
            for path, kind, parents in declared_tasks(run["document"] or {})
        }
        rows = self._database.rows("RunTasks", {"run": run["id"]})
        for row in rows:
            tasks[row["task"]] = _task(row, scopes_over=_scopes_over(row["task"], rows))
        for path, result in self._results(run["id"]):
            tasks[path]["result"] = result
        if not run_over:
            self._note_waits(run["id"], tasks)
        for path, task in tasks.items():
            if task["result"] is _ELSEWHERE:
                task["result"] = None
                task["result_url"] = f"/api/v1/runs/{run['id']}/tasks/{path}/result"
        return tasks

    def _note_waits(self, run_id: uuid.UUID, tasks: dict[str, Any]) -> None:
        """What most of the waiting jobs of each task wait for."""
        for row in self._database.rows("RunWaits", {"run": run_id}):
            if "note" not in tasks[row["task"]]:
                said = row["waits_for"] or place_wanted(row["pool"])
                tasks[row["task"]]["note"] = said if row["items"] == 1 else f"{row['items']} wait: {said}"

    def _results(self, run_id: uuid.UUID) -> Iterator[tuple[str, Any]]:
        for row in self._database.rows("PlainResults", {"run": run_id, "limit": RESULT_LIMIT}):
            yield row["task"], self._plain_result(row)
        for row in self._database.rows("MapSizes", {"run": run_id}):
            yield row["task"], self._map_result(row)

    def _plain_result(self, row: Row) -> Any:
        if row["source"] is None:
            return _ELSEWHERE if row["elsewhere"] else row["result"]
        rows = self._database.rows("YieldedValues", {"source": row["source"], "after": -1, "limit": WIDTH_LIMIT})
        return _if_small([each["value"] for each in rows])

    def _map_result(self, row: Row) -> Any:
        # As stored a value may take more bytes than as text, by its headers; so this bound is the looser one.
        if row["size"] is None or row["size"] > 4 * RESULT_LIMIT:
            return _ELSEWHERE
        found = self._database.row("MapResult", {"owner": row["owner"], "total": row["total"]})
        return _if_small((found and found["result"]) or [])


#: Stands for a result that has an address of its own.
_ELSEWHERE = object()


def declared_tasks(document: Mapping[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    """Path, kind and parents' paths of every task in a canonical document: what a run that has not begun shows."""
    for section in ("tasks", "finally"):
        yield from _declared(document.get(section) or {}, "")


def _declared(tasks: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str, list[str]]]:
    for name, task in tasks.items():
        path = prefix + name
        yield path, _kind(task), [prefix + parent for parent in task.get("after") or ()]
        yield from _declared(task.get("tasks") or {}, f"{path}.")


def _kind(task: Mapping[str, Any]) -> str:
    if task.get("tasks"):
        return Kind.MAP
    return next((kind for kind in Kind if kind in task), Kind.PROCESS)


def _unstarted(kind: str, parents: list[str], *, over: bool) -> dict[str, Any]:
    """A task without a row. When the run is over it never will have one."""
    return {
        "kind": kind,
        "state": TaskState.CANCELLED if over else TaskState.PENDING,
        "after": parents,
        "items": dict.fromkeys(_COUNTERS, 0),
        "attempts": 0,
        "started_at": None,
        "finished_at": None,
        "result": None,
        "error": None,
        "error_class": None,
    }


def _task(row: Row, *, scopes_over: bool) -> dict[str, Any]:
    inner = "." in row["task"]
    return {
        "kind": row["kind"],
        "state": joint_state(row["states"], scopes_over=scopes_over),
        "after": row["parents"],
        "items": {counter: row[counter] for counter in _COUNTERS},
        "attempts": row["attempts"],
        "started_at": row["started_at"],
        "finished_at": row["finished_at"] if scopes_over else None,
        "result": _ELSEWHERE if inner and row["succeeded"] else None,
        "error": sentence(row["error"]),
        "error_class": error_class(row["error"]),
    }


def _scopes_over(path: str, rows: Sequence[Row]) -> bool:
    """Whether no further scope of this task can open: the maps around it have ended."""
    states = {row["task"]: row["states"] for row in rows}
    parts = path.split(".")
    around = [".".join(parts[:depth]) for depth in range(1, len(parts))]
    return all(is_final(TaskState(state)) for outer in around for state in states.get(outer, ()))


def joint_state(states: Iterable[str], *, scopes_over: bool) -> TaskState:
    """One state for a task in several scopes: under way until all have ended, then the worst."""
    found = {TaskState(state) for state in states}
    if len(found) == 1 and scopes_over:
        return found.pop()
    if not scopes_over or not all(is_final(state) for state in found):
        return TaskState.PENDING if found == {TaskState.PENDING} else TaskState.RUNNING
    worst = (TaskState.FAILED, TaskState.CANCELLED, TaskState.SUCCEEDED)
    return next(state for state in worst if state in found)


def _if_small(result: list[Any]) -> Any:
    return result if len(orjson.dumps(result)) <= RESULT_LIMIT else _ELSEWHERE


def _listed(row: Row) -> dict[str, Any]:
    run_id = row.pop("id")
    return _json({"run_id": run_id, **row, "error": sentence(row["error"])})


def sentence(error: Any) -> str | None:
    """The sentence of a stored error."""
    if isinstance(error, Mapping):
        return str(error.get("message") or error.get("class") or "failed")
    return None if error is None else str(error)


def error_class(error: Any) -> str | None:
    """The class of a stored error."""
    return error.get("class") if isinstance(error, Mapping) else None


def place_wanted(pool: str) -> str:
    """What an item waits for whose job has not been submitted, because its pool has as many as it may."""
    return f"No place is free in compute pool {pool} (FRESHET_POOL_LIMITS)."


def _json(row: Row) -> dict[str, Any]:
    """Times and ids of one row as JSON has them. Users' values in it are JSON already and are not walked."""
    return {key: _text(value) if isinstance(value, datetime | uuid.UUID) else value for key, value in row.items()}


def _text(value: datetime | uuid.UUID) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
