"""What was recorded, as metrics and spans.

Purpose: tallies made by Postgres become one `add` or one `merge` for each set of names. Guarantees: told after the
commit; names only, never an id. Never: a loop over items.
"""

from __future__ import annotations

from freshet.storage.record import Ended, Recorded, Tally
from freshet.telemetry import Spread, Telemetry
from freshet.telemetry.metrics import (
    ERROR,
    KIND,
    OPERATION,
    QUEUE,
    RUN_RESULT,
    RUN_STATE,
    SYSTEM,
    TASK,
    TASK_RESULT,
    WORKFLOW,
)
from freshet.telemetry.telemetry import Names
from freshet.telemetry.trace import Spans

#: OpenTelemetry's words for how a pipeline or a task of it ended.
RESULTS = {
    "succeeded": "success",
    "failed": "failure",
    "expired": "timeout",
    "cancelled": "cancellation",
    "skipped": "skip",
}
#: What it calls what went wrong when nothing more is known.
OTHER_ERROR = "_OTHER"


class Measures:
    """Where a recorder tells what it recorded."""

    def __init__(self, telemetry: Telemetry, spans: Spans | None = None) -> None:
        """`spans`: where ended runs and TaskRuns go; None: nowhere."""
        self._telemetry = telemetry
        self._spans = spans
        self._of = {
            "attempts": self._attempts,
            "claims": self._claims,
            "returns": self._returns,
            "tasks": self._tasks,
            "runs": self._runs,
            "starts": self._starts,
        }

    def tell(self, recorded: Recorded) -> None:
        """Count it."""
        if recorded.facts:
            self._telemetry.add("freshet.recorder.facts", recorded.facts)
        if recorded.parked:
            self._telemetry.add("freshet.recorder.parked", recorded.parked)
        for tally in recorded.tallies:
            self._of[tally.measure](tally)
        if self._spans is not None:
            for ended in recorded.ended:
                _send(self._spans, ended)

    def _attempts(self, tally: Tally) -> None:
        names = _of_task(tally)
        self._telemetry.add("freshet.item.attempts", tally.count, names)
        self._merge("freshet.item.duration", tally, names)

    def _claims(self, tally: Tally) -> None:
        names = {SYSTEM: "freshet", OPERATION: "claim", QUEUE: tally.queue}
        self._telemetry.add("messaging.client.consumed.messages", tally.count, names)
        waited = {WORKFLOW: tally.workflow, TASK: tally.task, KIND: tally.kind, QUEUE: tally.queue}
        self._merge("freshet.queue.wait", tally, waited)

    def _returns(self, tally: Tally) -> None:
        names = {WORKFLOW: tally.workflow, TASK: tally.task, KIND: tally.kind, ERROR: tally.error_class}
        self._telemetry.add("freshet.item.returns", tally.count, names)

    def _tasks(self, tally: Tally) -> None:
        self._merge("freshet.task.duration", tally, _of_task(tally))

    def _runs(self, tally: Tally) -> None:
        result = RESULTS[tally.state]
        names = {
            WORKFLOW: tally.workflow,
            RUN_STATE: "executing",
            RUN_RESULT: result,
            ERROR: tally.error_class,
        }
        self._merge("cicd.pipeline.run.duration", tally, names)
        if tally.state == "failed":
            errors = {WORKFLOW: tally.workflow, ERROR: tally.error_class or OTHER_ERROR}
            self._telemetry.add("cicd.pipeline.run.errors", tally.count, errors)

    def _starts(self, tally: Tally) -> None:
        names = {WORKFLOW: tally.workflow, RUN_STATE: "pending"}
        self._merge("cicd.pipeline.run.duration", tally, names)

    def _merge(self, name: str, tally: Tally, names: Names) -> None:
        if tally.bucket is None or tally.seconds is None or tally.low is None or tally.high is None:
            return  # nothing of it was timed
        spread = Spread(bucket=tally.bucket, count=tally.count, total=tally.seconds, low=tally.low, high=tally.high)
        self._telemetry.merge(name, spread, names)


def _of_task(tally: Tally) -> Names:
    return {
        WORKFLOW: tally.workflow,
        TASK: tally.task,
        KIND: tally.kind,
        TASK_RESULT: RESULTS[tally.state],
        ERROR: tally.error_class,
    }


def _send(spans: Spans, ended: Ended) -> None:
    if ended.task is None:
        spans.run_ended(
            traceparent=ended.traceparent,
            run_id=str(ended.run_id),
            workflow=ended.workflow or "",
            result=RESULTS[ended.state],
            started_at=ended.started_at,
            finished_at=ended.finished_at,
            error=ended.error,
        )
        return
    spans.task_ended(
        traceparent=ended.traceparent,
        run_id=str(ended.run_id),
        workflow=ended.workflow or "",
        task=ended.task,
        index_path=ended.index_path or "",
        result=RESULTS[ended.state],
        started_at=ended.started_at,
        finished_at=ended.finished_at,
        error=ended.error,
    )
