"""The work under chaos: workflows, and who starts their runs through the front door.

Purpose: enough of everything that Freshet promises something about, all the while, with a bounded backlog. Guarantees:
each request carries a key and is repeated until it is answered, so what was accepted is known. Never: a fault.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg

Json = dict[str, Any]

#: A full disk fails a statement of user code: such a failure is the user's, and so there must be retries.
PATIENT = {"retries": {"limit": 10, "delay": "PT0.5S"}}
CHAIN = 8
FINAL = frozenset({"succeeded", "failed", "skipped", "cancelled"})
#: Seconds between two ticks of the schedule.
TICK = 2
#: Runs that are not over at a time, and items that they have left.
MOST_RUNS, MOST_ITEMS = 12, 3_000

_MAP: Json = {
    "params": {"n": {"type": "integer"}},
    "tasks": {
        "width": {"process": "chaos_width@1.0.0", **PATIENT},
        "row": {"process": "chaos_row@1.0.0", "after": ["width"], "for_each": "tasks.width.result", **PATIENT},
        "count": {"process": "chaos_count@1.0.0", "after": ["row"], **PATIENT},
    },
}


def documents(effects: Path, pool: str) -> Iterator[Json]:
    """Every workflow. `effects`: the directory of what jobs and scripts leave."""
    yield {"name": "map", **_MAP}
    slow = {**_MAP["tasks"]["row"], "process": "chaos_slow_row@1.0.0", "timeout": "PT3S"}
    last = {"process": "chaos_last@1.0.0", **PATIENT}
    yield {"name": "slow-map", **_MAP, "tasks": {**_MAP["tasks"], "row": slow}, "finally": {"last": last}}
    yield _statements()
    flaky = {**_MAP["tasks"]["row"], "process": "chaos_flaky@1.0.0"}
    yield {"name": "flaky", **_MAP, "tasks": {**_MAP["tasks"], "row": flaky}}
    broken = {"process": "chaos_broken@1.0.0", "after": ["width"], "for_each": "tasks.width.result"}
    yield {"name": "broken", **_MAP, "tasks": {**_MAP["tasks"], "row": broken}}
    step = {"process": "chaos_step@1.0.0", **PATIENT}
    chain = {f"s{n}": step | ({"after": [f"s{n - 1}"]} if n else {}) for n in range(CHAIN)}
    yield {"name": "chain", "tasks": chain}
    yield {"name": "on-event", "triggers": [{"event": "com.example.chaos"}], "tasks": {"s0": step}}
    yield {
        "name": "tick",
        "schedule": {"every": f"PT{TICK}S", "catch_up": "all", "overlap": "allow"},
        "tasks": {"s0": step},
    }
    yield _nested()
    yield _jobs(effects, pool)
    yield _scripts(effects)


def _nested() -> Json:
    inside = {
        "size": {"process": "chaos_width@1.0.0", **PATIENT},
        "row": {"process": "chaos_row@1.0.0", "after": ["size"], "for_each": "tasks.size.result", **PATIENT},
        "whole": {"process": "chaos_count@1.0.0", "after": ["row"], **PATIENT},
    }
    groups = {"after": ["width"], "for_each": "tasks.width.result", "tasks": inside, "result": "whole"}
    end = {"process": "chaos_count@1.0.0", "after": ["groups"], **PATIENT}
    return {"name": "nested", **_MAP, "tasks": {"width": _MAP["tasks"]["width"], "groups": groups, "end": end}}


def _statements() -> Json:
    """Effects of `sql` tasks; a statement does not know its attempt, and says 0."""
    text = (
        "insert into chaos_effect (run_id, task, item, attempt, seen)"
        " select (:payload ->> 'run')::uuid, 'row', :payload ->> 'n', 0, (:payload ->> 'n')::bigint returning seen"
    )
    row = {"sql": {"on": "postgres", "text": text}, "after": ["width"], "for_each": "tasks.width.result", **PATIENT}
    row["input"] = "{'run': run.id, 'n': item}"
    return {"name": "statements", **_MAP, "tasks": {**_MAP["tasks"], "row": row}}


def _jobs(effects: Path, pool: str) -> Json:
    """One line for each launch; every second item fails in its first attempt."""
    line = '"$FRESHET_RUN_ID $FRESHET_TASK $FRESHET_ITEM $FRESHET_ATTEMPT"'
    script = (
        f"echo {line} >> {effects}/launches; sleep 0.2;"
        " [ $((FRESHET_ITEM % 2)) = 0 ] || [ $FRESHET_ATTEMPT -gt 1 ] || exit 3; echo '{\"ok\": true}'"
    )
    job = {"image": "/chaos/job:1", "compute_pool": pool, "command": ["sh", "-c", script]}
    task = {"job_service": job, "after": ["width"], "for_each": "tasks.width.result"}
    task["retries"] = {"limit": 3, "delay": "PT0.2S"}
    count = {"process": "chaos_count@1.0.0", "after": ["job"], **PATIENT}
    return {"name": "jobs", **_MAP, "tasks": {"width": _MAP["tasks"]["width"], "job": task, "count": count}}


def _scripts(effects: Path) -> Json:
    text = (
        "import json, os, sys\n"
        "item = json.load(sys.stdin)\n"
        f"out = os.open('{effects}/scripts', os.O_WRONLY | os.O_APPEND | os.O_CREAT)\n"
        "os.write(out, (os.environ['FRESHET_RUN_ID'] + f' {item}\\n').encode())\n"
        "print(item)\n"
    )
    script = {"python": {"text": text}, "after": ["width"], "for_each": "tasks.width.result", **PATIENT}
    return {"name": "scripts", **_MAP, "tasks": {"width": _MAP["tasks"]["width"], "script": script}}


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A run that the front door has accepted, and how it has to end (None: either way)."""

    key: str
    run_id: str
    workflow: str
    ends: str | None


