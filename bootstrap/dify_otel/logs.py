"""Trace and span ids on Dify's log records, and the records themselves over OTLP when asked.

Dify's own formatters (text since 1.11, JSON) read the current span and need nothing. Other formats may use
`%(otelTraceID)s` and `%(otelSpanID)s`, the names of OpenTelemetry's logging instrumentation. No format is changed
unless `OTEL_PYTHON_LOG_CORRELATION`, that instrumentation's switch, asks for it.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from dify_otel_instrumentors.core import content as encoding
from dify_otel_instrumentors.core import guard
from opentelemetry import trace


def mark_records() -> None:
    """Give every log record `otelTraceID`, `otelSpanID` and `otelTraceSampled`, as the logging instrumentation does."""
    make = logging.getLogRecordFactory()
    if getattr(make, "_dify_otel", False):
        return

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        record.otelTraceID = record.otelSpanID = "0"
        record.otelTraceSampled = False
        try:
            context = trace.get_current_span().get_span_context()
            if context.is_valid:
                record.otelTraceID = f"{context.trace_id:032x}"
                record.otelSpanID = f"{context.span_id:016x}"
                record.otelTraceSampled = context.trace_flags.sampled
        except Exception:
            guard.failed("logs.record")
        return record

    factory._dify_otel = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(factory)
    if os.environ.get("OTEL_PYTHON_LOG_CORRELATION", "").strip().lower() == "true":
        _correlate(logging.getLogger().handlers)


_IDS = " trace_id=%(otelTraceID)s span_id=%(otelSpanID)s"


def _correlate(handlers: Any) -> None:
    """Put the ids at the end of each text format that has none of its own."""
    for handler in list(handlers):
        style = getattr(handler.formatter, "_style", None)
        if type(style) is not logging.PercentStyle or "otelTraceID" in style._fmt or "span_id" in style._fmt:
            continue
        # Records that were made before, or by others' classes, do not have them: without this logging complains.
        defaults = {**(getattr(style, "_defaults", None) or {}), "otelTraceID": "0", "otelSpanID": "0"}
        vars(style).update(_fmt=style._fmt + _IDS, _defaults=defaults)
        handler.formatter._fmt = style._fmt


WITHHELD = "(text withheld: content capture is off)"


_KEPT = frozenset(
    (
        *("name", "levelno", "levelname", "pathname", "filename", "module", "lineno", "funcName"),
        *("created", "msecs", "relativeCreated", "thread", "threadName", "process", "processName", "taskName"),
    )
)


def _bare(record: logging.LogRecord) -> logging.LogRecord:
    """The record as its template: Dify logs queries, answers and users as arguments, Celery a task's as extra fields.

    A text without arguments may have been put together before it was logged, so it is withheld.
    """
    bare = logging.makeLogRecord({k: v for k, v in record.__dict__.items() if k in _KEPT})
    bare.msg = _worded(record.msg)[:1024] if record.args else WITHHELD
    bare.args = ()
    return bare


def _worded(template: Any) -> str:
    """What may be logged is any object, also one that cannot be put into words."""
    try:
        return str(template)
    except Exception:
        return f"<{type(template).__name__}>"


RECORD_MAX = 8192
"""Characters of an exported log record's text."""


def _scrubbed(record: logging.LogRecord) -> logging.LogRecord:
    """The record as it reads, without secrets: clients log the addresses they ask, an exception's text quotes them."""
    spoken = logging.makeLogRecord({k: v for k, v in record.__dict__.items() if k in _KEPT})
    try:
        text = record.getMessage()
    except Exception:  # arguments that do not fit the template: Dify's own handlers complain of them
        text = _worded(record.msg)
    if record.exc_info:
        text = f"{text}\n{_FORMATTER.formatException(record.exc_info)}"
    spoken.msg = encoding.cut(text, RECORD_MAX)
    spoken.args = ()
    return spoken


_FORMATTER = logging.Formatter()


def provider(resource: Any, exporter: Any, records: bool, content: bool = False) -> Any:
    """A logger provider that exports in batches; with `records`, also what Dify logs (but not the exporters)."""
    from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    made = LoggerProvider(resource=resource, shutdown_on_exit=False)
    made.add_log_record_processor(BatchLogRecordProcessor(exporter))
    if records:

        class Handler(LoggingHandler):
            def handle(self, record: logging.LogRecord) -> Any:
                # logging lets what a handler raises through to whoever logged.
                try:
                    return super().handle(record)
                except Exception:
                    guard.failed("logs.handle")
                    return False

            def emit(self, record: logging.LogRecord) -> None:
                super().emit(_scrubbed(record) if content else _bare(record))

            def flush(self) -> None:
                # The SDK's starts a thread, which a process that is ending no longer can; Sdk.flush does this.
                return None

        handler = Handler(logger_provider=made)
        handler.addFilter(lambda r: not r.name.startswith(("opentelemetry", "dify_otel", "grpc", "urllib3")))
        logging.getLogger().addHandler(handler)
    return made


def emitter(made: Any) -> Any:
    """A function that emits one event: `(name, attributes, context)`."""
    import time

    from opentelemetry import _logs

    logger = made.get_logger("dify-otel")
    record: Any = getattr(_logs, "LogRecord")
    named = "event_name" in getattr(record.__init__, "__annotations__", {}) or _takes(record, "event_name")

    def emit(name: str, attributes: Any, context: Any) -> None:
        span = trace.get_current_span(context).get_span_context()
        facts: dict[str, Any] = {
            "timestamp": time.time_ns(),
            "severity_number": _logs.SeverityNumber.DEBUG,  # as the convention has it
            "attributes": dict(attributes),
        }
        if named:
            facts["event_name"] = name
        else:  # before opentelemetry-api 1.33 an event is a record with this attribute
            facts["attributes"]["event.name"] = name
            # Their encoder raises for a record without a body, and loses the whole batch with it.
            facts["body"] = ""
        if _takes(record, "context"):
            facts["context"] = context
        else:
            facts.update(trace_id=span.trace_id, span_id=span.span_id, trace_flags=span.trace_flags)
        logger.emit(_sdk_record(made, facts) or record(**facts))

    return emit


def _takes(kind: Any, parameter: str) -> bool:
    import inspect

    try:
        return parameter in inspect.signature(kind).parameters
    except (TypeError, ValueError):
        return False


def _sdk_record(made: Any, facts: dict[str, Any]) -> Any:
    """Until 1.34 the SDK exports only its own record class, which carries the resource."""
    from opentelemetry.sdk import _logs as sdk_logs

    kind = getattr(sdk_logs, "LogRecord", None)
    if kind is None or not _takes(kind, "resource"):
        return None
    known = {k: v for k, v in facts.items() if _takes(kind, k)}
    return kind(**known, resource=made.resource)
