"""What a person asks of a span and of a request, read from the attributes.

Which app, which model, how many tokens, what it cost, when the first word came, what broke: the terminal, the page,
the JSON and the filters must answer alike, so the attribute names live here once.
Sums take the lowest span that carries a figure, because agents and workflows repeat the sums of what is below them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dify_otel.tail.span import Span, Value
from dify_otel.tail.tree import Node, Trace

_BY_SPAN_KIND = {
    "ENTRY": "app",
    "CHAIN": "workflow",
    "WORKFLOW": "workflow",
    "TASK": "node",
    "LLM": "model",
    "CHAT": "model",
    "EMBEDDING": "embedding",
    "RERANKER": "rerank",
    "RETRIEVER": "retrieval",
    "TOOL": "tool",
    "MCP": "tool",
    "AGENT": "agent",
    "STEP": "agent",
    "GUARDRAIL": "node",
}
_BY_OPERATION = {
    "chat": "model",
    "text_completion": "model",
    "generate_content": "model",
    "embeddings": "embedding",
    "retrieval": "retrieval",
    "execute_tool": "tool",
    "invoke_agent": "agent",
    "create_agent": "agent",
    "invoke_workflow": "workflow",
}
_BY_KIND = {"SERVER": "server", "CLIENT": "client", "PRODUCER": "queue", "CONSUMER": "queue"}

INPUT_KEYS = (
    "gen_ai.input.messages",
    "gen_ai.tool.call.arguments",
    "gen_ai.retrieval.query.text",
    "dify.workflow.inputs",
    "dify.app.inputs",
    "dify.node.inputs",
    "input.value",
)
OUTPUT_KEYS = (
    "gen_ai.output.messages",
    "gen_ai.tool.call.result",
    "gen_ai.retrieval.documents",
    "dify.workflow.outputs",
    "dify.node.outputs",
    "output.value",
)
INSTRUCTIONS_KEY = "gen_ai.system_instructions"


@dataclass(frozen=True, slots=True)
class Tokens:
    input: int = 0
    output: int = 0
    total: int = 0
    """At least input + output; more when the sender gave only a total."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What broke in one span."""

    position: int
    name: str
    type: str
    message: str


@dataclass(frozen=True, slots=True)
class Summary:
    """One request in one glance."""

    title: str
    app: str
    app_id: str
    mode: str
    tokens: Tokens | None
    cost: Mapping[str, float]
    """Amount by currency: two currencies are never added."""
    first_chunk: float | None
    """Seconds from the request to the first piece of the answer."""
    models: tuple[str, ...]
    services: tuple[str, ...]
    failures: tuple[Failure, ...]
    """Deepest first: the cause before what it took down."""
    has_content: bool


def summary(trace: Trace) -> Summary:
    nodes = trace.nodes
    spans = trace.spans
    app = _first(spans, app_name)
    models = dict.fromkeys(name for span in spans if category(span) == "model" and (name := model(span)))
    failures = [
        Failure(position, node.span.name, error_type(node.span), error_message(node.span))
        for position, node in enumerate(nodes)
        if node.span.failed
    ]
    failures.sort(key=lambda failure: -nodes[failure.position].depth)
    return Summary(
        title=trace.root.span.name,
        app=app or "",
        app_id=_first(spans, lambda span: text(span, "dify.app_id", "dify.app.id")) or "",
        mode=_first(spans, lambda span: text(span, "dify.app.mode")) or "",
        tokens=_sum_of_tokens(nodes),
        cost=_sum_of_cost(nodes),
        first_chunk=_first_chunk_of(trace),
        models=tuple(models),
        services=tuple(dict.fromkeys(span.service for span in spans if span.service)),
        failures=tuple(failures),
        has_content=any(has_content(span) for span in spans),
    )


def category(span: Span) -> str:
    """What sort of thing ran: one of the values of the tables above, `database` or `other`."""
    found = _BY_OPERATION.get(text(span, "gen_ai.operation.name"))
    if found is None and text(span, "dify.node.type"):
        found = "node"
    if found is None:
        found = _BY_SPAN_KIND.get(text(span, "gen_ai.span.kind", "openinference.span.kind").upper())
    if found is None and text(span, "db.system.name", "db.system"):
        found = "database"
    return found or _BY_KIND.get(span.kind, "other")


def label(span: Span) -> str:
    """The span's name; a bare HTTP method says where it goes."""
    if span.kind != "CLIENT" or " " in span.name or category(span) != "client":
        return span.name
    peer = text(span, "server.address", "net.peer.name") or _host(text(span, "url.full", "http.url"))
    return f"{span.name} {peer}" if peer else span.name


def _host(url: str) -> str:
    """What an httpx span of Dify's releases has instead of a server's address."""
    found = re.match(r"\w+://(?:[^/@]*@)?(\[[^]]*\]|[^/:?#]*)(:\d+)?", url)
    return found[1] + (found[2] or "") if found else ""


