"""The parts of a running emulator, put together."""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from freshet_emulator.catalog import DEFAULT_DATABASE, DEFAULT_SCHEMA, DEFAULT_WAREHOUSE, Catalog
from freshet_emulator.errors import EmulatorError
from freshet_emulator.faults import Faults
from freshet_emulator.interpreter import Interpreter
from freshet_emulator.interpreter.context import World
from freshet_emulator.keys import PublicKeys
from freshet_emulator.queries import Queries, Query
from freshet_emulator.results import Result
from freshet_emulator.sessions import Credentials, Session, Sessions
from freshet_emulator.settings import EmulatorSettings
from freshet_emulator.spcs.environment import Endpoint, inherited_environment
from freshet_emulator.spcs.images import load_images
from freshet_emulator.spcs.platform import Platform
from freshet_emulator.spcs.pools import Pool
from freshet_emulator.spcs.runner import PlatformOptions
from freshet_emulator.spcs.tokens import ContainerTokens
from freshet_emulator.stages import Stages
from freshet_emulator.state import StateStore
from freshet_emulator.tables.database import Tables

DEFAULT_POOLS = (
    Pool(name="PR_STD_POOL_XS", max_nodes=1, instance_family="CPU_X64_XS"),
    Pool(name="PR_STD_POOL_S", max_nodes=2, instance_family="CPU_X64_S"),
)
KINDS = re.compile(
    r"\s*((?:EXECUTE\s+JOB\s+SERVICE|(?:SHOW|DESC(?:RIBE)?|DROP|CREATE|ALTER)\s+"
    r"(?:JOB\s+SERVICES|SERVICE\s+(?:CONTAINERS|INSTANCES)|SERVICES?|COMPUTE\s+POOLS?)))\b",
    re.IGNORECASE,
)
METHODS = re.compile(r"(SYSTEM\$\w{1,40}|SPCS_\w{1,20}|GET_JOB_HISTORY)", re.IGNORECASE)
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound to


