"""One installation with an emulator, for a show: what is asked of it, and what it promised."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import psycopg
from tests.chaos.installation import Installation, installation

from freshet.snowflake import JobServices, SnowflakeSettings

Json = dict[str, Any]

FINAL = ("succeeded", "failed", "cancelled", "skipped")
STATEMENTS = re.compile(r'^freshet_emulator_statements_total\{kind="([^"]+)"\} (\d+)$', re.MULTILINE)
JOBS = re.compile(r'^freshet_emulator_jobs\{status="(\w+)"\} (\d+)$', re.MULTILINE)


@dataclass(kw_only=True)
class Show:
    """One installation with an emulator, and what is asked of it."""

    made: Installation
    client: httpx.Client
    session: psycopg.Connection[Any]
    services: JobServices
    broken: list[str] = field(default_factory=list)

    def apply(self, document: Json) -> None:
        self.client.put(f"/api/v1/workflows/{document['name']}", json=document).raise_for_status()

    def start(self, workflow: str, **params: Any) -> str:
        answer = self.client.post(f"/api/v1/workflows/{workflow}/runs", json={"params": params})
        answer.raise_for_status()
        return str(answer.json()["run_id"])

    def run(self, run: str) -> Json:
        found: Json = self.client.get(f"/api/v1/runs/{run}").raise_for_status().json()
        return found

    def over(self, run: str) -> bool:
        """Whether it has ended and is recorded; an api that is away says nothing."""
        try:
            found = self.run(run)
        except httpx.HTTPError:
            return False
        return found["state"] in FINAL and bool(found["recorded"])

    def metrics(self) -> str:
        return httpx.get(f"http://127.0.0.1:{self.services._session.settings.port}/metrics", timeout=30).text

    def statements(self) -> Counter[str]:
        """What the emulator was asked so far."""
        return Counter({kind: int(count) for kind, count in STATEMENTS.findall(self.metrics())})

    def jobs(self, status: str) -> int:
        """Jobs that the emulator shows in this status."""
        return {word: int(count) for word, count in JOBS.findall(self.metrics())}.get(status, 0)

    def launched(self) -> Counter[str]:
        """The emulator's history: how often each name was launched."""
        found = self.services.execute("SELECT name FROM TABLE(SNOWFLAKE.SPCS.GET_JOB_HISTORY(RESULT_LIMIT => 10000))")
        return Counter(str(row["name"]) for row in found)

    def demand(self, held: bool, sentence: str) -> None:
        """A promise."""
        if not held:
            self.broken.append(sentence)

    def pool(self, name: str, nodes: int) -> str:
        self.services.execute(
            f"CREATE COMPUTE POOL {name} MIN_NODES = 1 MAX_NODES = {nodes} INSTANCE_FAMILY = CPU_X64_XS"
        )
        return name


@contextmanager
def show(*, workers: int, dispatchers: int = 1, **settings: str) -> Iterator[Show]:
    """Everything that runs, without a line or a small disk in between."""
    names = ["api", "recorder", "emulator"]
    names += [f"dispatcher-{number}" for number in range(1, dispatchers + 1)]
    names += [f"worker-{number}" for number in range(1, workers + 1)]
    with installation(names=names, behind_lines=(), settings=settings, as_root=False) as made:
        made.look_after()
        made.start()
        env = made.fleet.services["worker-1"].env
        account = SnowflakeSettings(
            account="chaos",
            database="FRESHET",
            schema="PUBLIC",
            host="127.0.0.1",
            port=int(env["FRESHET_SNOWFLAKE_PORT"]),
            protocol="http",
            user="freshet",
            password="freshet",
        )
        services = JobServices(account)
        headers = {"Authorization": f"Bearer {made.token}"}
        with (
            httpx.Client(base_url=made.url, headers=headers, timeout=60.0) as client,
            psycopg.connect(made.postgres.url(), autocommit=True) as session,
        ):
            yield Show(made=made, client=client, session=session, services=services)
        services.close()


def job(pool: str, script: str, **more: Any) -> Json:
    """A task that runs a shell script in a container."""
    return {
        "job_service": {"image": "/chaos/s/r/shell:1", "compute_pool": pool, "command": ["sh", "-c", script], **more}
    }
