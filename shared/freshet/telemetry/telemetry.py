"""One object per process through which everything measured goes.

Purpose: `add`, `record`, `merge` and `observe` by the names of the table; `/metrics` for Prometheus; OTLP when the
environment says where to. Guarantees: a name or an attribute that is not in the table is an error at once; an
observation that can't be made (a server is away) is left out, never guessed. Never: a global provider.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from typing import Any

from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from freshet.domain.errors import UnreachableError
from freshet.telemetry.histograms import (
    SCOPE,
    Attributes,
    Histograms,
    MemoryReader,
    PrometheusReader,
    PushingReader,
    Spread,
)
from freshet.telemetry.metrics import BY_NAME, METRICS, Instrument, Shape

Names = Mapping[str, str | None]
#: What an observed metric stands at, for each set of attributes.
Observe = Callable[[], Iterable[tuple[float, Mapping[str, str]]]]

__all__ = ["Names", "Observe", "Spread", "Telemetry"]


class Telemetry:
    """What one process measures."""

    def __init__(self, service: str, *, environ: Mapping[str, str] | None = None) -> None:
        """`service`: recorder, dispatcher, …; `environ` holds OTEL_* (the process's own unless given)."""
        environ = os.environ if environ is None else environ
        self.resource = resource(service, environ)
        self._histograms = Histograms()
        self._registry = CollectorRegistry()
        self._memory = MemoryReader(self._histograms)
        readers: list[MetricReader] = [
            self._memory,
            PrometheusReader(self._histograms, registry=self._registry, scope_info_enabled=False),
        ]
        if pushes(environ, "METRICS"):
            readers.append(_pushing(self._histograms))
        self._provider = MeterProvider(metric_readers=readers, resource=self.resource, shutdown_on_exit=False)
        meter = self._provider.get_meter(SCOPE, version("freshet"))
        self._meter = meter
        self._counters = {each.name: _counter(meter, each) for each in METRICS if each.shape is Shape.COUNTER}
        started = time.monotonic()
        # Besides being useful, it is always there: a reader is not called while the SDK has nothing to tell.
        self.observe("process.uptime", lambda: [(time.monotonic() - started, {})])

    def add(self, name: str, amount: float, attributes: Names | None = None) -> None:
        """Count `amount` more; attributes that are None are left out. Raises KeyError for what is not in the table."""
        names = dict(checked(name, attributes, Shape.COUNTER))
        self._counters[name].add(amount, names)

    def record(self, name: str, value: float, attributes: Names | None = None) -> None:
        """Put one value into a histogram."""
        self._histograms.record(name, value, checked(name, attributes, Shape.HISTOGRAM))

    def merge(self, name: str, spread: Spread, attributes: Names | None = None) -> None:
        """Put many values of one bucket into a histogram."""
        self._histograms.merge(name, spread, checked(name, attributes, Shape.HISTOGRAM))

    def observe(self, name: str, read: Observe) -> None:
        """Ask `read` whenever somebody looks; an UnreachableError means that nobody can say now."""
        instrument = BY_NAME[name]

        def answer(_options: CallbackOptions) -> Iterable[Observation]:
            try:
                values = [(value, dict(checked(name, attributes))) for value, attributes in read()]
            except UnreachableError:
                return []
            return [Observation(value, attributes) for value, attributes in values]

        make = {
            Shape.OBSERVED_COUNTER: self._meter.create_observable_counter,
            Shape.OBSERVED_UP_DOWN_COUNTER: self._meter.create_observable_up_down_counter,
            Shape.OBSERVED_GAUGE: self._meter.create_observable_gauge,
        }[instrument.shape]
        make(name, callbacks=[answer], unit=instrument.unit, description=instrument.description)

    def exposition(self) -> tuple[bytes, str]:
        """The body of `/metrics` and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def points(self, name: str) -> dict[Attributes, Any]:
        """What a metric stands at now: by attributes a number, or a HistogramDataPoint. For tests and for people."""
        data = self._memory.get_metrics_data()
        metrics = [
            metric
            for each in (data.resource_metrics if data else [])
            for scope in each.scope_metrics
            for metric in scope.metrics
            if metric.name == name
        ]
        return {
            tuple(sorted((key, str(value)) for key, value in (point.attributes or {}).items())): getattr(
                point, "value", point
            )
            for metric in metrics
            for point in metric.data.data_points
        }

    def close(self) -> None:
        """Send what has not been sent, and end the threads of exporters."""
        self._provider.shutdown()


def checked(name: str, attributes: Names | None, shape: Shape | None = None) -> Attributes:
    """The attributes in one order, without those that are None. Raises KeyError for what is not in the table."""
    instrument = BY_NAME[name]
    if shape is not None and instrument.shape is not shape:
        raise KeyError(f"{name} is a {instrument.shape}, not a {shape}")
    present = {key: value for key, value in (attributes or {}).items() if value is not None}
    if unknown := present.keys() - set(instrument.attributes):
        raise KeyError(f"{name} has no attribute {', '.join(sorted(unknown))}")
    return tuple(sorted(present.items()))


def resource(service: str, environ: Mapping[str, str]) -> Resource:
    """Who measures. OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES add to it."""
    own = {
        "service.namespace": "freshet",
        "service.version": version("freshet"),
        "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
    }
    if not environ.get("OTEL_SERVICE_NAME"):
        own["service.name"] = f"freshet-{service}"
    return Resource.create(own)


def pushes(environ: Mapping[str, str], signal: str) -> bool:
    """Whether OTLP is configured for METRICS or TRACES, by the variables that OpenTelemetry defines."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get(f"OTEL_{signal}_EXPORTER") == "none":
        return False
    return bool(environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or environ.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"))


def _counter(meter: Meter, instrument: Instrument) -> Any:
    return meter.create_counter(instrument.name, unit=instrument.unit, description=instrument.description)


def _pushing(histograms: Histograms) -> MetricReader:
    # Only who pushes pays for loading requests and protobuf.
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    return PushingReader(histograms, OTLPMetricExporter())
