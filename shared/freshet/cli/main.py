"""`freshet`: the commands and how they are called.

Purpose: names, help and exit codes. Guarantees: 0 fine, 1 the run failed, 2 wrong use or refused input;
errors are sentences on stderr. Never: an import that `--help` does not need; each command imports what it
uses when it is called.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from freshet.cli import changing, foreground, reading
from freshet.cli.failures import guarded

ARGUMENTS = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

app = typer.Typer(
    name="freshet",
    help="Event-driven workflows for Snowflake's containers and for Postgres.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Rich would double the time of --help
)
worker = typer.Typer(invoke_without_command=True, help="Run a worker in the foreground, or kill one.")
token = typer.Typer(no_args_is_help=True, help="Bearer tokens of the api.")


app.command()(foreground.demo)
app.command()(foreground.up)
app.command()(foreground.migrate)
app.add_typer(token, name="token")
token.command("create")(foreground.create_token)
token.callback()(lambda: None)

app.command()(changing.apply)
app.command("import-jobconfig")(changing.import_jobconfig)
app.command()(reading.workflows)
app.command()(changing.pause)
app.command()(changing.resume)
app.command()(changing.delete)

app.command()(changing.run)
app.command()(changing.cancel)
app.command()(changing.rerun)
app.command()(changing.backfill)
app.command()(changing.publish)

app.command()(reading.runs)
app.command()(reading.show)
app.command()(reading.logs)
app.command()(reading.queues)
app.command()(reading.workers)


@app.command()
def api(processes: foreground.Processes = None) -> None:
    """Run the api in the foreground."""
    foreground.serve_with_code("api", processes, None)


@app.command()
def scheduler() -> None:
    """Run a scheduler in the foreground."""
    foreground.serve("scheduler", [])


@app.command()
def dispatcher() -> None:
    """Run a dispatcher in the foreground."""
    foreground.serve("dispatcher", [])


@app.command()
def recorder() -> None:
    """Run a recorder in the foreground."""
    foreground.serve("recorder", [])


@app.command(context_settings=ARGUMENTS, add_help_option=False)
def emulator(context: typer.Context) -> None:
    """Run the local Snowflake in the foreground."""
    foreground.serve("emulator", context.args)


@worker.callback()
def run_worker(
    context: typer.Context, processes: foreground.Processes = None, queues: foreground.Queues = None
) -> None:
    """Run a worker in the foreground (`freshet worker`), or kill one (`freshet worker kill ID`)."""
    if context.invoked_subcommand is None:
        foreground.serve_with_code("worker", processes, queues)


worker.command("kill")(changing.kill_worker)
app.add_typer(worker, name="worker")


def version(*, wanted: bool) -> None:
    """Print the version and leave."""
    if wanted:
        from importlib.metadata import version as installed

        sys.stdout.write(f"freshet {installed('freshet')}\n")
        raise typer.Exit


@app.callback()
def options(
    *,
    shown: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=lambda wanted: version(wanted=wanted), help="Show the version."
        ),
    ] = False,
) -> None:
    """Event-driven workflows for Snowflake's containers and for Postgres."""


def main() -> None:
    """The console script."""
    sys.exit(guarded(app))
