"""Follows runs until they are recorded, and draws them meanwhile.

Purpose: `run --wait`, `demo` and `show --follow` share it. Guarantees: the live feed only wakes us, the run
object is the truth, so a broken feed costs half a second at most; returns once every run says `recorded`.
Never: more than ten looks per second and run.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import httpx

from freshet.cli import drawing
from freshet.cli.client import Client
from freshet.domain.errors import FreshetError

if TYPE_CHECKING:
    from rich.console import RenderableType

Run = dict[str, Any]
LOOK = 0.1  # seconds between two looks at least
POLL = 0.5  # seconds between two looks at most, when the feed is silent


class View(Protocol):
    """Shows the runs as they are now."""

    def show(self, runs: Sequence[Run]) -> None:
        """Called after each look."""
        ...


class Silent:
    """For --json."""

    def show(self, runs: Sequence[Run]) -> None:
        """Shows nothing."""


class Lines:
    """For output that is no terminal: a line per change."""

    def __init__(self, write: Callable[[str], object]) -> None:
        """`write` gets whole lines."""
        self._write = write
        self._before: dict[str, Run] = {}

    def show(self, runs: Sequence[Run]) -> None:
        """Write what changed."""
        for run in runs:
            for line in drawing.changes(self._before.get(run["run_id"]), run):
                self._write(f"{line}\n")
            self._before[run["run_id"]] = run


def follow(
    client: Client, run_ids: Sequence[str], view: View, *, meanwhile: Callable[[], None] = lambda: None
) -> list[Run]:
    """Look at the runs until all are recorded; returns their last state.

    `meanwhile` is called between two looks. Raises what it and the client raise.
    """
    wake = threading.Event()
    for run_id in run_ids:
        threading.Thread(target=_listen, args=(client, run_id, wake), daemon=True, name="feed").start()
    known: dict[str, Run] = {}
    while True:
        wake.clear()
        started = time.monotonic()
        for run_id in run_ids:
            if not known.get(run_id, {}).get("recorded"):
                known[run_id] = client.get("runs", run_id)
        runs = [known[run_id] for run_id in run_ids]
        view.show(runs)
        meanwhile()
        if all(run.get("recorded") for run in runs):
            return runs
        ended = all(run["state"] in drawing.FINAL for run in runs)
        time.sleep(max(0.0, LOOK / (1 + ended) - (time.monotonic() - started)))
        wake.wait(LOOK if ended else POLL)


@contextmanager
def view(*, as_json: bool) -> Iterator[View]:
    """Silent for --json, redrawn on a terminal, else lines."""
    if as_json:
        yield Silent()
    elif sys.stdout.isatty():
        with _redrawn() as drawn:
            yield drawn
    else:
        yield Lines(sys.stdout.write)


@contextmanager
def _redrawn() -> Iterator[View]:
    from rich.live import Live

    with Live(refresh_per_second=10, transient=False) as screen:

        class Redrawn:
            def show(self, runs: Sequence[Run]) -> None:
                screen.update(drawn(runs, datetime.now(UTC)))

        yield Redrawn()


def drawn(runs: Sequence[Mapping[str, Any]], now: datetime) -> RenderableType:
    """The runs as Rich draws them."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = []
    for run in runs:
        state = Text(drawing.headline(run, now), style=f"bold {drawing.STYLES.get(run['state'], '')}")
        table = Table.grid(padding=(0, 2))
        for row in drawing.rows(run, now):
            style = drawing.STYLES.get(row.state, "")
            label = Text(f"{row.rail}{row.mark} {row.name}")
            label.stylize(style, len(row.rail))
            table.add_row(
                label,
                Text(row.state, style=style),
                Text(row.bar, style=style),
                Text(row.counters),
                Text(row.elapsed, style="dim", justify="right"),
                Text(row.parents, style="dim"),
                Text(row.error or row.note or "", style="red" if row.error else "yellow"),
            )
        parts += [state, table, Text("")]
    return Group(*parts)


def _listen(client: Client, run_id: str, wake: threading.Event) -> None:
    """Wake at each event of the feed; when the feed ends or breaks, the poll goes on."""
    with contextlib.suppress(httpx.HTTPError, FreshetError):
        for _ in client.events("runs", run_id, "events"):
            wake.set()
