"""Metrics and traces, as OpenTelemetry defines them.

Purpose: one published table of instruments, one object per process that feeds them, `/metrics` for Prometheus and
OTLP when it is configured. Guarantees: no global provider, so a forked child neither doubles nor loses anything; only
names of the table with attributes of the table, and an id is never an attribute of a metric. Never: a decision, a
driver, a thread unless OTLP is configured.
"""

from freshet.telemetry.metrics import BOUNDS, METRICS, Instrument, Shape
from freshet.telemetry.telemetry import Spread, Telemetry
from freshet.telemetry.traceparent import TraceParent, child_of, make, parse

__all__ = [
    "BOUNDS",
    "METRICS",
    "Instrument",
    "Shape",
    "Spread",
    "Telemetry",
    "TraceParent",
    "child_of",
    "make",
    "parse",
]
