"""A real server over real stores for each test, and rows as the dispatcher and the recorder would write them."""

import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import uvicorn

from freshet.bus import Bus
from freshet.storage.database import Database
from freshet.telemetry import Telemetry
from freshet_api.app import create_app
from freshet_api.door import Door

TOKEN = "token-of-the-tests"
MAX_BODY = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Served:
    """A running api."""

    url: str
    http: httpx.Client
    store: Database
    bus: Bus

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.http.get(path, **options)

    def post(self, path: str, json: Any = None, **options: Any) -> httpx.Response:
        return self.http.post(path, json=json, **options)

    def put(self, path: str, json: Any, **options: Any) -> httpx.Response:
        return self.http.put(path, json=json, **options)

    def apply(self, document: dict[str, Any]) -> dict[str, Any]:
        answer = self.put(f"/workflows/{document['name']}", document)
        assert answer.is_success, answer.text
        return dict(answer.json())

    def start(self, workflow: str, **body: Any) -> str:
        answer = self.post(f"/workflows/{workflow}/runs", body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["run_id"])

    def execute(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        with self.store.session() as session:
            cursor = session.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def end(self, run_id: str, state: str = "succeeded", **tasks: str) -> None:
        """End a run with these top-level tasks, as the dispatcher and the recorder would."""
        for task, task_state in tasks.items():
            counter = task_state if task_state in {"succeeded", "failed", "skipped", "cancelled"} else "succeeded"
            self.execute(
                "insert into engine.task_run (run_id, task, kind, state, total, mark, attempts, started_at,"
                f" finished_at, {counter}) values (%s, %s, 'process', %s, 1, 1, 1, now(), now(), 1)",
                run_id,
                task,
                task_state,
            )
        self.execute(
            "update engine.run set state = %s, started_at = now(), finished_at = now() where id = %s", state, run_id
        )

    def record(self, run_id: str) -> None:
        """Write the run's end into the log."""
        self.execute(
            "insert into log.run (run_id, created_at, group_id, workflow, state, finished_at, at)"
            " select id, created_at, group_id, workflow, state, finished_at, now() from engine.run where id = %s",
            run_id,
        )


@pytest.fixture
def door(database: str, redis: str) -> Iterator[Door]:
    door = Door(
        database=Database(database, name="api", sessions=4),
        bus=Bus(redis, name="api"),
        telemetry=Telemetry("api", environ={}),
        token=TOKEN,
    )
    yield door
    door.close()


@pytest.fixture
def api(door: Door) -> Iterator[Served]:
    with served(door) as running:
        yield running


class served:  # noqa: N801  (used as a function)
    """The app behind a socket of its own, for the time of a `with`."""

    def __init__(self, door: Door) -> None:
        self._door = door
        config = uvicorn.Config(create_app(door, max_body=MAX_BODY), port=0, log_config=None, lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> Served:
        self._thread.start()
        until = time.monotonic() + 30
        while not self._server.started and time.monotonic() < until:
            time.sleep(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        self._http = httpx.Client(base_url=f"{url}/api/v1", headers=headers, timeout=30, trust_env=False)
        return Served(url=url, http=self._http, store=self._door.database, bus=self._door.bus)

    def __exit__(self, *_error: object) -> None:
        self._http.close()
        self._door.feed.close()
        self._server.should_exit = True
        self._thread.join(30)


def workflow(name: str = "pipeline", **members: Any) -> dict[str, Any]:
    """A chain of three with a `finally` task."""
    return {
        "name": name,
        "params": {"batch": {"type": "integer", "default": 4}},
        "tasks": {
            "assign": {"process": "assigner@1.0.0"},
            "classify": {
                "process": "classification@1.0.0",
                "after": ["assign"],
                "for_each": "tasks.assign.result",
            },
            "merge": {"process": "merging@1.0.0", "after": ["classify"]},
        },
        "finally": {"stats": {"process": "stats@1.0.0"}},
        **members,
    }


def any_id() -> str:
    return str(uuid.uuid4())