class Emulator:
    """All parts. `start` and `stop` are called once each."""

    def __init__(self, settings: EmulatorSettings, *, port: int) -> None:
        self.settings = settings
        images = load_images(settings.images)
        self._scratch = Path(tempfile.mkdtemp(prefix="freshet-emulator-"))
        state = state_directory(settings.state)
        self._store = StateStore(state / "state.sqlite" if state else None)
        self.catalog = Catalog(self._store)
        tokens = ContainerTokens(self._scratch)
        endpoint = Endpoint(host=EVERYWHERE.get(settings.host, settings.host), port=port, account=settings.account)
        options = PlatformOptions(
            endpoint=endpoint,
            images=images,
            environment=inherited_environment(),
            grace=settings.grace,
            jobs_per_node=settings.jobs_per_node,
            node_start=settings.node_start,
            docker=settings.docker,
        )
        self.faults = Faults()
        self.platform = Platform(options, self._store, tokens, self.faults)
        self.tables = Tables(state / "tables.duckdb" if state else None)
        self.stages = Stages((state or self._scratch).resolve() / "stages")
        credentials = Credentials(user=settings.user, password=settings.password)
        self.keys = PublicKeys(self._store)
        self.sessions = Sessions(credentials, tokens, validity=settings.session_validity, keys=self.keys)
        self.queries = Queries(self._interpreter().run, self._stop)
        self._requests: Counter[str] = Counter()
        self._statements: Counter[str] = Counter()
        self._lock = threading.Lock()

    def _interpreter(self) -> Interpreter:
        return Interpreter(
            World(
                catalog=self.catalog,
                platform=self.platform,
                tables=self.tables,
                stages=self.stages,
                keys=self.keys,
                scan=self._scan,
                abort=self._abort,
                record=self._record,
                history=self._history,
                wait=self._wait,
            )
        )

    def _scan(self, query_id: str) -> Result:
        return self.queries.scan(query_id)

    def _abort(self, query_id: str) -> bool:
        return self.queries.abort(query_id)

    def _record(self, parent: str, session: Session, sql: str, run: Callable[[], Result]) -> tuple[str, Result]:
        return self.queries.record(parent, session, sql, run)

    def _history(self) -> list[Query]:
        return self.queries.history()

    def _wait(self, query_id: str, seconds: float) -> None:
        self.queries.wait(query_id, seconds)

    def start(self) -> None:
        """Take up kept jobs, make the default pools, begin to place."""
        if not self.platform.pools():
            for pool in DEFAULT_POOLS:
                self.platform.create_pool(pool)
        self.platform.start()

    def stop(self) -> None:
        """Stop all containers and close the files."""
        self.platform.stop()
        self.tables.close()
        self._store.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def open_session(self, user: str, asked: dict[str, str | None]) -> Session:
        """A session in the database, schema and warehouse asked for or the default ones, as far as they exist."""
        database = asked.get("databaseName") or DEFAULT_DATABASE
        schema = asked.get("schemaName") or DEFAULT_SCHEMA
        warehouse = asked.get("warehouse") or DEFAULT_WAREHOUSE
        return self.sessions.open(
            user,
            database=database if self.catalog.exists("DATABASE", database) else None,
            schema=schema if self.catalog.exists("SCHEMA", f"{database}.{schema}") else None,
            warehouse=warehouse if self.catalog.exists("WAREHOUSE", warehouse) else None,
            role=asked.get("roleName"),
        )

    def close_session(self, token: str) -> None:
        """Log out; what the session left open in the tables is rolled back."""
        session = self.sessions.close(token)
        if session is not None:
            self.tables.leave(session.id)

    def count_request(self, kind: str) -> None:
        """For the metrics."""
        with self._lock:
            self._requests[kind] += 1

    def count_statement(self, sql: str) -> None:
        """For the metrics, by the words that say what it is about."""
        with self._lock:
            self._statements[what_it_is(sql)] += 1

    def metrics(self) -> str:
        """A Prometheus text exposition."""
        jobs = Counter(job.status for job in self.platform.all_jobs())
        with self._lock:
            requests, statements = dict(self._requests), dict(self._statements)
        lines = ["# TYPE freshet_emulator_jobs gauge"]
        lines += [f'freshet_emulator_jobs{{status="{status}"}} {count}' for status, count in sorted(jobs.items())]
        lines += ["# TYPE freshet_emulator_requests_total counter"]
        lines += [f'freshet_emulator_requests_total{{kind="{kind}"}} {n}' for kind, n in sorted(requests.items())]
        lines += ["# TYPE freshet_emulator_statements_total counter"]
        lines += [f'freshet_emulator_statements_total{{kind="{kind}"}} {n}' for kind, n in sorted(statements.items())]
        lines += ["# TYPE freshet_emulator_sessions gauge", f"freshet_emulator_sessions {self.sessions.count()}"]
        lines += ["# TYPE freshet_emulator_queries gauge", f"freshet_emulator_queries {self.queries.count()}"]
        return "\n".join(lines) + "\n"

    def _stop(self, query: Query) -> None:
        """What an abort stops besides the query: its statement in the tables, its synchronous job."""
        self.tables.interrupt(query.session.id, query.id)
        for job in self.platform.all_jobs():
            if job.query_id == query.id and not job.is_async:
                self.platform.cancel(job.name)


def what_it_is(sql: str) -> str:
    """SHOW JOB SERVICES, SYSTEM$GET_SERVICE_LOGS, SPCS_CANCEL_JOB, …: few words, whatever a statement says."""
    found = KINDS.match(sql) or METHODS.search(sql)
    return "other" if found is None else " ".join(found[1].upper().split())


def state_directory(path: Path | None) -> Path | None:
    """The state directory, made if it is missing. Raises EmulatorError."""
    if path is None:
        return None
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EmulatorError(f"The state directory {path} can't be made: {error}") from error
    return path
