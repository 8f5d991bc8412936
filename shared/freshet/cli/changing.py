"""Commands that change something on the server: definitions, runs, schedules, events, workers.

Guarantee: whatever is refused names the file and line, the option, or the field.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from freshet.cli import output
from freshet.cli.reading import Json
from freshet.domain.errors import DefinitionError

if TYPE_CHECKING:
    from freshet.cli.client import Client
    from freshet.definition import Document


def apply(
    *,
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Workflow files, YAML or JSON.")],
    as_json: Json = False,
) -> None:
    """Check workflow files and send them to the server; nothing is sent unless all are fine."""
    from freshet.definition import load_file, normalise_document

    documents = [document for file in files for document in load_file(file)]
    checked = [(document, normalise_document(document)) for document in documents]
    client = _client()
    answers = [_put(client, definition, document) for document, definition in checked]
    output.json(answers) if as_json else _tell_applied(answers)


def import_jobconfig(
    *,
    file: Annotated[Path, typer.Argument(help="jobconfig.json: an array of jobs.")],
    name: Annotated[str | None, typer.Option(help="Name of the workflow; by default the file's.")] = None,
    schedule: Annotated[str, typer.Option(help="How often it runs: an ISO 8601 duration or cron.")] = "PT59M",
    on_failure: Annotated[
        str,
        typer.Option(help="A job that fails: block skips what comes after it, continue runs it, as the original did."),
    ] = "block",
    warehouse: Annotated[
        str | None, typer.Option(help="Warehouse of the containers, also in their SNOWFLAKE_WAREHOUSE.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a workflow of job services from a jobconfig.json."""
    from freshet.definition import ImportOptions, load_file
    from freshet.definition.jobconfig import import_document

    documents = load_file(file)
    options = ImportOptions(schedule=schedule, on_failure=on_failure, warehouse=warehouse)
    definition = import_document(documents[0], name or file.stem, options=options)
    answer = _put(_client(), definition, None)
    output.json(answer) if as_json else _tell_applied([answer])


def run(
    *,
    workflow: str,
    params: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", metavar="NAME=VALUE", help="A parameter, typed by the workflow."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Draw it until it is recorded.")] = False,
    as_json: Json = False,
) -> None:
    """Start a run. With --wait: exit code 1 unless it succeeds."""
    client = _client()
    typed = _typed(client, workflow, params or [])
    started = client.post("workflows", workflow, "runs", body={"params": typed, "scheduled_for": None})
    _started(client, started, wait=wait, as_json=as_json)


def cancel(run_id: Annotated[str, typer.Argument(metavar="RUN")]) -> None:
    """Cancel a run; its `finally` tasks still run."""
    _client().post("runs", run_id, "cancel")
    output.line(f"Run {run_id} is being cancelled.")


def rerun(
    *,
    run_id: Annotated[str, typer.Argument(metavar="RUN")],
    failed: Annotated[bool, typer.Option("--failed", help="Only what failed, and what follows it.")] = False,
    start: Annotated[str | None, typer.Option("--from", metavar="TASK", help="This task and what follows it.")] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Draw it until it is recorded.")] = False,
    as_json: Json = False,
) -> None:
    """Run again: all of it, what failed, or from a task on. The new run has its own id."""
    if failed and start:
        raise DefinitionError("Give --failed or --from TASK, not both.")
    mode = "failed" if failed else "from" if start else "all"
    client = _client()
    body = {"mode": mode, **({"task": start} if start else {})}
    _started(client, client.post("runs", run_id, "rerun", body=body), wait=wait, as_json=as_json)


def pause(workflow: str) -> None:
    """Stop a workflow's schedule and triggers; running runs go on."""
    _client().post("workflows", workflow, "pause")
    output.line(f"{workflow} is paused.")


def resume(workflow: str) -> None:
    """Let a paused workflow's schedule and triggers go on."""
    _client().post("workflows", workflow, "resume")
    output.line(f"{workflow} goes on.")


