"""What was recorded, as metrics and spans."""

from datetime import datetime
from itertools import pairwise

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from tests.recording.facts import END, START, Outbox, Run, failure

from freshet.recording import Measures
from freshet.storage.record import Recording
from freshet.telemetry import BOUNDS, Telemetry, make, parse
from freshet.telemetry.trace import Spans


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry("recorder", environ={})


def told(outbox: Outbox, recording: Recording, measures: Measures, *facts: dict[str, object]) -> None:
    measures.tell(recording.record([outbox.commit(fact) for fact in facts]))


def test_attempts_are_counted_and_their_durations_spread(
    outbox: Outbox, recording: Recording, telemetry: Telemetry
) -> None:
    run = Run()
    durations = [0.0, 0.001, 0.0011, 0.5, 7.0, 1e6]
    told(
        outbox,
        recording,
        Measures(telemetry),
        run.items("a", "succeeded", [[k, 1, took, None] for k, took in enumerate(durations)], kind="process"),
        run.items("a", "retrying", [[9, 1, 2.0, failure("no", "user")]], kind="process"),
    )
    names = {"cicd.pipeline.name": "score", "cicd.pipeline.task.name": "a", "freshet.task.kind": "process"}
    good = tuple(sorted((names | {"cicd.pipeline.task.run.result": "success"}).items()))
    bad = tuple(sorted((names | {"cicd.pipeline.task.run.result": "failure", "error.type": "user"}).items()))
    assert telemetry.points("freshet.item.attempts") == {good: 6, bad: 1}
    point = telemetry.points("freshet.item.duration")[good]
    assert (point.count, point.min, point.max) == (6, 0.0, 1e6)
    assert point.sum == pytest.approx(sum(durations))
    edges = [float("-inf"), *BOUNDS, float("inf")]
    expected = [sum(low < took <= high for took in durations) for low, high in pairwise(edges)]
    assert list(point.bucket_counts) == expected


def test_every_bound_is_the_upper_end_of_its_own_bucket(
    outbox: Outbox, recording: Recording, telemetry: Telemetry
) -> None:
    entries = [[k, 1, bound, None] for k, bound in enumerate(BOUNDS)]
    told(outbox, recording, Measures(telemetry), Run().items("a", "succeeded", entries))
    (point,) = telemetry.points("freshet.item.duration").values()
    assert list(point.bucket_counts) == [1] * len(BOUNDS) + [0]


def test_a_replay_counts_nothing_more(outbox: Outbox, recording: Recording, telemetry: Telemetry) -> None:
    entry = outbox.commit(Run().item("a", "succeeded"))
    for _ in range(2):
        Measures(telemetry).tell(recording.record([entry]))
    assert list(telemetry.points("freshet.item.attempts").values()) == [1]
    assert telemetry.points("freshet.recorder.facts") == {(): 1}


def test_claims_are_messages_consumed_and_tell_the_wait_in_the_queue(
    outbox: Outbox, recording: Recording, telemetry: Telemetry
) -> None:
    run = Run()
    fact = run.items(
        "a",
        "running",
        [[k, 1, None, None] for k in range(50)],
        queue="q",
        queued_at="2026-11-22T09:59:59.400000+00:00",
    )
    told(outbox, recording, Measures(telemetry), fact, run.item("b", "running", seconds=None))
    consumed = telemetry.points("messaging.client.consumed.messages")
    assert {dict(names).get("messaging.destination.name"): count for names, count in consumed.items()} == {
        "q": 1,
        None: 1,
    }
    ((names, point),) = telemetry.points("freshet.queue.wait").items()
    assert dict(names)["messaging.destination.name"] == "q"
    assert (point.count, point.sum) == (1, 1.0)


def test_an_attempt_that_went_back_is_a_return(outbox: Outbox, recording: Recording, telemetry: Telemetry) -> None:
    run = Run()
    told(
        outbox,
        recording,
        Measures(telemetry),
        run.item("a", "queued", error=failure("its worker died", "lost")),
        run.item("a", "queued", error="nobody serves it here"),
        run.item("a", "queued"),
    )
    returns = {dict(names)["error.type"]: count for names, count in telemetry.points("freshet.item.returns").items()}
    assert returns == {"lost": 1, "_OTHER": 1}