def app_name(span: Span) -> str:
    return text(span, "dify.app.name", "gen_ai.workflow.name")


def model(span: Span) -> str:
    return text(span, "gen_ai.request.model", "gen_ai.response.model", "llm.model_name")


def tokens(span: Span) -> Tokens | None:
    """None when the span says nothing of tokens; zeros are a statement and stay."""
    given = number(span, "gen_ai.usage.input_tokens"), number(span, "gen_ai.usage.output_tokens")
    total = number(span, "gen_ai.usage.total_tokens", "dify.workflow.total_tokens", "dify.message.total_tokens")
    if given == (None, None) and total is None:
        return None
    into, out = (int(figure or 0) for figure in given)
    return Tokens(into, out, max(into + out, int(total or 0)))


def cost(span: Span) -> tuple[float, str] | None:
    """Amount and currency (ISO code, or empty when the sender gave none)."""
    amount = number(span, "dify.usage.cost.total", "llm.cost.total")
    return None if amount is None else (amount, text(span, "dify.usage.cost.currency"))


def first_chunk(span: Span) -> float | None:
    """Seconds from the start of the span to its first piece of output."""
    return number(span, "dify.app.time_to_first_chunk", "gen_ai.response.time_to_first_chunk")


def error_type(span: Span) -> str:
    return text(span, "error.type") or next(
        (kind for event in span.events if isinstance(kind := event.attributes.get("exception.type"), str)), ""
    )


def error_message(span: Span) -> str:
    if span.status_message:
        return span.status_message
    return next(
        (said for event in span.events if isinstance(said := event.attributes.get("exception.message"), str)), ""
    )


def has_content(span: Span) -> bool:
    return any(key in span.attributes for key in (*INPUT_KEYS, *OUTPUT_KEYS, INSTRUCTIONS_KEY))


def text(span: Span, *keys: str) -> str:
    """The first of these attributes that is a non-empty string."""
    for key in keys:
        value = span.attributes.get(key)
        if isinstance(value, str) and value:
            return value
    return ""


def number(span: Span, *keys: str) -> float | None:
    """The first of these attributes that is a number, also when a sender wrote it as a string."""
    for key in keys:
        value = span.attributes.get(key)
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                continue
        if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e18:
            return value
    return None


def strings(span: Span, key: str) -> list[str]:
    """The strings of a list attribute; a single string counts as a list of one."""
    value = span.attributes.get(key)
    listed = value if isinstance(value, list) else [value]
    return [item for item in listed if isinstance(item, str) and item]


def own_seconds(trace: Trace, position: int) -> float:
    """Seconds of a span during which none of its children ran."""
    node = trace.nodes[position]
    span = node.span
    covered = 0
    at = span.start_ns
    for child in sorted((trace.nodes[index].span for index in node.children), key=lambda one: one.start_ns):
        start, end = max(at, child.start_ns), min(span.end_ns, child.end_ns)
        if end > start:
            covered += end - start
            at = end
    return max(0, span.end_ns - span.start_ns - covered) / 1e9


def words(value: Value) -> str:
    """Any value as one string, structured ones as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False, default=str)
    return "" if value is None else str(value)


def _first(spans: tuple[Span, ...], ask: Callable[[Span], str]) -> str | None:
    return next((said for span in spans if (said := ask(span))), None)


def _first_chunk_of(trace: Trace) -> float | None:
    """The app's own figure; else the earliest first chunk of a model call, counted from the start of the request."""
    for span in trace.spans:
        said = number(span, "dify.app.time_to_first_chunk")
        if said is not None:
            return said
    moments = [
        span.start_ns + said * 1e9
        for span in trace.spans
        if (said := number(span, "gen_ai.response.time_to_first_chunk")) is not None
    ]
    return max(0.0, (min(moments) - trace.root.span.start_ns) / 1e9) if moments else None


def _sum_of_tokens(nodes: tuple[Node, ...]) -> Tokens | None:
    lowest = [said for node in _lowest(nodes, lambda span: tokens(span) is not None) if (said := tokens(node.span))]
    if not lowest:
        return None
    return Tokens(*(sum(figures) for figures in zip(*((t.input, t.output, t.total) for t in lowest), strict=True)))


def _sum_of_cost(nodes: tuple[Node, ...]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for node in _lowest(nodes, lambda span: cost(span) is not None):
        if said := cost(node.span):
            amount, currency = said
            sums[currency] = sums.get(currency, 0.0) + amount
    return dict(sorted(sums.items()))


def _lowest(nodes: tuple[Node, ...], carries: Callable[[Span], bool]) -> list[Node]:
    """The nodes that carry a figure and have no descendant that does."""
    carried_below = [False] * len(nodes)
    found = []
    for position in range(len(nodes) - 1, -1, -1):
        node = nodes[position]
        here = carries(node.span)
        if here and not carried_below[position]:
            found.append(node)
        if node.parent >= 0 and (here or carried_below[position]):
            carried_below[node.parent] = True
    return found[::-1]
