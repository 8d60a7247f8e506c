"""Names: what is inherited by the spans below, and how one set of facts is spelled in each dialect.

Concept files speak one vocabulary: OpenTelemetry's GenAI names (semantic-conventions-genai main as of October 2026,
`https://opentelemetry.io/schemas/gen-ai-dev/1.42.0-dev`) and `dify.*` for what has no official name. This table adds
the names other backends read to the same spans: `arms` (Alibaba Cloud Monitor, LoongSuite 1.40), `openinference` 0.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

SCHEMA_URL = "https://opentelemetry.io/schemas/gen-ai-dev/1.42.0-dev"

INHERITED = frozenset(
    {
        "dify.app_id",
        "dify.tenant_id",
        "dify.workflow.id",
        "dify.workflow.run_id",
        "dify.message.id",
        "gen_ai.conversation.id",
        "user.id",
    }
)
"""Facts a span passes on to every span below it in the process."""

SPAN_KINDS: Mapping[str, str] = {
    "ENTRY": "CHAIN",
    "CHAIN": "CHAIN",
    "TASK": "CHAIN",
    "STEP": "CHAIN",
    "LLM": "LLM",
    "EMBEDDING": "EMBEDDING",
    "RERANKER": "RERANKER",
    "RETRIEVER": "RETRIEVER",
    "TOOL": "TOOL",
    "AGENT": "AGENT",
    "GUARDRAIL": "GUARDRAIL",
}
"""ARMS' `gen_ai.span.kind` and what OpenInference calls it."""

Transform = Callable[[Any], Any]
Alias = tuple[str, Transform | None]


def _nanoseconds(seconds: Any) -> int:
    return int(seconds * 1_000_000_000)


def _first(values: Any) -> Any:
    return values[0] if values else None


_INPUT: tuple[Alias, ...] = (("input.value", None),)
_OUTPUT: tuple[Alias, ...] = (("output.value", None),)

_VALUES: dict[str, tuple[Alias, ...]] = {
    "gen_ai.input.messages": _INPUT,
    "gen_ai.output.messages": _OUTPUT,
    "dify.app.inputs": _INPUT,
    "dify.app.outputs": _OUTPUT,
    "dify.message.inputs": _INPUT,
    "dify.message.outputs": _OUTPUT,
    "dify.workflow.inputs": _INPUT,
    "dify.workflow.outputs": _OUTPUT,
    "dify.node.inputs": _INPUT,
    "dify.node.outputs": _OUTPUT,
    "dify.agent.query": _INPUT,
    "dify.agent.answer": _OUTPUT,
    "dify.agent.observation": _OUTPUT,
    "dify.moderation.query": _INPUT,
    "dify.generation.input": _INPUT,
    "dify.generation.output": _OUTPUT,
    "dify.embeddings.input": _INPUT,
    "dify.code.source": _INPUT,
    "dify.code.output": _OUTPUT,
    "dify.speech.text": _INPUT,
    "dify.speech.transcript": _OUTPUT,
}

ALIASES: Mapping[str, Mapping[str, tuple[Alias, ...]]] = {
    "otel": {},
    "arms": {
        **_VALUES,
        "gen_ai.conversation.id": (("gen_ai.session.id", None),),
        "user.id": (("gen_ai.user.id", None),),
        "dify.workflow.total_tokens": (("gen_ai.usage.total_tokens", None),),
        "dify.message.total_tokens": (("gen_ai.usage.total_tokens", None),),
        "dify.usage.total_tokens": (("gen_ai.usage.total_tokens", None),),
        "gen_ai.response.time_to_first_chunk": (("gen_ai.response.time_to_first_token", _nanoseconds),),
        "dify.app.time_to_first_chunk": (
            ("gen_ai.response.time_to_first_token", _nanoseconds),
            ("gen_ai.user.time_to_first_token", _nanoseconds),
        ),
        "gen_ai.response.finish_reasons": (("gen_ai.response.finish_reason", _first),),
        "gen_ai.tool.name": (("tool.name", None),),
        "gen_ai.tool.description": (("tool.description", None),),
        "gen_ai.tool.call.arguments": (("tool.parameters", None), *_INPUT),
        "gen_ai.tool.call.result": _OUTPUT,
        "gen_ai.retrieval.query.text": (("retrieval.query", None), *_INPUT),
        "gen_ai.retrieval.documents": (("retrieval.document", None), *_OUTPUT),
        "gen_ai.rerank.query": _INPUT,
        "gen_ai.rerank.output_documents": _OUTPUT,
    },
    "openinference": {
        **_VALUES,
        "gen_ai.conversation.id": (("session.id", None),),
        "gen_ai.request.model": (("llm.model_name", None),),
        "gen_ai.provider.name": (("llm.provider", None),),
        "gen_ai.usage.input_tokens": (("llm.token_count.prompt", None),),
        "gen_ai.usage.cache_read.input_tokens": (("llm.token_count.prompt_details.cache_read", None),),
        "gen_ai.usage.cache_write.input_tokens": (("llm.token_count.prompt_details.cache_write", None),),
        "gen_ai.usage.reasoning.output_tokens": (("llm.token_count.completion_details.reasoning", None),),
        "gen_ai.response.finish_reasons": (("llm.finish_reason", _first),),
        "gen_ai.usage.output_tokens": (("llm.token_count.completion", None),),
        "dify.usage.total_tokens": (("llm.token_count.total", None),),
        "dify.usage.cost.input": (("llm.cost.prompt", None),),
        "dify.usage.cost.output": (("llm.cost.completion", None),),
        "dify.usage.cost.total": (("llm.cost.total", None),),
        "gen_ai.tool.name": (("tool.name", None),),
        "gen_ai.tool.description": (("tool.description", None),),
        "gen_ai.tool.call.arguments": (("tool.parameters", None), *_INPUT),
        "gen_ai.tool.call.result": _OUTPUT,
        "gen_ai.retrieval.query.text": _INPUT,
        "gen_ai.retrieval.documents": _OUTPUT,
        "gen_ai.rerank.query": (("reranker.query", None), *_INPUT),
        "gen_ai.rerank.output_documents": _OUTPUT,
    },
    "semconv-dup": {
        "gen_ai.usage.cache_write.input_tokens": (("gen_ai.usage.cache_creation.input_tokens", None),),
        "gen_ai.retrieval.top_k": (("gen_ai.request.top_k", float),),
        "gen_ai.provider.name": (("gen_ai.system", None),),
        "gen_ai.input.messages": (("gen_ai.prompt", None),),
        "gen_ai.output.messages": (("gen_ai.completion", None),),
    },
    "semconv-1.41": {},
}

