"""`docs/telemetry.md`, printed from the table: `python -m freshet.telemetry.document > docs/telemetry.md`."""

from __future__ import annotations

import sys

from freshet.telemetry.metrics import BOUNDS, METRICS, Instrument

_HEAD = """# Telemetry

Generated from `freshet.telemetry.metrics`: `python -m freshet.telemetry.document > docs/telemetry.md`.

Every service serves `/metrics` for Prometheus on its health port. With `OTEL_EXPORTER_OTLP_ENDPOINT` (or the variable
of one signal, `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`, `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`) metrics and traces are also
sent there over HTTP; the other `OTEL_*` variables work as OpenTelemetry defines them.

Prometheus sees the same names with underscores and the unit behind them: `freshet.worker.busy.time` is
`freshet_worker_busy_time_seconds_total`. Ids of runs, tasks, items and workers are never attributes of a metric.
Histograms are cumulative.
"""

_TRACES = """
## Traces

One trace per run. The run's span has the id of the `traceparent` that its request was given or that travels with it, so
what user code calls with that `traceparent` hangs below it; each TaskRun has a span below the run's. The recorder makes
them from committed facts when these end, with the facts' times, and sends them only when OTLP is configured and the
caller samples the trace.
"""


def document() -> str:
    """The text of docs/telemetry.md."""
    rows = "\n".join(_row(each) for each in sorted(METRICS, key=lambda each: each.name))
    bounds = ", ".join(f"{bound:g}" for bound in BOUNDS)
    return (
        f"{_HEAD}\n## Metrics\n\n"
        "| name | kind | unit | attributes | fed by | meaning |\n|---|---|---|---|---|---|\n"
        f"{rows}\n\nBounds of the histograms, in seconds: {bounds}.\n{_TRACES}"
    )


def _row(each: Instrument) -> str:
    attributes = ", ".join(f"`{name}`" for name in each.attributes) or "none"
    return f"| `{each.name}` | {each.shape} | {each.unit} | {attributes} | {each.source} | {each.description} |"


if __name__ == "__main__":
    sys.stdout.write(document())