def delete(workflow: str) -> None:
    """Delete a workflow and cancel what runs of it; its runs stay in the tables. A second time is harmless."""
    from freshet.cli.failures import ProblemError

    try:
        _client().delete("workflows", workflow)
    except ProblemError as error:
        if error.status != 404:
            raise
        output.line(f"There is no workflow {workflow}: nothing to delete.")
    output.line("Done")


def backfill(
    *,
    workflow: str,
    begin: Annotated[str, typer.Option("--from", help="First tick: a date or time, ISO 8601; UTC unless it says.")],
    end: Annotated[str, typer.Option("--to", help="End, exclusive.")],
    as_json: Json = False,
) -> None:
    """Start a run for each tick of the schedule between two times."""
    body = {"from": _time("--from", begin), "to": _time("--to", end)}
    found = _client().post("workflows", workflow, "backfill", body=body)["runs"]
    output.json(found) if as_json else output.table("Runs", found, ("run_id", "scheduled_for", "state"))


def publish(
    *,
    event_type: Annotated[str, typer.Argument(metavar="TYPE", help="CloudEvents type.")],
    data: Annotated[str, typer.Option(help="The event's data, JSON.")] = "null",
    source: Annotated[str, typer.Option(help="CloudEvents source.")] = "/freshet/cli",
    subject: Annotated[str | None, typer.Option(help="CloudEvents subject.")] = None,
    event_id: Annotated[
        str | None, typer.Option("--id", help="The event's id; the same id starts nothing twice.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Publish a CloudEvent; workflows with a matching trigger start."""
    event = {
        "specversion": "1.0",
        "id": event_id or str(uuid.uuid4()),
        "type": event_type,
        "source": source,
        **({"subject": subject} if subject else {}),
        "datacontenttype": "application/json",
        "data": _data(data),
    }
    answer = _client().post("events", body=event, content_type="application/cloudevents+json")
    output.json(answer) if as_json else output.line(f"Event {event['id']} is published.")


def kill_worker(worker: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Kill a worker; what it held is claimable again within seconds."""
    _client().post("workers", worker, "kill")
    output.line(f"Worker {worker} is being killed.")


def _client() -> Client:
    from freshet.cli.client import connect

    return connect()


def _put(client: Client, definition: Mapping[str, Any], document: Document | None) -> dict[str, Any]:
    from freshet.cli.failures import ProblemError, located

    try:
        answer: dict[str, Any] = client.put("workflows", str(definition["name"]), body=definition)
    except ProblemError as error:
        if document is None:
            raise
        raise located(error, document) from error
    return answer


def _tell_applied(answers: list[dict[str, Any]]) -> None:
    for answer in answers:
        state = "applied" if answer.get("changed") or answer.get("created", True) else "unchanged"
        output.line(f"{answer['name']} v{answer['version']} {state}.")


def _started(client: Client, started: dict[str, Any], *, wait: bool, as_json: bool) -> None:
    if not wait:
        output.json(started) if as_json else output.line(started["run_id"])
        return
    from freshet.cli import live

    with live.view(as_json=as_json) as view:
        (ended,) = live.follow(client, [started["run_id"]], view)
    if as_json:
        output.json(ended)
    if ended["state"] != "succeeded":
        raise typer.Exit(1)


def _typed(client: Client, workflow: str, given: list[str]) -> dict[str, Any]:
    """The parameters that were given, as the workflow types them."""
    texts = dict(_pairs(given))
    if not texts:
        return {}
    from freshet.definition import coerce_params, compile_workflow

    known = compile_workflow(client.get("workflows", workflow)["document"])
    return {name: value for name, value in coerce_params(known, texts, from_text=True).items() if name in texts}


def _pairs(given: list[str]) -> Iterator[tuple[str, str]]:
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise DefinitionError(f"-p wants NAME=VALUE, not {pair!r}.")
        yield name, value


def _time(option: str, text: str) -> str:
    try:
        datetime.fromisoformat(text)
    except ValueError as error:
        message = f"{option} wants a date or time such as 2026-03-29 or 2026-03-29T02:00:00Z, not {text!r}."
        raise DefinitionError(message) from error
    return text


def _data(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise DefinitionError(f"--data is no JSON: {error.msg} at column {error.colno}.") from error