DIALECTS = ("otel", "arms", "openinference")
"""What a person may choose. The two `semconv-…` tables are the compatibility switch, `DIFY_OTEL_SEMCONV`."""

LATEST, DUP, CORE_1_41 = "latest", "dup", "1.41"
VERSIONS = (LATEST, DUP, CORE_1_41)
"""Names as on semantic-conventions-genai's main; those and the former ones; those of core 1.41.1, the last release."""

_FORMER: Mapping[str, str] = {
    "gen_ai.usage.cache_write.input_tokens": "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.retrieval.top_k": "gen_ai.request.top_k",
}

PROVIDERS: Mapping[str, str] = {
    "openai": "openai",
    "azure_openai": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "vertex_ai": "gcp.vertex_ai",
    "google": "gcp.gemini",
    "gemini": "gcp.gemini",
    "anthropic": "anthropic",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "groq": "groq",
    "mistralai": "mistral_ai",
    "moonshot": "moonshot_ai",
    "perplexity": "perplexity",
    "x": "x_ai",
    "watsonx": "ibm.watsonx.ai",
}
"""Last segment of a Dify provider (`organisation/plugin/provider`) to OpenTelemetry's `gen_ai.provider.name`."""

FINISH_REASONS: Mapping[str, str] = {
    "tool_calls": "tool_call",
    "tool_use": "tool_call",
    "function_call": "tool_call",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "safety": "content_filter",
}


def version_dialect(version: str) -> tuple[str, ...]:
    """What to add to the chosen dialects for that version of the conventions."""
    return () if version == LATEST else (f"semconv-{version}",)


def spelled(key: str, dialects: tuple[str, ...]) -> str:
    """A name that has changed since core 1.41.1, as the version in force has it."""
    return _FORMER.get(key, key) if "semconv-1.41" in dialects else key


def top_k(value: float, dialects: tuple[str, ...]) -> float:
    """How many tokens or documents to choose from: a whole number, in core 1.41.1 a double."""
    return float(value) if "semconv-1.41" in dialects else int(value)


def finish_in_messages(dialects: tuple[str, ...]) -> bool:
    """Whether an output message carries its finish reason: deprecated, but ARMS and readers of 1.41 look there."""
    return not {"arms", "semconv-dup", "semconv-1.41"}.isdisjoint(dialects)


def aliases(dialects: tuple[str, ...]) -> dict[str, tuple[Alias, ...]]:
    """Every further name of each fact in the chosen dialects, without repetitions."""
    table: dict[str, tuple[Alias, ...]] = {}
    for dialect in dialects:
        for key, names in ALIASES[dialect].items():
            known = table.get(key, ())
            table[key] = known + tuple(n for n in names if all(n[0] != k[0] for k in known))
    return table


def provider_name(raw: str | None) -> str | None:
    """`langgenius/openai/openai` as `openai`; unknown providers keep their last segment, as the convention allows."""
    if not raw:
        return None
    last = raw.rsplit("/", 1)[-1]
    return PROVIDERS.get(last, last)


def finish_reason(raw: str | None) -> str | None:
    """A provider's finish reason in the convention's words; unknown ones pass in lower case."""
    if not raw:
        return None
    low = str(raw).lower()
    return FINISH_REASONS.get(low, low)
