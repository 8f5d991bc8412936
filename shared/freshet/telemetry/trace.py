"""Spans of runs and tasks, made from what was recorded.

Purpose: one trace per run; its span has the id that the run's traceparent names, so whatever was called with that
traceparent hangs below it. Times are those of the facts. Guarantees: a TaskRun's span id comes from its key, so a
replay makes the same span; nothing is sent for a trace that its caller does not sample, nor when OTLP is not
configured. Never: a wait; a full buffer drops spans.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from freshet.telemetry.histograms import SCOPE
from freshet.telemetry.telemetry import pushes
from freshet.telemetry.traceparent import TraceParent, parse


class Spans:
    """Where ended runs and TaskRuns become spans."""

    def __init__(self, processor: SpanProcessor, resource: Resource) -> None:
        """`processor` sends; it is closed with this object."""
        self._processor = processor
        self._resource = resource

    def run_ended(
        self,
        *,
        traceparent: str,
        run_id: str,
        workflow: str,
        result: str,
        started_at: datetime,
        finished_at: datetime,
        error: str | None = None,
    ) -> None:
        """The span of a run. Times are UTC; `result` is one of OpenTelemetry's `cicd.pipeline.result`."""
        own = parse(traceparent)
        if own is not None:
            attributes = {
                "cicd.pipeline.name": workflow,
                "cicd.pipeline.run.id": run_id,
                "cicd.pipeline.result": result,
            }
            self._send(f"RUN {workflow}", own, attributes=attributes, times=(started_at, finished_at), error=error)

    def task_ended(
        self,
        *,
        traceparent: str,
        run_id: str,
        workflow: str,
        task: str,
        index_path: str,
        result: str,
        started_at: datetime,
        finished_at: datetime,
        error: str | None = None,
    ) -> None:
        """The span of a TaskRun, below its run's."""
        run = parse(traceparent)
        if run is not None:
            key = f"{run_id}/{task}/{index_path}"
            own = TraceParent(trace_id=run.trace_id, span_id=span_id(key), flags=run.flags)
            attributes = {
                "cicd.pipeline.name": workflow,
                "cicd.pipeline.run.id": run_id,
                "cicd.pipeline.task.name": task,
                "cicd.pipeline.task.run.id": key,
                "cicd.pipeline.task.run.result": result,
            }
            self._send(
                task,
                own,
                parent=run,
                attributes=attributes,
                times=(started_at, finished_at),
                error=error,
            )

    def close(self) -> None:
        """Send what is left."""
        self._processor.shutdown()

    def _send(
        self,
        name: str,
        own: TraceParent,
        *,
        parent: TraceParent | None = None,
        attributes: Mapping[str, str],
        times: tuple[datetime, datetime],
        error: str | None,
    ) -> None:
        span = ReadableSpan(
            name,
            context=_context(own),
            parent=None if parent is None else _context(parent),
            resource=self._resource,
            attributes=dict(attributes),
            kind=SpanKind.INTERNAL,
            status=Status(StatusCode.ERROR, error) if error else Status(StatusCode.UNSET),
            start_time=_nanoseconds(times[0]),
            end_time=_nanoseconds(times[1]),
            instrumentation_scope=InstrumentationScope(SCOPE),
        )
        self._processor.on_end(span)


def configured(resource: Resource, environ: Mapping[str, str] | None = None) -> Spans | None:
    """Spans over OTLP when OTEL_* says where to; None else."""
    if not pushes(os.environ if environ is None else environ, "TRACES"):
        return None
    # Only who pushes pays for loading requests and protobuf.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return Spans(BatchSpanProcessor(OTLPSpanExporter()), resource)


def span_id(key: str) -> int:
    """A span's id from its natural key; never 0, which means none."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) or 1


def _context(span: TraceParent) -> SpanContext:
    flags: Any = TraceFlags(span.flags)
    return SpanContext(trace_id=span.trace_id, span_id=span.span_id, is_remote=False, trace_flags=flags)


def _nanoseconds(time: datetime) -> int:
    # In whole microseconds first: a float of nanoseconds since 1970 has lost the last digits.
    return round(time.timestamp() * 1_000_000) * 1_000
