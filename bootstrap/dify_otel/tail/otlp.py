"""From the bytes of an OTLP trace export to plain spans.

The only file that knows the protobuf messages, so that everything else can be tested with data written by hand.
"""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from dify_otel.tail.span import Event, Link, Span, Value

_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_STATUSES = ("UNSET", "OK", "ERROR")


def spans(body: bytes) -> list[Span]:
    """The spans of one export request, in the sender's order.

    Raises `google.protobuf.message.DecodeError` when the bytes are no such request.
    """
    request = ExportTraceServiceRequest.FromString(body)
    found = []
    for resource_spans in request.resource_spans:
        resource = _pairs(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            scope = scope_spans.scope
            found += [_span(span, resource, scope.name, scope.version) for span in scope_spans.spans]
    return found


def _span(span: trace_pb2.Span, resource: dict[str, Value], scope: str, version: str) -> Span:
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        # An all-zero parent is how some senders write "none".
        parent_id=span.parent_span_id.hex() if any(span.parent_span_id) else "",
        name=span.name,
        kind=_word(_KINDS, span.kind),
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        attributes=_pairs(span.attributes),
        status=_word(_STATUSES, span.status.code),
        status_message=span.status.message,
        events=tuple(Event(event.name, event.time_unix_nano, _pairs(event.attributes)) for event in span.events),
        links=tuple(Link(link.trace_id.hex(), link.span_id.hex(), _pairs(link.attributes)) for link in span.links),
        resource=resource,
        scope=scope,
        scope_version=version,
    )


def _word(words: tuple[str, ...], code: int) -> str:
    return words[code] if 0 <= code < len(words) else words[0]


def _pairs(pairs: Iterable[KeyValue]) -> dict[str, Value]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Value:
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "int_value":
            return value.int_value
        case "double_value":
            return value.double_value
        case "bytes_value":
            return value.bytes_value
        case "array_value":
            return [_value(item) for item in value.array_value.values]
        case "kvlist_value":
            return _pairs(value.kvlist_value.values)
        case _:
            return None
