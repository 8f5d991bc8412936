"""Histograms that take whole buckets at once.

Purpose: the recorder learns about ten thousand items in one statement, already counted into buckets by Postgres; the
SDK's histogram takes one value at a time, 18 µs each, as dear as writing the item. So the sums are kept here and join
the SDK's metrics on their way to a reader, at the point that a reader is meant to override. Guarantees: cumulative
since the process's start, whatever temporality an exporter prefers (each point says so); safe between threads. Never:
an instrument that is not in the table.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    InMemoryMetricReader,
    Metric,
    MetricsData,
    PeriodicExportingMetricReader,
    ScopeMetrics,
)

from freshet.telemetry.metrics import BOUNDS, BY_NAME

#: Name of the instrumentation scope of all our metrics.
SCOPE = "freshet"

Attributes = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Several values of one bucket."""

    bucket: int  # index among BOUNDS; one past the last for what is longer
    count: int
    total: float  # sum of the values
    low: float
    high: float


@dataclass(kw_only=True, slots=True)
class _Series:
    counts: list[int]
    total: float = 0.0
    low: float = float("inf")
    high: float = float("-inf")


class Histograms:
    """What was recorded since the start, by metric and attributes."""

    def __init__(self) -> None:
        self._series: dict[str, dict[Attributes, _Series]] = {}
        self._lock = threading.Lock()
        self._start = time.time_ns()

    def record(self, name: str, value: float, attributes: Attributes) -> None:
        """One value."""
        bucket = bisect_left(BOUNDS, value)
        self.merge(name, Spread(bucket=bucket, count=1, total=value, low=value, high=value), attributes)

    def merge(self, name: str, spread: Spread, attributes: Attributes) -> None:
        """Several values of one bucket."""
        with self._lock:
            rows = self._series.setdefault(name, {})
            series = rows.setdefault(attributes, _Series(counts=[0] * (len(BOUNDS) + 1)))
            series.counts[spread.bucket] += spread.count
            series.total += spread.total
            series.low = min(series.low, spread.low)
            series.high = max(series.high, spread.high)

    def complete(self, data: MetricsData) -> MetricsData:
        """The SDK's metrics with these among them."""
        first, *rest = data.resource_metrics
        ours = self._metrics()
        scopes = [_joined(scope, ours) for scope in first.scope_metrics]
        return MetricsData(resource_metrics=[replace(first, scope_metrics=scopes), *rest])

    def _metrics(self) -> list[Metric]:
        now = time.time_ns()
        with self._lock:
            return [self._metric(name, rows, now) for name, rows in self._series.items()]

    def _metric(self, name: str, rows: Mapping[Attributes, _Series], now: int) -> Metric:
        points = [self._point(attributes, series, now) for attributes, series in rows.items()]
        data = Histogram(data_points=points, aggregation_temporality=AggregationTemporality.CUMULATIVE)
        return Metric(name=name, description=BY_NAME[name].description, unit=BY_NAME[name].unit, data=data)

    def _point(self, attributes: Attributes, series: _Series, now: int) -> HistogramDataPoint:
        return HistogramDataPoint(
            attributes=dict(attributes),
            start_time_unix_nano=self._start,
            time_unix_nano=now,
            count=sum(series.counts),
            sum=series.total,
            bucket_counts=tuple(series.counts),
            explicit_bounds=BOUNDS,
            min=series.low,
            max=series.high,
        )


def _joined(scope: ScopeMetrics, ours: Sequence[Metric]) -> ScopeMetrics:
    return replace(scope, metrics=[*scope.metrics, *ours]) if scope.scope.name == SCOPE else scope


class PrometheusReader(PrometheusMetricReader):
    """Into a registry of its own."""

    def __init__(self, histograms: Histograms, **arguments: Any) -> None:
        self._histograms = histograms
        super().__init__(**arguments)

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **rest: Any) -> None:
        super()._receive_metrics(self._histograms.complete(metrics_data), timeout_millis, **rest)


class PushingReader(PeriodicExportingMetricReader):
    """To an exporter, from a thread of the SDK's."""

    def __init__(self, histograms: Histograms, exporter: Any, **arguments: Any) -> None:
        # The base class starts its thread at once.
        self._histograms = histograms
        super().__init__(exporter, **arguments)

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **rest: Any) -> None:
        super()._receive_metrics(self._histograms.complete(metrics_data), timeout_millis, **rest)


class MemoryReader(InMemoryMetricReader):
    """For tests."""

    def __init__(self, histograms: Histograms, **arguments: Any) -> None:
        self._histograms = histograms
        super().__init__(**arguments)

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **rest: Any) -> None:
        super()._receive_metrics(self._histograms.complete(metrics_data), timeout_millis, **rest)
