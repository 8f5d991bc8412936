"""The recorder: committed facts into logging tables and metrics.

Purpose: wiring and settings; the passes are `freshet.recording`. Guarantee: many may run, they share one consumer
group. Never: work of its own.
"""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import replace

from freshet.bus import Bus, FactReader
from freshet.domain.errors import DefinitionError
from freshet.execution.connections import configured_account
from freshet.recording import Measures, Recorder, RetentionPass, observe_levels
from freshet.recording.mirror import Mirror
from freshet.recording.recorder import BATCH
from freshet.recording.retention import EVERY
from freshet.runtime import log
from freshet.runtime.service import Once, PassResult, run_service
from freshet.runtime.settings import RecorderSettings, load
from freshet.snowflake.mirror import MirrorTables
from freshet.storage.database import Database
from freshet.storage.gauges import Gauges
from freshet.storage.leadership import MIRROR, Leadership
from freshet.storage.mirror import Mirroring
from freshet.storage.record import Recording
from freshet.storage.retention import Retention
from freshet.telemetry import BOUNDS, Telemetry
from freshet.telemetry.trace import configured

GROUP = "recorder"
#: Seconds that the recorder lets facts gather after a batch that did not fill up. A batch costs about the same for one
#: fact as for a hundred, and the machine has better things to do than to log each step of a chain by itself.
GATHER = 0.05


def main() -> int:
    """Run until a signal; the exit code."""
    settings = load(RecorderSettings)
    log.configure("recorder", settings.log_level)
    try:
        mirror = mirrored(settings)
    except DefinitionError as error:
        sys.stderr.write(f"{error.message}\n")
        return 2
    database = Database(settings.database_url.get_secret_value(), name="recorder", sessions=3)
    redis_url = settings.redis_url.get_secret_value()
    bus = Bus(redis_url, name="freshet recorder")
    reader = FactReader(redis_url, group=GROUP, consumer=f"{socket.gethostname()}-{os.getpid()}")
    telemetry = Telemetry("recorder")
    spans = configured(telemetry.resource)
    gauges = Gauges(database)
    observe_levels(telemetry, beats=bus.heartbeats, queues=gauges.queues, runs=gauges.runs)
    recorder = Recorder(
        reader=reader,
        store=Recording(database, bounds=BOUNDS, spans=spans is not None),
        measures=Measures(telemetry, spans),
    )
    retention = RetentionPass(Retention(database), days=settings.retention)
    try:
        if mirror is not None:
            mirror.begin()
        return run_service(
            "recorder",
            {"record": recording(recorder, mirror), "retention": keeping(retention)},
            metrics=telemetry.exposition,
            health_host=settings.health_host,
            health_port=settings.health_port,
        )
    finally:
        if mirror is not None:
            mirror.end()
        telemetry.close()
        if spans is not None:
            spans.close()
        reader.close()
        bus.close()
        database.close()


def mirrored(settings: RecorderSettings) -> Mirror | None:
    """The mirror into Snowflake, if it is wanted. Raises DefinitionError when its account is not named."""
    if not settings.snowflake_mirror:
        return None
    account = replace(configured_account(settings), paramstyle="qmark", query_tag="freshet mirror")
    # Sessions of its own: the recorder waits for nothing that the mirror does.
    database = Database(settings.database_url.get_secret_value(), name="mirror", sessions=2)
    return Mirror(store=Mirroring(database), tables=MirrorTables(account), candidate=Leadership(database, MIRROR))


def recording(recorder: Recorder, mirror: Mirror | None = None) -> Once:
    """The pass of the record loop, which waits on the stream itself, and a moment for more when there was little."""

    def once() -> PassResult:
        entries = recorder.record_batch().entries
        if entries and mirror is not None:
            mirror.nudge()
        return PassResult(did=entries, wait=GATHER if 0 < entries < BATCH else 0.0)

    return once


def keeping(retention: RetentionPass) -> Once:
    """The pass of the retention loop."""
    logger = log.logger(loop="retention")

    def once() -> PassResult:
        pruned = retention.once()
        if pruned.made or pruned.dropped or pruned.rows:
            logger.info(
                "log_kept",
                message="The log's partitions were looked after.",
                made=pruned.made,
                dropped=pruned.dropped,
                rows=pruned.rows,
                runs=pruned.runs,
            )
        return PassResult(did=pruned.made + pruned.dropped + pruned.rows, wait=0.0 if pruned.more else EVERY)

    return once
