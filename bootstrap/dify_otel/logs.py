"""Trace and span ids on Dify's log records, and the records themselves over OTLP when asked.

Dify's own formatters (text since 1.11, JSON) read the current span and need nothing. Other formats may use
`%(otelTraceID)s` and `%(otelSpanID)s`, the names of OpenTelemetry's logging instrumentation. No format is changed.
"""

from __future__ import annotations

import logging
from typing import Any

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


def export(resource: Any, exporter: Any) -> Any:
    """Send records of the root logger and below over OTLP; our own and the exporters' stay out. Gives the provider."""
    from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    handler = LoggingHandler(logger_provider=provider)
    handler.addFilter(lambda record: not record.name.startswith(("opentelemetry", "dify_otel", "grpc", "urllib3")))
    logging.getLogger().addHandler(handler)
    return provider
