"""Commands that read: runs, show, logs, queues, workers, workflows.

Guarantee: each takes --json and then prints the server's values and nothing else.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from freshet.cli import output

if TYPE_CHECKING:
    from freshet.cli.client import Client

Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
FOLLOW = 0.3  # seconds between two looks for new log lines

RUN_COLUMNS = ("run_id", "workflow", "version", "state", "trigger", "created_at", "started_at", "finished_at")
WORKER_COLUMNS = ("id", "state", "busy_s", "idle_s", "wall_s", "hostname", "pid", "queues")


def runs(
    *,
    workflow: Annotated[str | None, typer.Option(help="Only runs of this workflow.")] = None,
    state: Annotated[str | None, typer.Option(help="Only runs in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 20,
    as_json: Json = False,
) -> None:
    """List runs, newest first."""
    found = list(_client().pages("runs", workflow=workflow, state=state, limit=limit))
    output.json(found) if as_json else output.table("Runs", found, RUN_COLUMNS)


def show(*, run: str, as_json: Json = False) -> None:
    """Show one run: its tasks, their counters, results and errors."""
    found = _client().get("runs", run)
    if as_json:
        output.json(found)
        return
    from freshet.cli import drawing

    output.line(drawing.text(found, datetime.now(UTC)))


def logs(
    *,
    run: str,
    task: str,
    item: Annotated[str | None, typer.Option(help="Index path of an item, such as 3 or 3.17.")] = None,
    attempt: Annotated[int | None, typer.Option(min=1, help="Only this attempt.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    as_json: Json = False,
) -> None:
    """Print what a task's attempts wrote."""
    client = _client()
    found: list[dict[str, Any]] = []
    after: str | None = None
    printer = LogPrinter(sys.stdout)
    take = found.append if as_json else printer.take
    while True:
        # Asked before the logs are read, so that nothing written before the end is missed.
        over = not follow or client.get("runs", run).get("recorded", False)
        after = _read_logs(client, (run, task, item, attempt), after, take)
        if over:
            break
        time.sleep(FOLLOW)
    printer.end()
    if as_json:
        output.json(found)


def queues(*, as_json: Json = False) -> None:
    """List the queues, how much waits in each, and who serves it."""
    found = list(_client().pages("queues"))
    output.json(found) if as_json else output.table("Queues", found)


def workers(*, as_json: Json = False) -> None:
    """List the workers with their busy and idle seconds."""
    found = list(_client().pages("workers"))
    output.json(found) if as_json else output.table("Workers", found, WORKER_COLUMNS)


def workflows(*, as_json: Json = False) -> None:
    """List the workflows."""
    found = list(_client().pages("workflows"))
    output.json(found) if as_json else output.table("Workflows", [_without_document(each) for each in found])


def _client() -> Client:
    from freshet.cli.client import connect

    return connect()


def _read_logs(
    client: Client,
    which: tuple[str, str, str | None, int | None],
    after: str | None,
    take: Callable[[dict[str, Any]], None],
) -> str | None:
    """Hand over all pages from `after` on; returns where the next begins."""
    run, task, item, attempt = which
    while True:
        page = client.get("runs", run, "tasks", task, "logs", item=item, attempt=attempt, after=after)
        for entry in page["items"]:
            take(entry)
        if not page["items"] or page.get("next") in {None, after}:
            return page.get("next") or after
        after = page["next"]


class LogPrinter:
    """Puts parts of logs together: a line may begin in one part and end in the next, others' parts in between."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._open: object = None  # whose line is not at its end

    def take(self, entry: dict[str, Any]) -> None:
        """Print one part, each line with the item and the attempt that it is of."""
        item, source = entry.get("item"), (entry.get("item"), entry["attempt"])
        prefix = f"[{item}#{entry['attempt']}] " if item not in {None, ""} else ""
        if self._open != source:
            self.end()
        for line in str(entry["text"]).splitlines(keepends=True):
            self._out.write(line if self._open else prefix + line)
            self._open = None if line.endswith("\n") else source
        self._out.flush()

    def end(self) -> None:
        """End the line that is open."""
        if self._open is not None:
            self._out.write("\n")
        self._open = None


def _without_document(workflow: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in workflow.items() if key != "document"}
