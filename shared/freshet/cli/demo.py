"""`freshet demo`: everything in a temporary directory, two sample workflows, and what they left in the tables.

Guarantees: nothing remains afterwards, whatever happened; with --json one object and nothing else is on
stdout; when something fails, the failing service is named with the end of its log. Never: a server or data of
the user's.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import freshet
from freshet.cli import live, output
from freshet.cli.client import Client
from freshet.cli.failures import RUN_FAILED, StartError
from freshet.cli.supervisor import failure
from freshet.cli.up import Installation, Stopped, UpOptions, running
from freshet.domain.errors import FreshetError

TIMEOUT = 120.0  # seconds from both starts to both ends, after which something is wrong
INTERRUPTED = 130

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What the demo shows at its end."""

    elapsed_s: float  # from the command to both runs recorded
    runs: list[Json]
    jobs_run_stats: list[Json]
    task_logging_stats: list[Json]
    workers: list[Json]

    @property
    def succeeded(self) -> bool:
        """Whether both runs did."""
        return all(run["state"] == "succeeded" for run in self.runs)


def run(started: float, *, as_json: bool) -> int:
    """Run the demo; `started` is the monotonic second of the command. Returns the exit code."""
    root = samples()
    with _temporary() as data:
        options = UpOptions(
            data=data,
            port=0,
            processes="examples.pipeline.processes",
            images=root / "examples" / "spcs" / "images.yaml",
            code=root,
            keep=False,
        )
        try:
            with running(options, say=_tell) as installation:
                outcome = _show(installation, root, started, as_json=as_json)
        except Stopped:
            return INTERRUPTED
        except FreshetError as error:
            sys.stderr.write(f"The demo failed. {error.message}\n")
            return RUN_FAILED
    _print(outcome, as_json=as_json)
    return 0 if outcome.succeeded else RUN_FAILED


def samples() -> Path:
    """The directory that holds `examples`: the clone's, else the working directory. Raises FreshetError."""
    for root in (Path(freshet.__file__).parents[2], Path.cwd()):
        if (root / "examples" / "spcs" / "jobconfig.json").is_file():
            return root
    raise FreshetError("The samples are not here: run `freshet demo` inside a clone of the repository.")


def _show(installation: Installation, root: Path, started: float, *, as_json: bool) -> Outcome:
    if not as_json:
        output.line("Starting Postgres, Redis, a local Snowflake and all services …")
    # The first runs are accepted while the workers get ready.
    found = installation.start(serving=frozenset({"api"}))
    client = Client(found.url, found.token)
    names = [_put(client, document) for document in _documents(root)]
    run_ids = [client.post("workflows", name, "runs", body={"params": {}})["run_id"] for name in names]
    with live.view(as_json=as_json) as view:
        runs = live.follow(client, run_ids, view, meanwhile=_watch(installation))
    return Outcome(
        elapsed_s=round(time.monotonic() - started, 3),
        runs=runs,
        jobs_run_stats=_rows(client, "jobs_run_stats", "graph_run_id", run_ids),
        task_logging_stats=_rows(client, "task_logging_stats", "graph_run_group_id", run_ids),
        workers=[{key: worker.get(key) for key in _WORKER} for worker in client.pages("workers")],
    )


_ENDED = {"jobs_run_stats": "created_date", "task_logging_stats": "completed_time"}
_WORKER = ("id", "busy_s", "idle_s", "wall_s")


def _documents(root: Path) -> Iterator[Json]:
    from freshet.definition import load_file, normalise_document
    from freshet.definition.jobconfig import import_document

    jobconfig = load_file(root / "examples" / "spcs" / "jobconfig.json")[0]
    yield import_document(jobconfig, "spcs-jobs")
    yield normalise_document(load_file(root / "examples" / "pipeline" / "workflow.yaml")[0])


def _put(client: Client, document: Mapping[str, Any]) -> str:
    name: str = client.put("workflows", document["name"], body=document)["name"]
    return name


def _rows(client: Client, table: str, key: str, run_ids: Sequence[str]) -> list[Json]:
    """The rows of these runs, a run's together, in the order in which they ended."""
    rows = [row for row in client.pages("tables", table) if row[key] in run_ids]
    return sorted(rows, key=lambda row: (run_ids.index(row[key]), row[_ENDED[table]]))


def _watch(installation: Installation) -> Callable[[], None]:
    """Look after the services between two looks at the runs; a demo whose services die is a failed demo."""
    deadline = time.monotonic() + TIMEOUT

    def watch() -> None:
        installation.once()
        if installation.stop.is_set():
            raise Stopped
        for unit in installation.supervisor.units:
            if unit.failures:
                raise StartError(failure(unit))
        if time.monotonic() > deadline:
            raise FreshetError(f"The runs have not ended within {TIMEOUT:g} s. {_logs(installation)}")

    return watch


def _logs(installation: Installation) -> str:
    return "\n".join(
        failure(unit) for unit in installation.supervisor.units if unit.service in {"worker", "dispatcher"}
    )


def _print(outcome: Outcome, *, as_json: bool) -> None:
    tables = {name: getattr(outcome, name) for name in ("jobs_run_stats", "task_logging_stats", "workers")}
    if as_json:
        output.json({"elapsed_s": outcome.elapsed_s, "runs": outcome.runs, **tables})
        return
    for name, rows in tables.items():
        output.line("")
        output.table(name, rows)
    ended = "Both runs succeeded" if outcome.succeeded else "A run did not succeed"
    output.line(f"\n{ended} after {outcome.elapsed_s:.1f} s. Everything has been stopped and removed.")


@contextmanager
def _temporary() -> Iterator[Path]:
    data = Path(tempfile.mkdtemp(prefix="freshet-demo-"))
    try:
        yield data
    finally:
        shutil.rmtree(data, ignore_errors=True)


def _tell(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")
