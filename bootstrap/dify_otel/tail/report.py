"""A trace as one JSON object: what `--json` prints, one line a request, for `jq` and for scripts.

The keys are a promise to those scripts. Times are seconds, starts are UTC, money stands under its currency.
"""

from __future__ import annotations

import json
from typing import Any

from dify_otel.tail import facts, figures
from dify_otel.tail.masking import masked, masked_text
from dify_otel.tail.span import Span
from dify_otel.tail.tree import Trace


def line(trace: Trace, again: bool = False) -> str:
    """One line without line breaks. `again` marks a trace printed before, now with its late spans."""
    return json.dumps(_trace(trace, again), ensure_ascii=False, default=str)


def _trace(trace: Trace, again: bool) -> dict[str, Any]:
    said = facts.summary(trace)
    return {
        "trace_id": trace.trace_id,
        "name": trace.root.span.name,
        "app": {"name": said.app, "id": said.app_id, "mode": said.mode},
        "start": figures.iso(trace.start_ns),
        "duration": trace.duration,
        "failed": trace.root.span.failed,
        "complete": trace.complete,
        "again": again,
        "time_to_first_chunk": said.first_chunk,
        "tokens": None
        if said.tokens is None
        else {"input": said.tokens.input, "output": said.tokens.output, "total": said.tokens.total},
        "cost": dict(said.cost),
        "models": list(said.models),
        "services": list(said.services),
        "errors": [
            {"span": failure.name, "type": failure.type, "message": masked_text(failure.message)}
            for failure in said.failures
        ],
        "spans": [_span(node.span, trace.start_ns) for node in trace.nodes],
    }


def _span(span: Span, start_ns: int) -> dict[str, Any]:
    return {
        "span_id": span.span_id,
        "parent_id": span.parent_id or None,
        "name": span.name,
        "kind": span.kind,
        "service": span.service,
        "scope": span.scope,
        "offset": (span.start_ns - start_ns) / 1e9,
        "duration": span.duration,
        "status": span.status,
        "status_message": masked_text(span.status_message),
        "attributes": {key: masked(key, value) for key, value in span.attributes.items()},
        "events": [
            {"name": event.name, "attributes": {key: masked(key, value) for key, value in event.attributes.items()}}
            for event in span.events
        ],
        "links": [{"trace_id": link.trace_id, "span_id": link.span_id} for link in span.links],
    }