#: Workflow, weight, narrowest and widest map, how it ends.
MIX = (
    ("map", 10, 100, 500, "succeeded"),
    ("chain", 5, 0, 0, "succeeded"),
    ("flaky", 3, 10, 40, "succeeded"),
    ("slow-map", 2, 20, 60, "succeeded"),
    ("statements", 2, 20, 60, "succeeded"),
    ("nested", 2, 2, 6, "succeeded"),
    ("broken", 1, 10, 20, "failed"),
    ("scripts", 1, 2, 4, "succeeded"),
    ("jobs", 2, 2, 4, "succeeded"),
    ("on-event", 1, 0, 0, "succeeded"),
    ("cancel", 2, 100, 300, None),
    ("rerun", 2, 0, 0, None),
)


class Driver:
    """Starts runs in a thread of its own until it is told to stop."""

    def __init__(self, *, url: str, token: str, database_url: str, seed: int, items: int, seconds: float) -> None:
        """`items` are wanted within `seconds`."""
        self.asked: list[Asked] = []
        self.started_items = 0
        self.repeated = 0  # requests that had to be sent again
        self._client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=5.0)
        self._database_url = database_url
        self._draw = random.Random(f"workload {seed}")
        self._pace = items / seconds
        self._first = self._draw.sample(MIX, len(MIX))  # each once, whatever the dice say
        self._stop = threading.Event()
        self._numbers = iter(range(1_000_000_000))
        self._thread = threading.Thread(target=self._run, name="driver", daemon=True)

    def apply(self, found: Iterator[Json]) -> None:
        """Put every workflow there; raises when one is refused."""
        for document in found:
            self._request("PUT", f"/api/v1/workflows/{document['name']}", document).raise_for_status()

    def begin(self) -> None:
        """Start runs from now on."""
        self._thread.start()

    def end(self) -> None:
        """No more runs, and no more ticks."""
        self._stop.set()
        self._thread.join(60.0)
        self._stop.clear()
        self._request("POST", "/api/v1/workflows/tick/pause", None).raise_for_status()

    def close(self) -> None:
        """Let go, in whatever state it is."""
        self._stop.set()
        self._client.close()

    def _run(self) -> None:
        began = time.monotonic()
        while not self._stop.is_set():
            if self.started_items > self._pace * (time.monotonic() - began) or self._is_full():
                self._stop.wait(0.1)
                continue
            with suppress(_StoppedError):
                self._start_some()

    def _start_some(self) -> None:
        drawn = self._first.pop() if self._first else self._draw.choices(MIX, [weight for _, weight, *_ in MIX])[0]
        name, _, narrow, wide, ends = drawn
        match name:
            case "cancel":
                self._start_and_cancel(self._draw.randint(narrow, wide))
            case "rerun":
                self._rerun()
            case "on-event":
                self._publish()
            case _:
                params = {"n": self._draw.randint(narrow, wide)} if wide else {}
                self._start(name, params, ends)
                self.started_items += params.get("n", 0) if name != "nested" else params["n"] ** 2

    def _start(self, workflow: str, params: Json, ends: str | None) -> str:
        key = f"chaos-{next(self._numbers)}"
        path, body = f"/api/v1/workflows/{workflow}/runs", {"params": params}
        # Now and then asked twice: the same key is the same run.
        for _ in range(self._draw.choice((1, 1, 1, 2))):
            answer = self._request("POST", path, body, key)
            answer.raise_for_status()
            self.asked.append(Asked(key=key, run_id=answer.json()["run_id"], workflow=workflow, ends=ends))
        return self.asked[-1].run_id

    def _start_and_cancel(self, items: int) -> None:
        run = self._start("slow-map", {"n": items}, None)
        self._stop.wait(self._draw.uniform(0.0, 3.0))
        self._request("POST", f"/api/v1/runs/{run}/cancel", None)

    def _rerun(self) -> None:
        """What can't be run again (yet) is refused, and that is an answer, too."""
        if not self.asked:
            return
        old = self._draw.choice(self.asked[-20:])
        key = f"chaos-{next(self._numbers)}"
        mode = self._draw.choice(("all", "failed"))
        answer = self._request("POST", f"/api/v1/runs/{old.run_id}/rerun", {"mode": mode}, key)
        if answer.is_success:
            self.asked.append(Asked(key=key, run_id=answer.json()["run_id"], workflow=old.workflow, ends=old.ends))

    def _publish(self) -> None:
        """An event that comes up to three times starts one run."""
        event = {
            "specversion": "1.0",
            "id": f"chaos-{next(self._numbers)}",
            "source": "/chaos",
            "type": "com.example.chaos",
            "data": {},
        }
        for _ in range(self._draw.randint(1, 3)):
            self._request("POST", "/api/v1/events", event, kind="application/cloudevents+json")

    def _request(
        self, method: str, path: str, body: Json | None, key: str | None = None, kind: str = "application/json"
    ) -> httpx.Response:
        """Repeat until the front door answers. Raises _StoppedError when the run is over before."""
        headers: Mapping[str, str] = {"Content-Type": kind} | ({"Idempotency-Key": key} if key else {})
        until = time.monotonic() + 120.0
        while not self._stop.is_set() and time.monotonic() < until:
            try:
                answer = self._client.request(method, path, json=body, headers=headers)
                if answer.status_code < 500:
                    return answer
            except httpx.TransportError:
                pass  # nobody listens, or the answer was lost: the key makes asking again safe
            self.repeated += 1
            self._stop.wait(0.2)
        raise _StoppedError

    def _is_full(self) -> bool:
        """Whether enough runs are under way. Nobody knows while Postgres is away, so none is started then."""
        try:
            with psycopg.connect(self._database_url, connect_timeout=2, autocommit=True) as session:
                found = session.execute(_LEFT).fetchone()
        except psycopg.Error:
            return True
        assert found is not None
        return bool(found[0] >= MOST_RUNS or found[1] >= MOST_ITEMS)


_LEFT = """
select count(distinct r.id), coalesce(sum(t.total - t.succeeded - t.failed - t.skipped - t.cancelled), 0)
from engine.run r left join engine.task_run t on t.run_id = r.id and t.state in ('pending', 'running')
where r.state in ('pending', 'running') and r.workflow <> 'tick'
"""


class _StoppedError(Exception):
    """The run is over."""
