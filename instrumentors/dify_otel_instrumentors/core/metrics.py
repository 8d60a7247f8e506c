"""The metrics that exist, with unit and advised buckets, and the one way to record a point.

Official GenAI names are those of core semantic conventions 1.41.1 (`gen_ai.client.*`), which dashboards and ARMS read;
beside them those of semantic-conventions-genai's main (`gen_ai.client.inference.*`), unless `DIFY_OTEL_SEMCONV=1.41`;
`dify.*` follows Dify's own enterprise dictionary where it has a name. No metric carries an id unless a person asks for
those of apps and workspaces, and then of a bounded number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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
_OWN = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_MCP = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """`kind` is `counter`, `updown`, `gauge` or `histogram`; `buckets` advises histogram boundaries."""

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
    Metric("mcp.client.operation.duration", "histogram", "s", "MCP request to its answer", _MCP),
    Metric("mcp.client.session.duration", "histogram", "s", "MCP session, opened to closed", _MCP),
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
    Metric("dify.node.queue.duration", "histogram", "s", "Node ready to node started", _D),
    Metric("dify.graph_engine.workers", "gauge", "{worker}", "Workers of the graph engines that run"),
    Metric("dify.graph_engine.ready_queue.size", "gauge", "{node}", "Nodes that wait for a worker"),
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
    Metric("dify.model.load_balancing.switches", "counter", "{switch}", "Credentials put aside by load balancing"),
    Metric("dify.model.quota_exceeded", "counter", "{call}", "Model calls that Dify's quota refused"),
    Metric("dify.plugin.invocation.duration", "histogram", "s", "Request to the plugin daemon, to its last byte", _D),
    Metric("dify.feedback", "counter", "{rating}", "Ratings that people gave to answers"),
    Metric("dify.moderation.checks", "counter", "{check}", "Moderation checks by result"),
    Metric("dify.sandbox.duration", "histogram", "s", "Duration of a code execution", _D),
    Metric("dify.sandbox.errors", "counter", "{error}", "Code executions that failed"),
    Metric("dify.indexing.duration", "histogram", "s", "Duration of a document indexing run", _W),
    Metric("dify.indexing.segments", "counter", "{segment}", "Segments that indexing made"),
    Metric("dify.otel.spans.exported", "counter", "{span}", "Spans handed over to the backend"),
    Metric("dify.otel.spans.dropped", "counter", "{span}", "Spans lost, by reason"),
    Metric("dify.otel.spans.truncated", "counter", "{span}", "Spans of which something was cut to a limit"),
    Metric("dify.otel.queue.size", "gauge", "{span}", "Spans that wait for their export"),
    Metric(
        "dify.otel.overhead",
        "histogram",
        "s",
        "Time that beginning and ending the recorded calls of a request took in this process; without what is done "
        "for each chunk of a stream, SQL, Redis and HTTP, and without the export, which has a thread of its own",
        _OWN,
    ),
)

LABELS_MAX = 2000
"""Distinct label sets a metric may have in a process; points past it are counted under `other`."""
OWNERS_MAX = 200
"""Distinct apps, names of apps, and workspaces that are labels in a process; the others are counted under `other`."""

OWNERS: Mapping[str, str] = {"app_id": "dify.app_id", "app_name": "dify.app.name", "tenant_id": "dify.tenant_id"}
"""What a person may ask for, and the label it becomes."""

_instruments: dict[str, tuple[str, Any]] = {}
_points: dict[str, tuple[Callable[[float, Mapping[str, Any]], None], dict[tuple[Any, ...], dict[str, Any]]]] = {}
"""How a point of a metric is put, and its label sets so far: each is built once, and that one given to the SDK."""
_sources: dict[str, Callable[[], float | None]] = {}
_owners: dict[str, dict[str, str]] = {}
"""By label: what each value is counted under. Empty unless asked for."""
_names: dict[str, str] = {}
"""The names of the apps in `_owners`."""
_OTHER = "other"
_DEPTH_MAX = 64


def configure(meter: Any, owners: Iterable[str] = (), *, gauges: bool = True) -> None:
    """Make the instruments on `meter` (an OpenTelemetry Meter), with or without `gauges`; None forgets them.

    `owners` are keys of `OWNERS`: labels that calls add to their points of `dify.*` and `gen_ai.*`.
    """
    global by_owner
    for table in (_instruments, _points, _owners, _names):
        table.clear()
    by_owner = False
    if meter is None:
        return
    for metric in METRICS:
        if metric.kind == "gauge" and not gauges:
            continue
        made = _make(meter, metric)
        _instruments[metric.name] = (metric.kind, made)
        if metric.kind != "gauge":
            _points[metric.name] = (made.record if metric.kind == "histogram" else made.add, {})
    _owners.update((OWNERS[owner], {}) for owner in owners)
    by_owner = bool(_owners)


by_owner = False
"""Whether points are to be given to `owned` first."""


def owned(name: str, labels: Mapping[str, Any], call: Any) -> Mapping[str, Any]:
    """`labels` with the app and workspace that `call` knows, as far as they were asked for. Never raises.

    Not for what goes up and down: the app may become known in between, and both ends must meet.
    """
    try:
        if not name.startswith(("dify.", "gen_ai.")) or _instruments[name][0] == "updown":
            return labels
        out = dict(labels)
        for label, seen in _owners.items():
            value = _name(call) if label == "dify.app.name" else call.inherited.get(label)
            if value:
                out[label] = seen.get(value) or _admitted(seen, value)
        return out
    except Exception:
        guard.failed("metrics.owned")
        return labels


def _admitted(seen: dict[str, str], value: str) -> str:
    if len(seen) >= OWNERS_MAX:
        return _OTHER
    seen[value] = value
    return value


def _name(call: Any) -> str | None:
    """The name of the app that `call` is of: told by the app's own call, known to the others of the process since."""
    app = call.inherited.get("dify.app_id")
    if not app:
        return None
    name = call.fact("dify.app.name")
    if name is None:
        known = _names.get(app)
        if known is not None:
            return known
        for _ in range(_DEPTH_MAX):
            call = call.parent
            if call is None or call.inherited.get("dify.app_id") != app:
                return None
            name = call.fact("dify.app.name")
            if name is not None:
                break
        else:
            return None
    if app in _names or len(_names) < OWNERS_MAX:
        _names[app] = name
    return str(name)