def test_a_run_tells_how_long_it_was_pending_and_executing(
    outbox: Outbox, recording: Recording, telemetry: Telemetry
) -> None:
    told(
        outbox,
        recording,
        Measures(telemetry),
        Run().fact("failed", at=END, created_at="2026-11-22T09:59:58.400000Z", error=failure("x", "user")),
    )
    points = telemetry.points("cicd.pipeline.run.duration")
    by_state = {dict(names)["cicd.pipeline.run.state"]: (names, point) for names, point in points.items()}
    assert by_state["pending"][1].sum == 2.0
    names, executing = by_state["executing"]
    assert (dict(names)["cicd.pipeline.result"], executing.sum) == ("failure", 35.5)
    errors = telemetry.points("cicd.pipeline.run.errors")
    assert errors == {(("cicd.pipeline.name", "score"), ("error.type", "user")): 1}


def test_a_task_tells_its_workflow_which_its_fact_does_not_name(
    outbox: Outbox, recording: Recording, telemetry: Telemetry
) -> None:
    run = Run()
    outbox.rows(
        "insert into engine.run (id, workflow, version, trigger, group_id)"
        " values (%s, 'score', 1, 'call', %s) returning id",
        run.id,
        run.id,
    )
    told(outbox, recording, Measures(telemetry), run.task("a", "succeeded"), run.task("b", "skipped"))
    ((names, point),) = telemetry.points("freshet.task.duration").items()
    assert (dict(names)["cicd.pipeline.name"], dict(names)["cicd.pipeline.task.name"]) == ("score", "a")
    assert (point.count, point.sum) == (1, 35.5)


def test_a_parked_row_is_counted(outbox: Outbox, recording: Recording, telemetry: Telemetry) -> None:
    told(outbox, recording, Measures(telemetry), Run().fact("succeeded", at="never"))
    assert telemetry.points("freshet.recorder.parked") == {(): 1}


def spans_of(outbox: Outbox, recording: Recording, run: Run, *facts: dict[str, object]) -> list[ReadableSpan]:
    outbox.rows(
        "insert into engine.run (id, workflow, version, trigger, group_id, traceparent)"
        " values (%s, 'score', 1, 'call', %s, %s) returning id",
        run.id,
        run.id,
        run.traceparent,
    )
    exporter = InMemorySpanExporter()
    telemetry = Telemetry("recorder", environ={})
    spans = Spans(SimpleSpanProcessor(exporter), telemetry.resource)
    told(outbox, recording, Measures(telemetry, spans), *facts)
    return list(exporter.get_finished_spans())


def test_a_run_is_one_trace_with_a_span_for_each_task(outbox: Outbox, recording: Recording) -> None:
    run = Run(traceparent=make())
    parent = parse(run.traceparent)
    assert parent is not None
    task, whole = spans_of(
        outbox,
        recording,
        run,
        run.task("a", "failed", error=failure("it broke")),
        run.fact("failed", at=END, error=failure("a failed")),
    )[::1]
    by_name = {span.name: span for span in (task, whole)}
    task, whole = by_name["a"], by_name["RUN score"]
    assert whole.context.span_id == parent.span_id
    assert whole.context.trace_id == task.context.trace_id == parent.trace_id
    assert task.parent is not None
    assert task.parent.span_id == parent.span_id
    assert (whole.start_time, whole.end_time) == tuple(
        int(datetime.fromisoformat(text).timestamp() * 10) * 100_000_000 for text in (START, END)
    )
    assert (task.status.status_code, task.status.description) == (StatusCode.ERROR, "it broke")
    assert (whole.attributes or {})["cicd.pipeline.result"] == "failure"


def test_a_trace_that_its_caller_does_not_sample_is_not_sent(outbox: Outbox, recording: Recording) -> None:
    run = Run(traceparent=make()[:-2] + "00")
    assert spans_of(outbox, recording, run, run.fact("succeeded", at=END)) == []


def test_a_run_without_a_trace_makes_no_span(outbox: Outbox, recording: Recording) -> None:
    run = Run()
    assert spans_of(outbox, recording, run, run.fact("succeeded", at=END), run.task("a", "succeeded")) == []
