"""What has to hold when everything has come to rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Break:
    """A law that does not hold, and the numbers that say so."""

    law: str
    what: str


def judge(history: Any) -> list[Break]:
    breaks = []
    for name, error in history.world.failures:
        breaks.append(Break(law="no pass ends by an unexpected error", what=f"{name}: {error!r}"))
    for event, what in history.errors:
        breaks.append(Break(law="no pass swallows an unexpected error", what=f"{event}: {what}"))
    if not history.resting:
        breaks.append(Break(law="the installation comes to rest", what=_unrest(history)))
    return breaks


def _unrest(history: Any) -> str:
    tables = history.installation.tables
    parts = {
        "clients": sum(not client.done for client in history.clients),
        "runs": [f"{run.id[-6:]} {run.state} held={run.held}" for run in tables.runs.values() if not run.final],
        "requests": list(tables.requests.values()),
        "reports": list(tables.reports.values()),
        "bundles": list(tables.bundles.values()),
        "outbox": len(tables.outbox),
        "jobs": {name: job.status(history.world.now).value for name, job in history.installation.account.jobs.items()},
        "steps": history.world.steps,
    }
    return "; ".join(f"{name}: {part}" for name, part in parts.items() if part)
