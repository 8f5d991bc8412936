"""Metrics: the table, what is accepted, and what comes out."""

import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from freshet.telemetry import BOUNDS, METRICS, Shape, Spread, Telemetry
from freshet.telemetry.document import document
from freshet.telemetry.telemetry import pushes, resource

DOCUMENT = Path(__file__).parents[2] / "docs" / "telemetry.md"
FORBIDDEN = re.compile(r"(^|[._])(id|uuid|key|pid|worker\.name|index|item|attempt|trace)($|[._])")


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry("recorder", environ={})


def test_the_published_table_is_fresh() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document()


def test_an_id_is_never_an_attribute() -> None:
    named = {(each.name, attribute) for each in METRICS for attribute in each.attributes}
    assert named
    assert [pair for pair in named if FORBIDDEN.search(pair[1])] == []


def test_every_metric_has_a_name_of_its_own_a_unit_and_a_sentence() -> None:
    assert len({each.name for each in METRICS}) == len(METRICS)
    for each in METRICS:
        assert re.fullmatch(r"s|\{[a-z]+\}", each.unit)
        assert each.description.endswith(".")
        assert each.name.startswith(("freshet.", "cicd.", "messaging.", "process.", "http."))


def test_bounds_rise() -> None:
    assert list(BOUNDS) == sorted(set(BOUNDS))


def test_an_attribute_that_is_not_in_the_table_is_refused(telemetry: Telemetry) -> None:
    with pytest.raises(KeyError, match="run_id"):
        telemetry.add("freshet.item.attempts", 1, {"run_id": "x"})
    with pytest.raises(KeyError, match="histogram"):
        telemetry.add("freshet.item.duration", 1)
    with pytest.raises(KeyError, match=r"nothing\.known"):
        telemetry.record("nothing.known", 1.0)


def test_one_value_falls_into_the_bucket_that_it_does_not_exceed(telemetry: Telemetry) -> None:
    for value in (0.001, 0.0011, 1e9):
        telemetry.record("freshet.dispatch.hop", value)
    (point,) = telemetry.points("freshet.dispatch.hop").values()
    assert list(point.bucket_counts) == [1, 1, *[0] * (len(BOUNDS) - 2), 1]
    assert (point.count, point.min, point.max) == (3, 0.001, 1e9)


def test_whole_buckets_add_up_with_single_values(telemetry: Telemetry) -> None:
    telemetry.merge("freshet.dispatch.hop", Spread(bucket=1, count=500, total=1.0, low=0.0015, high=0.0025))
    telemetry.record("freshet.dispatch.hop", 0.002)
    (point,) = telemetry.points("freshet.dispatch.hop").values()
    assert (point.count, point.sum, point.bucket_counts[1]) == (501, 1.002, 501)


def test_threads_lose_no_count(telemetry: Telemetry) -> None:
    def many() -> None:
        for _ in range(2000):
            telemetry.record("freshet.dispatch.hop", 0.002)
            telemetry.add("freshet.recorder.facts", 1)

    threads = [threading.Thread(target=many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (point,) = telemetry.points("freshet.dispatch.hop").values()
    assert point.count == 8000
    assert telemetry.points("freshet.recorder.facts") == {(): 8000}


def test_prometheus_sees_counters_and_histograms_with_their_units(telemetry: Telemetry) -> None:
    telemetry.add("freshet.recorder.facts", 3)
    telemetry.record("freshet.dispatch.hop", 0.002)
    telemetry.observe("freshet.worker.busy.time", lambda: [(1.5, {})])
    body, content_type = telemetry.exposition()
    lines = body.decode().splitlines()
    assert content_type.startswith("text/plain; version=")
    assert "freshet_recorder_facts_total 3.0" in lines
    assert "freshet_worker_busy_time_seconds_total 1.5" in lines
    assert 'freshet_dispatch_hop_seconds_bucket{le="0.001"} 0.0' in lines
    assert 'freshet_dispatch_hop_seconds_bucket{le="0.0025"} 1.0' in lines
    assert 'freshet_dispatch_hop_seconds_bucket{le="+Inf"} 1.0' in lines
    assert "freshet_dispatch_hop_seconds_sum 0.002" in lines
    assert any(line.startswith("process_uptime_seconds ") for line in lines)


def test_a_histogram_alone_is_exposed_too(telemetry: Telemetry) -> None:
    telemetry.record("freshet.dispatch.hop", 0.002)
    assert b"freshet_dispatch_hop_seconds_count 1.0" in telemetry.exposition()[0]


def test_two_telemetries_in_one_process_share_nothing(telemetry: Telemetry) -> None:
    other = Telemetry("dispatcher", environ={})
    telemetry.add("freshet.recorder.facts", 3)
    assert other.points("freshet.recorder.facts") == {}
    assert b"freshet_recorder_facts" not in other.exposition()[0]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c:4318/v1/metrics"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_METRICS_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_metrics_are_pushed_where_the_environment_says(environ: dict[str, str], expected: bool) -> None:
    assert pushes(environ, "METRICS") is expected


def test_the_service_is_named_unless_the_environment_names_it() -> None:
    assert resource("recorder", {}).attributes["service.name"] == "freshet-recorder"
    assert resource("recorder", {"OTEL_SERVICE_NAME": "x"}).attributes["service.name"] != "freshet-recorder"


class _Collector(BaseHTTPRequestHandler):
    bodies: list[tuple[str, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.bodies.append((self.path, body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class's name)
        pass


def test_otlp_carries_counters_and_histograms(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[tuple[str, bytes]] = []
    handler = type("Handler", (_Collector,), {"bodies": received})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    try:
        telemetry = Telemetry("dispatcher")
        telemetry.add("freshet.recorder.facts", 3)
        telemetry.merge("freshet.dispatch.hop", Spread(bucket=1, count=5, total=0.01, low=0.002, high=0.002))
        telemetry.close()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert [path for path, _ in received] == ["/v1/metrics"]
    body = received[0][1]
    assert b"freshet.dispatch.hop" in body
    assert b"freshet.recorder.facts" in body
    assert b"freshet-dispatcher" in body


def test_shapes_are_all_in_use() -> None:
    assert {each.shape for each in METRICS} == set(Shape)
