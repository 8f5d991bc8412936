"""The table of metrics: name, unit, kind, attributes and meaning of each.

Purpose: what is measured is data; `docs/telemetry.md` is printed from it and instruments are made from it. Names
follow OpenTelemetry's semantic conventions 1.44 where these have one (`cicd.*` is a release candidate there,
`messaging.*` in development), ours begin with `freshet.`. Guarantees: attributes have few values, because they are
names from definitions and states; never an id.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Shape(StrEnum):
    """What kind of instrument it is."""

    COUNTER = "counter"
    HISTOGRAM = "histogram"
    OBSERVED_COUNTER = "observable counter"
    OBSERVED_UP_DOWN_COUNTER = "observable up-down counter"
    OBSERVED_GAUGE = "observable gauge"


@dataclass(frozen=True, kw_only=True, slots=True)
class Instrument:
    """One metric."""

    name: str
    shape: Shape
    unit: str  # UCUM, as OpenTelemetry writes it
    attributes: tuple[str, ...] = ()
    description: str
    source: str  # the service that feeds it


#: Upper, inclusive bounds of the histograms, in seconds: from one round trip to one day. The SDK's own begin at 5.
BOUNDS: tuple[float, ...] = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
    14400.0, 86400.0,
)  # fmt: skip

WORKFLOW = "cicd.pipeline.name"
RUN_STATE = "cicd.pipeline.run.state"  # pending | executing
RUN_RESULT = "cicd.pipeline.result"
TASK = "cicd.pipeline.task.name"
TASK_RESULT = "cicd.pipeline.task.run.result"
WORKER_STATE = "cicd.worker.state"
ERROR = "error.type"
QUEUE = "messaging.destination.name"
SYSTEM = "messaging.system"
OPERATION = "messaging.operation.name"
KIND = "freshet.task.kind"
METHOD = "http.request.method"
ROUTE = "http.route"
STATUS = "http.response.status_code"

_OF_TASK = (WORKFLOW, TASK, KIND, TASK_RESULT, ERROR)

METRICS: tuple[Instrument, ...] = (
    Instrument(
        name="cicd.pipeline.run.active",
        shape=Shape.OBSERVED_UP_DOWN_COUNTER,
        unit="{run}",
        attributes=(WORKFLOW, RUN_STATE),
        description="Runs that have not ended. Each recorder tells the whole: take the greatest, not the sum.",
        source="recorder",
    ),
    Instrument(
        name="cicd.pipeline.run.duration",
        shape=Shape.HISTOGRAM,
        unit="s",
        attributes=(WORKFLOW, RUN_STATE, RUN_RESULT, ERROR),
        description="How long ended runs were pending (asked for until started) and executing (started until ended).",
        source="recorder",
    ),
    Instrument(
        name="cicd.pipeline.run.errors",
        shape=Shape.COUNTER,
        unit="{error}",
        attributes=(WORKFLOW, ERROR),
        description="Runs that ended failed.",
        source="recorder",
    ),
    Instrument(
        name="cicd.worker.count",
        shape=Shape.OBSERVED_UP_DOWN_COUNTER,
        unit="{worker}",
        attributes=(WORKER_STATE,),
        description="Workers that give signs of life. Each recorder tells the whole: take the greatest, not the sum.",
        source="recorder",
    ),
    Instrument(
        name="messaging.client.consumed.messages",
        shape=Shape.COUNTER,
        unit="{message}",
        attributes=(SYSTEM, OPERATION, QUEUE),
        description="Bundles that workers claimed.",
        source="recorder",
    ),
    Instrument(
        name="freshet.worker.busy.time",
        shape=Shape.OBSERVED_COUNTER,
        unit="s",
        description="Time in which workers ran items, over all workers. Busy and idle add up to the workers' wall "
        "time. Each recorder tells the whole: take the greatest, not the sum.",
        source="recorder",
    ),
    Instrument(
        name="freshet.worker.idle.time",
        shape=Shape.OBSERVED_COUNTER,
        unit="s",
        description="Time in which workers waited for work; watching job services is idle.",
        source="recorder",
    ),
    Instrument(
        name="freshet.queue.depth",
        shape=Shape.OBSERVED_GAUGE,
        unit="{item}",
        attributes=(QUEUE,),
        description="Items that are queued and claimed by nobody, the backlog in Postgres included.",
        source="recorder",
    ),
    Instrument(
        name="freshet.queue.wait",
        shape=Shape.HISTOGRAM,
        unit="s",
        attributes=(WORKFLOW, TASK, KIND, QUEUE),
        description="From a bundle's being queued to its claim; one value per bundle.",
        source="recorder",
    ),
    Instrument(
        name="freshet.task.duration",
        shape=Shape.HISTOGRAM,
        unit="s",
        attributes=_OF_TASK,
        description="From a TaskRun's first queued item to its end.",
        source="recorder",
    ),
    Instrument(
        name="freshet.item.duration",
        shape=Shape.HISTOGRAM,
        unit="s",
        attributes=_OF_TASK,
        description="How long ended attempts ran, by their worker's monotonic clock.",
        source="recorder",
    ),
    Instrument(
        name="freshet.item.attempts",
        shape=Shape.COUNTER,
        unit="{attempt}",
        attributes=_OF_TASK,
        description="Attempts that ended, with those that were tried again.",
        source="recorder",
    ),
    Instrument(
        name="freshet.item.returns",
        shape=Shape.COUNTER,
        unit="{attempt}",
        attributes=(WORKFLOW, TASK, KIND, ERROR),
        description="Attempts that went back to their queue: handed back, or their claim was lost.",
        source="recorder",
    ),
    Instrument(
        name="freshet.recorder.facts",
        shape=Shape.COUNTER,
        unit="{fact}",
        description="Facts recorded; one about items carries many of them.",
        source="recorder",
    ),
    Instrument(
        name="freshet.recorder.parked",
        shape=Shape.COUNTER,
        unit="{entry}",
        description="Outbox rows that Postgres refused; they stand in engine.parked with their error.",
        source="recorder",
    ),
    Instrument(
        name="freshet.dispatch.hop",
        shape=Shape.HISTOGRAM,
        unit="s",
        description="From the oldest report of a batch to the publication of what it led to; one value per batch."
        " What workers decide themselves is not in it.",
        source="dispatcher",
    ),
    Instrument(
        name="http.server.request.duration",
        shape=Shape.HISTOGRAM,
        unit="s",
        attributes=(METHOD, ROUTE, STATUS),
        description="From a request's head to the end of its answer; of a live stream, all of its life.",
        source="api",
    ),
    Instrument(
        name="process.uptime",
        shape=Shape.OBSERVED_GAUGE,
        unit="s",
        description="How long this process has been running.",
        source="every service",
    ),
)

BY_NAME = {instrument.name: instrument for instrument in METRICS}
