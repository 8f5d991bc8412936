"""Logs: one JSON object per line on stderr.

Purpose: an event word, a sentence (`message`), and the ids that tie lines together (service, run_id, task,
attempt, trace_id). Guarantees: configured only by a `main`; libraries that use `logging` come out in the same
form, and so does the end of a thread by an error. Never: a secret, or a line while nothing happens.
"""

from __future__ import annotations

import logging
import sys
import threading
from typing import Any, TextIO

import orjson
import structlog
from opentelemetry import trace
from structlog.typing import EventDict, Processor, WrappedLogger


def configure(service: str, level: str = "INFO", *, stream: TextIO | None = None) -> None:
    """Send every log line of this process to `stream` (stderr) as JSON, at `level` and above."""
    processors = _processors(service)
    renderer = structlog.processors.JSONRenderer(serializer=_serialize)
    structlog.configure(
        processors=[*processors, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(_number(level)),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        foreign_pre_chain=[*processors, _foreign],
    )
    _install(formatter, level, stream or sys.stderr)
    threading.excepthook = _thread_failed


def logger(**bound: Any) -> structlog.typing.FilteringBoundLogger:
    """A logger with `bound` values: `logger(run_id=…).info("run_parked", message="…")`."""
    bound_logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(**bound)
    return bound_logger


def _install(formatter: logging.Formatter, level: str, stream: TextIO) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_number(level))


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    """A thread that nobody guards, such as the connector's that ends an overdue query of an unreachable Snowflake."""
    if failure.exc_type is SystemExit:
        return
    name = failure.thread.name if failure.thread is not None else "unnamed"
    sentence = f"The thread {name} ended with an error; the rest of the process goes on without it."
    info = (failure.exc_type, failure.exc_value, failure.exc_traceback)
    logger(thread=name).error("thread_failed", message=sentence, exc_info=info)


def _processors(service: str) -> list[Processor]:
    def name_service(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event.setdefault("service", service)
        return event

    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        name_service,
        _trace,
        structlog.processors.format_exc_info,
    ]


def _trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event.setdefault("trace_id", trace.format_trace_id(context.trace_id))
    return event


def _foreign(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A line of a library: its text is the message, its logger's name the event word."""
    record = event.get("_record")
    event["message"] = event.pop("event", "")
    event["event"] = record.name if isinstance(record, logging.LogRecord) else "library"
    return event


def _serialize(event: EventDict, **_kwargs: Any) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _number(level: str) -> int:
    return logging.getLevelNamesMapping()[level.upper()]
