"""Spans of the sample, sent by the OpenTelemetry SDK's own exporters, as the world sends them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from dify_otel.tail.span import Span
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags


class Exporter(Protocol):
    def export(self, spans: Sequence[ReadableSpan]) -> Any: ...


def send(exporter: Exporter, spans: Iterable[Span]) -> None:
    """Raises AssertionError when the exporter reports a failure."""
    result = exporter.export([readable(span) for span in spans])
    assert result.name == "SUCCESS"


def readable(span: Span) -> ReadableSpan:
    return ReadableSpan(
        name=span.name,
        context=_context(span.trace_id, span.span_id),
        parent=_context(span.trace_id, span.parent_id) if span.parent_id else None,
        resource=Resource(dict(span.resource)),
        attributes=dict(span.attributes),
        events=[Event(event.name, dict(event.attributes), event.time_ns) for event in span.events],
        links=[Link(_context(link.trace_id, link.span_id), dict(link.attributes)) for link in span.links],
        kind=SpanKind[span.kind],
        instrumentation_scope=InstrumentationScope(span.scope or "tests", span.scope_version),
        status=Status(StatusCode[span.status], span.status_message or None),
        start_time=span.start_ns,
        end_time=span.end_ns,
    )


def _context(trace_id: str, span_id: str) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
