"""Dify's own node spans: a span a node, current while the node runs (ENABLE_OTEL or ENABLE_OTEL_FOR_INSTRUMENT)."""

from contextvars import Token
from dataclasses import dataclass
from typing import Any, final

from graphon.graph_engine.layers import GraphEngineLayer
from graphon.graph_events import GraphEngineEvent, GraphNodeEventBase
from graphon.nodes.base.node import Node
from opentelemetry import context as context_api
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, get_tracer, set_span_in_context

from configs import dify_config
from extensions.otel.runtime import is_instrument_flag_enabled


@dataclass(slots=True)
class _NodeSpanContext:
    span: Span
    token: Token[context_api.Context]


@final
class ObservabilityLayer(GraphEngineLayer):
    def __init__(self) -> None:
        super().__init__()
        self._node_contexts: dict[str, _NodeSpanContext] = {}
        self._is_disabled: bool = False
        self._tracer: Tracer | None = None
        self._init_tracer()

    def _init_tracer(self) -> None:
        if not (dify_config.ENABLE_OTEL or is_instrument_flag_enabled()):
            self._is_disabled = True
            return
        self._tracer = get_tracer(__name__)

    def on_graph_start(self) -> None:
        self._node_contexts.clear()

    def on_node_run_start(self, node: Node) -> None:
        if self._is_disabled or self._tracer is None or not node.execution_id:
            return
        span = self._tracer.start_span(f"{node.title}", kind=SpanKind.INTERNAL, context=context_api.get_current())
        token = context_api.attach(set_span_in_context(span))
        self._node_contexts[node.execution_id] = _NodeSpanContext(span=span, token=token)

    def on_node_run_end(
        self, node: Node, error: Exception | None, result_event: GraphNodeEventBase | None = None
    ) -> None:
        if self._is_disabled:
            return
        entry = self._node_contexts.pop(node.execution_id, None)
        if entry is None:
            return
        attributes: dict[str, Any] = {"node.id": node.id, "node.type": str(node.node_type)}
        entry.span.set_attributes(attributes)
        entry.span.set_status(Status(StatusCode.ERROR, str(error)) if error else Status(StatusCode.OK))
        entry.span.end()
        context_api.detach(entry.token)

    def on_event(self, event: GraphEngineEvent) -> None:
        pass

    def on_graph_end(self, error: Exception | None) -> None:
        self._node_contexts.clear()
