"""The metrics that exist, with unit and advised buckets, and the one way to record a point.

Official GenAI names are those of core semantic conventions 1.41.1 (`gen_ai.client.*`), which dashboards and ARMS read;
beside them those of semantic-conventions-genai's main (`gen_ai.client.inference.*`), unless `DIFY_OTEL_SEMCONV=1.41`;
`dify.*` follows Dify's own enterprise dictionary where it has a name. No metric ever carries an id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import guard

_D = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_NODE = (*_D, 163.84, 327.68)
_W = (1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0)
_A = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 102.4, 204.8, 409.6)
_T = tuple(float(4**n) for n in range(14))
_N = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
_DOCUMENTS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
_WAIT = (60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0, 86400.0, 259200.0, 604800.0)
_SCORES = tuple(n / 10 for n in range(1, 10))


@dataclass(frozen=True, slots=True)
class Metric:
    """`kind` is `counter`, `updown` or `histogram`; `buckets` advises histogram boundaries."""

    name: str
    kind: str
    unit: str
    description: str
    buckets: tuple[float, ...] = ()


METRICS: tuple[Metric, ...] = (
    Metric("gen_ai.client.operation.duration", "histogram", "s", "Duration of a model operation", _D),
    Metric("gen_ai.client.token.usage", "histogram", "{token}", "Tokens used by a model operation", _T),
    Metric("gen_ai.client.operation.time_to_first_chunk", "histogram", "s", "Model call to its first chunk", _D),
    Metric("gen_ai.client.operation.time_per_output_chunk", "histogram", "s", "Mean time between chunks of a call", _D),
    Metric("gen_ai.client.inference.duration", "histogram", "s", "Duration of an inference", _D),
    Metric("gen_ai.client.inference.time_to_first_chunk", "histogram", "s", "Inference to its first chunk", _D),
    Metric("gen_ai.client.inference.time_per_output_chunk", "histogram", "s", "Mean time between its chunks", _D),
    Metric(
        "gen_ai.client.inference.operation.input_tokens", "histogram", "{token}", "Input tokens of an inference", _T
    ),
    Metric(
        "gen_ai.client.inference.operation.output_tokens", "histogram", "{token}", "Output tokens of an inference", _T
    ),
    Metric("gen_ai.client.inference.usage.input_tokens", "counter", "{token}", "Input tokens used"),
    Metric("gen_ai.client.inference.usage.output_tokens", "counter", "{token}", "Output tokens used"),
    Metric("gen_ai.client.inference.usage.cache_read.input_tokens", "counter", "{token}", "Input tokens from a cache"),
    Metric(
        "gen_ai.client.inference.usage.cache_write.input_tokens", "counter", "{token}", "Input tokens put in a cache"
    ),
    Metric("gen_ai.client.inference.usage.reasoning.output_tokens", "counter", "{token}", "Output tokens of reasoning"),
    Metric("gen_ai.execute_tool.duration", "histogram", "s", "Duration of a tool execution", _D),
    Metric("gen_ai.invoke_workflow.duration", "histogram", "s", "Duration of a workflow invocation", _W),
    Metric("gen_ai.invoke_agent.duration", "histogram", "s", "Duration of an agent invocation", _A),
    Metric("gen_ai.invoke_agent.inference_calls", "histogram", "{call}", "Model calls of an agent invocation", _N),
    Metric("gen_ai.invoke_agent.tool_calls", "histogram", "{call}", "Tool calls of an agent invocation", _N),
    Metric("dify.app.requests", "counter", "{request}", "App requests by outcome"),
    Metric("dify.app.request.duration", "histogram", "s", "App request to the last byte of its answer", _W),
    Metric("dify.app.time_to_first_chunk", "histogram", "s", "App request to the first chunk of its answer", _D),
    Metric("dify.app.active_requests", "updown", "{request}", "App requests being served"),
    Metric("dify.workflow.duration", "histogram", "s", "Duration of a workflow run", _W),
    Metric("dify.workflow.active_runs", "updown", "{run}", "Workflow runs being executed"),
    Metric("dify.workflow.steps", "histogram", "{node}", "Nodes executed by a workflow run", _N),
    Metric("dify.workflow.pauses", "counter", "{pause}", "Workflow runs that paused"),
    Metric("dify.human_input.wait.duration", "histogram", "s", "Run paused for a person to run resumed", _WAIT),
    Metric("dify.node.duration", "histogram", "s", "Duration of a node execution", _NODE),
    Metric("dify.node.executions", "counter", "{execution}", "Node executions by status"),
    Metric("dify.node.retries", "counter", "{retry}", "Node executions that were retries"),
    Metric("dify.iteration.items", "histogram", "{item}", "Items of an iteration", _N),
    Metric("dify.iteration.failed_items", "counter", "{item}", "Items of iterations that failed"),
    Metric("dify.celery.queue.wait.duration", "histogram", "s", "Task published to task started", _D),
    Metric("dify.retrieval.duration", "histogram", "s", "Duration of a knowledge retrieval", _D),
    Metric("dify.retrieval.documents", "histogram", "{document}", "Documents a retrieval gave", _DOCUMENTS),
    Metric("dify.retrieval.max_score", "histogram", "1", "Best score of a retrieval", _SCORES),
    Metric("dify.retrieval.empty", "counter", "{retrieval}", "Retrievals that gave no document"),
    Metric("dify.rerank.duration", "histogram", "s", "Duration of a rerank call", _D),
    Metric("dify.rerank.input_documents", "histogram", "{document}", "Documents given to a rerank call", _DOCUMENTS),
    Metric("dify.tool.duration", "histogram", "s", "Duration of a tool execution", _D),
    Metric("dify.agent.iterations", "histogram", "{iteration}", "Iterations of an agent invocation", _N),
    Metric("dify.tokens", "counter", "{token}", "Tokens by operation and type, leaf calls only"),
    Metric("dify.cost", "counter", "1", "Price of model calls, by currency"),
    Metric("dify.model.rate_limited", "counter", "{call}", "Model calls that a provider's rate limit refused"),
    Metric("dify.model.quota_exceeded", "counter", "{call}", "Model calls that Dify's quota refused"),
    Metric("dify.moderation.checks", "counter", "{check}", "Moderation checks by result"),
    Metric("dify.sandbox.duration", "histogram", "s", "Duration of a code execution", _D),
    Metric("dify.sandbox.errors", "counter", "{error}", "Code executions that failed"),
    Metric("dify.indexing.duration", "histogram", "s", "Duration of a document indexing run", _W),
    Metric("dify.otel.spans.exported", "counter", "{span}", "Spans handed over to the backend"),
    Metric("dify.otel.spans.dropped", "counter", "{span}", "Spans lost, by reason"),
)

LABELS_MAX = 2000
"""Distinct label sets a metric may have in a process; points past it are counted under `other`."""

_instruments: dict[str, tuple[str, Any]] = {}
_seen: dict[str, set[tuple[Any, ...]]] = {}


def configure(meter: Any) -> None:
    """Make the instruments on `meter` (an OpenTelemetry Meter); None forgets them."""
    _instruments.clear()
    _seen.clear()
    if meter is None:
        return
    for metric in METRICS:
        _instruments[metric.name] = (metric.kind, _make(meter, metric))


def _make(meter: Any, metric: Metric) -> Any:
    arguments = {"name": metric.name, "unit": metric.unit, "description": metric.description}
    if metric.kind == "counter":
        return meter.create_counter(**arguments)
    if metric.kind == "updown":
        return meter.create_up_down_counter(**arguments)
    try:
        return meter.create_histogram(**arguments, explicit_bucket_boundaries_advisory=list(metric.buckets))
    except TypeError:  # the advisory parameter came with opentelemetry-api 1.28
        return meter.create_histogram(**arguments)


def active() -> bool:
    """Whether points are recorded at all."""
    return bool(_instruments)


def record(name: str, value: float, labels: Mapping[str, Any]) -> None:
    """Record one point; nothing without a meter. Never raises."""
    try:
        found = _instruments.get(name)
        if found is None:
            return
        labels = {k: v for k, v in labels.items() if v is not None}
        key = tuple(labels.values())
        seen = _seen.setdefault(name, set())
        if key not in seen:
            if len(seen) >= LABELS_MAX:
                labels = dict.fromkeys(labels, "other")
            else:
                seen.add(key)
        if found[0] == "histogram":
            found[1].record(value, labels)
        else:
            found[1].add(value, labels)
    except Exception:
        guard.failed("metrics.record")