def _make(meter: Any, metric: Metric) -> Any:
    arguments = {"name": metric.name, "unit": metric.unit, "description": metric.description}
    if metric.kind == "counter":
        return meter.create_counter(**arguments)
    if metric.kind == "updown":
        return meter.create_up_down_counter(**arguments)
    if metric.kind == "gauge":
        return meter.create_observable_gauge(callbacks=[lambda options: _observations(metric.name)], **arguments)
    try:
        return meter.create_histogram(**arguments, explicit_bucket_boundaries_advisory=list(metric.buckets))
    except TypeError:  # the advisory parameter came with opentelemetry-api 1.28
        return meter.create_histogram(**arguments)


def active() -> bool:
    """Whether points are recorded at all."""
    return bool(_instruments)


def observe(name: str, source: Callable[[], float | None] | None) -> None:
    """From now on the gauge `name` has the value that `source` gives at each export; None: no point."""
    if source is None:
        _sources.pop(name, None)
    else:
        _sources[name] = source


def _observations(name: str) -> list[Any]:
    from opentelemetry.metrics import Observation  # the seam table is read before OpenTelemetry may be

    source = _sources.get(name)
    try:
        value = source() if source is not None else None
    except Exception:
        guard.failed("metrics.observe")
        return []
    return [] if value is None else [Observation(value)]


def record(name: str, value: float, labels: Mapping[str, Any]) -> None:
    """Record one point; nothing without a meter. Never raises."""
    try:
        found = _points.get(name)
        if found is None:
            return
        put, known = found
        key = (*labels, *labels.values())
        held = known.get(key)
        if held is None:
            held = {k: v for k, v in labels.items() if v is not None}
            if len(known) < LABELS_MAX:
                known[key] = held
            else:
                held = dict.fromkeys(held, _OTHER)
        put(value, held)
    except Exception:
        guard.failed("metrics.record")
