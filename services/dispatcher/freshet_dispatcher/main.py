"""The dispatcher's wiring: settings in, one loop out."""

from __future__ import annotations

import os
import socket
import time

from freshet.bus import Bus
from freshet.definition import compile_workflow
from freshet.domain.model import Workflow
from freshet.engine.dispatcher import Dispatcher
from freshet.engine.fold import Folder
from freshet.engine.pace import Pace
from freshet.engine.refill import Refill
from freshet.engine.ring import Ring
from freshet.engine.witness import Judge, Patience
from freshet.runtime import log
from freshet.runtime.service import PassResult, run_service
from freshet.runtime.settings import DispatcherSettings, load
from freshet.storage.database import Database
from freshet.storage.definitions import Definitions
from freshet.storage.engine_store import OPTIONS, EngineStore, PartitionLocks
from freshet.telemetry import Telemetry


class Versions:
    """Compiled definitions; a version never changes, so it is compiled once."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._known: dict[tuple[str, int], Workflow] = {}

    def __call__(self, name: str, version: int) -> Workflow:
        """One version's workflow."""
        if (name, version) not in self._known:
            self._known[name, version] = compile_workflow(self._definitions.get(name, version)["document"])
        return self._known[name, version]


def build(settings: DispatcherSettings, *, name: str) -> Dispatcher:
    """A dispatcher from its settings. Connects at its first step."""
    database = Database(settings.database_url.get_secret_value(), name="dispatcher", options=OPTIONS)
    bus = Bus(settings.redis_url.get_secret_value(), name="freshet-dispatcher")
    store = EngineStore(database)
    pace = Pace(queue_depth=settings.queue_depth, depths=bus.depths, pool_limits=settings.pool_limits)
    refill = Refill(store, bus, pace)
    patience = Patience(lease=settings.lease, grace=settings.grace_after_outage)
    judge = Judge(patience=patience, clock=time.monotonic)
    return Dispatcher(
        name=name,
        bus=bus,
        folder=Folder(store, bus, Versions(Definitions(database)), pace, limit=settings.batch),
        refill=refill,
        ring=Ring(store=store, bus=bus, refill=refill, pace=pace, judge=judge, clock=time.monotonic),
        locks=PartitionLocks(database),
        clock=time.monotonic,
    )


def main() -> int:
    """Run until a signal; the exit code."""
    settings = load(DispatcherSettings)
    log.configure("dispatcher", settings.log_level)
    dispatcher = build(settings, name=f"{socket.gethostname()}-{os.getpid()}")
    telemetry = Telemetry("dispatcher")

    def once() -> PassResult:
        folded = dispatcher.step().folded
        if folded is not None and folded.hop_s is not None:
            telemetry.record("freshet.dispatch.hop", folded.hop_s)
        return PassResult(did=folded.runs if folded else 0)

    code = run_service(
        "dispatcher",
        once,
        metrics=telemetry.exposition,
        health_host=settings.health_host,
        health_port=settings.health_port,
    )
    dispatcher.close()
    telemetry.close()
    return code
