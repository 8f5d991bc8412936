"""Commands that run something here: `up`, `demo`, one service in the foreground, `migrate`, `token create`.

Guarantee: a service becomes this process (no child in between), so that a container's signals reach it.
"""

from __future__ import annotations

import os
import runpy
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from freshet.cli import output
from freshet.cli.reading import Json
from freshet.domain.errors import FreshetError

Processes = Annotated[str | None, typer.Option(metavar="MODULE,…", help="Modules with @process functions.")]
Queues = Annotated[str | None, typer.Option(metavar="QUEUE,…", help="Queues to serve besides those of the processes.")]


def up(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the api; 0: a free one.")] = 8080,
    workers: Annotated[int, typer.Option(min=1, max=256, help="How many workers.")] = 2,
    data: Annotated[Path, typer.Option(help="Directory for all data.")] = Path(".freshet"),
    processes: Processes = None,
    host: Annotated[str, typer.Option(help="Address on which the api listens.")] = "127.0.0.1",
    queues: Queues = None,
    images: Annotated[Path | None, typer.Option(help="Image map of the emulator, YAML.")] = None,
) -> None:
    """Run everything on this machine, with embedded servers where no URL is given."""
    from freshet.cli.up import UpOptions, run

    options = UpOptions(
        data=data, host=host, port=port, workers=workers, processes=processes, queues=queues, images=images
    )
    run(options, say=_say)


def demo(*, as_json: Json = False) -> None:
    """Start everything in a temporary directory, run two sample workflows, show what they left in the tables."""
    started = time.monotonic()  # before the imports, for they are part of what the user waits for
    from freshet.cli.demo import run

    raise typer.Exit(run(started, as_json=as_json))


def migrate() -> None:
    """Bring the database to the present schema."""
    from freshet.storage import migrate as apply_migrations

    applied = apply_migrations(_database_url())
    output.line(f"Applied: {', '.join(applied)}." if applied else "The database is up to date.")


def create_token(
    *,
    name: Annotated[str, typer.Option(help="Whom or what it is for.")] = "cli",
    as_json: Json = False,
) -> None:
    """Make a bearer token for the api; it is shown this once."""
    from freshet.storage.database import Database
    from freshet.storage.tokens import Tokens

    database = Database(_database_url(), name="freshet-token")
    try:
        token = Tokens(database).create(name)
    finally:
        database.close()
    output.json({"name": name, "token": token}) if as_json else output.line(token)


def serve(service: str, argv: list[str]) -> None:
    """Become `python -m freshet_<service>`."""
    import importlib.util

    module = f"freshet_{service}"
    if importlib.util.find_spec(f"{module}.__main__") is None:
        raise FreshetError(f"The service {service} is not installed: pip install 'freshet[{service}]'.")
    sys.path.insert(0, os.getcwd())  # noqa: PTH109  (sys.path holds text; user code is imported from here)
    sys.argv = [f"freshet {service}", *argv]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def serve_with_code(service: str, processes: str | None, queues: str | None) -> None:
    """The same for services that import user code; options become settings."""
    for variable, value in (("FRESHET_PROCESSES", processes), ("FRESHET_QUEUES", queues)):
        if value is not None:
            os.environ[variable] = value
    serve(service, [])


def _database_url() -> str:
    """FRESHET_DATABASE_URL, else that of the newest `up`."""
    from freshet.cli import connection
    from freshet.runtime.settings import StoreSettings, read

    if not os.environ.get("FRESHET_DATABASE_URL") and (found := connection.newest()):
        return found.database_url
    return read(StoreSettings).database_url.get_secret_value()


def _say(sentence: str) -> None:
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()
