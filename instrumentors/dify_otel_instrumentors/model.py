"""Model calls: every `ModelInstance.invoke_*`, whoever makes them.

Above the load balancer's retries and below every kind of app and node, so each call a user would count is one span.
Streams are timed to their first chunk of any content; usage and finish reason arrive with the last one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from . import messages, shapes
from .core import metrics, rules, semconv
from .core.operation import Content, Measure, Operation, Tap, ready

_PARAMETERS = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "max_tokens": "gen_ai.request.max_tokens",
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "seed": "gen_ai.request.seed",
    "n": "gen_ai.request.choice.count",
}


def _model(instance: Any) -> tuple[str | None, str | None]:
    """Provider as Dify names it (`organisation/plugin/provider`) and model; `model` became `model_name` in 1.13.1."""
    return shapes.word(getattr(instance, "provider", None)), shapes.word(shapes.first(instance, "model_name", "model"))


IDENTITIES_MAX = 512
"""Models whose facts are kept ready in a process."""


@lru_cache(maxsize=IDENTITIES_MAX)
def _facts(provider: str | None, model: str | None, operation: str | None, kind: str) -> tuple[Any, ...]:
    facts = [
        ("gen_ai.operation.name", operation),
        ("gen_ai.provider.name", semconv.provider_name(provider)),
        ("gen_ai.request.model", model),
        ("dify.model.provider", provider),
        ("dify.model.type", kind),
    ]
    if provider and provider.count("/") == 2:
        facts.append(("dify.plugin.name", provider.rsplit("/", 1)[0]))
    return ready(facts)


def _identity(instance: Any, operation: str | None, kind: str) -> tuple[Any, ...]:
    return _facts(*_model(instance), operation, kind)


def _opened(call: Any, arguments: Mapping[str, Any]) -> None:
    if metrics.active():
        call.state["labels"] = {name: call.fact(name) for name in ("gen_ai.provider.name", "gen_ai.request.model")}
        app = call.nearest("app")
        call.state["mode"] = app.state.get("mode") if app is not None else None


def _name_as(word: str) -> Any:
    return lambda facts: f"{word} {facts.get('gen_ai.request.model') or ''}".rstrip()


_SELDOM = frozenset(
    {
        *("cache_read_input_tokens", "cached_tokens", "prompt_cache_hit_tokens", "prompt_tokens_details"),
        *("cache_creation_input_tokens", "cache_write_tokens", "completion_tokens_details", "reasoning_tokens"),
    }
)
"""What only some providers' plugins add to a usage."""

_USAGE = (
    *("prompt_tokens", "tokens", "completion_tokens", "total_tokens", *_SELDOM),
    *("total_price", "prompt_price", "completion_price", "currency"),
    *("prompt_unit_price", "unit_price", "completion_unit_price"),
)


def _either(values: Mapping[str, Any], *names: str) -> Any:
    for name in names:
        value = values.get(name)
        if value is not None:
            return value
    return None


def usage_facts(usage: Any) -> list[tuple[str, Any]]:
    """Tokens and price of an `LLMUsage` or `EmbeddingUsage`; a price of 0 means unpriced, not free, and is left out."""
    if usage is None:
        return []
    held = shapes.fields(usage, _USAGE)
    read = held.get("prompt_tokens")
    facts = [("gen_ai.usage.input_tokens", read if read is not None else held.get("tokens"))]
    said = held.get("completion_tokens")
    if said is not None:
        facts.append(("gen_ai.usage.output_tokens", said))
    facts.append(("dify.usage.total_tokens", held.get("total_tokens")))
    if not _SELDOM.isdisjoint(held):
        facts += _seldom(held)
    price = held.get("total_price")
    total = shapes.number(price) if price else None
    if total:
        facts += [
            ("dify.usage.cost.total", total),
            ("dify.usage.cost.input", shapes.number(held.get("prompt_price"))),
            ("dify.usage.cost.output", shapes.number(held.get("completion_price"))),
            ("dify.usage.cost.currency", shapes.word(held.get("currency"))),
            ("dify.usage.cost.source", "local"),
            ("dify.usage.unit_price.input", shapes.number(_either(held, "prompt_unit_price", "unit_price"))),
            ("dify.usage.unit_price.output", shapes.number(held.get("completion_unit_price"))),
        ]
    return facts


def _seldom(held: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    cached = _either(held, "cache_read_input_tokens", "cached_tokens", "prompt_cache_hit_tokens")
    reasoning = held.get("reasoning_tokens")
    if cached is None:
        cached = getattr(held.get("prompt_tokens_details"), "cached_tokens", None)
    if cached is not None:
        yield "gen_ai.usage.cache_read.input_tokens", cached
    written = _either(held, "cache_creation_input_tokens", "cache_write_tokens")
    if written is not None:
        yield semconv.spelled("gen_ai.usage.cache_write.input_tokens", rules.policy().dialects), written
    if reasoning is None:
        reasoning = getattr(held.get("completion_tokens_details"), "reasoning_tokens", None)
    if reasoning is not None:
        yield "gen_ai.usage.reasoning.output_tokens", reasoning


def usage_measures(call: Any, usage: Any, operation: str) -> Iterator[Measure]:
    """Points of the token and cost metrics, with the call's labels."""
    held = shapes.fields(usage, _USAGE)
    own = call.state.get("labels") or {}
    labels = {"gen_ai.operation.name": operation, **own}
    kind = _KINDS.get(operation, operation)
    read, said = _either(held, "prompt_tokens", "tokens"), held.get("completion_tokens")
    leaf = {"dify.operation_type": kind, "dify.app.mode": call.state.get("mode"), **own}
    for direction, tokens in (("input", read), ("output", said)):
        if tokens:
            yield Measure("gen_ai.client.token.usage", tokens, {**labels, "gen_ai.token.type": direction})
            yield Measure("dify.tokens", tokens, {**leaf, "gen_ai.token.type": direction})
    price = shapes.number(held.get("total_price"))
    if price:
        yield Measure("dify.cost", price, {**own, "currency": shapes.word(held.get("currency"))})


_KINDS = {"chat": "llm", "embeddings": "embedding"}


def _inference_measures(call: Any, usage: Any, first: float | None, pace: float | None) -> Iterator[Measure]:
    """The points of a model call under the names of semantic-conventions-genai's main (pull requests 374 and 521)."""
    labels = {"gen_ai.operation.name": "chat", **(call.state.get("labels") or {})}
    yield Measure("gen_ai.client.inference.duration", call.elapsed(), {**labels, "error.type": call.failed})
    if first is not None:
        yield Measure("gen_ai.client.inference.time_to_first_chunk", first, labels)
    if pace is not None:
        yield Measure("gen_ai.client.inference.time_per_output_chunk", pace, labels)
    labels = {**labels, "gen_ai.token.modality": "text"}
    read = call.fact("gen_ai.usage.input_tokens")
    if read:
        yield Measure("gen_ai.client.inference.operation.input_tokens", read, labels)
        yield Measure("gen_ai.client.inference.usage.input_tokens", read, labels)
    said = call.fact("gen_ai.usage.output_tokens")
    if said:
        yield Measure("gen_ai.client.inference.operation.output_tokens", said, labels)
        yield Measure("gen_ai.client.inference.usage.output_tokens", said, labels)
    cached = call.fact("gen_ai.usage.cache_read.input_tokens")
    if cached:
        yield Measure("gen_ai.client.inference.usage.cache_read.input_tokens", cached, labels)
    kept = call.fact("gen_ai.usage.cache_write.input_tokens")
    if kept:
        yield Measure("gen_ai.client.inference.usage.cache_write.input_tokens", kept, labels)
    thought = call.fact("gen_ai.usage.reasoning.output_tokens")
    if thought:
        yield Measure("gen_ai.client.inference.usage.reasoning.output_tokens", thought, labels)


def _refused(call: Any) -> Iterator[Measure]:
    labels = call.state.get("labels") or {}
    if call.failed == "InvokeRateLimitError":
        yield Measure("dify.model.rate_limited", 1, labels)
    elif call.failed == "QuotaExceededError":
        yield Measure("dify.model.quota_exceeded", 1, labels)


def _duration(call: Any, operation: str) -> Measure:
    labels = {"gen_ai.operation.name": operation, **call.state.get("labels", {}), "error.type": call.failed}
    return Measure("gen_ai.client.operation.duration", call.elapsed(), labels)


# --- chat


def _chat_before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
    instance = arguments.get("self")
    yield from _identity(instance, "chat", "llm")
    if arguments.get("stream", True):
        yield "gen_ai.request.stream", True
    parameters = arguments.get("model_parameters")
    if type(parameters) is dict or isinstance(parameters, Mapping):
        for key, value in parameters.items():
            name = _PARAMETERS.get(key)
            if name is not None and type(value) in (int, float):
                yield name, value if key != "top_k" else semconv.top_k(value, rules.policy().dialects)
        form = parameters.get("response_format")
        if isinstance(form, str) and "json" in form.lower():
            yield "gen_ai.output.type", "json"
    stop = arguments.get("stop")
    if stop:
        yield "gen_ai.request.stop_sequences", list(stop)
    prompt = arguments.get("prompt_messages")
    tools = arguments.get("tools")
    yield "dify.llm.prompt_message_count", shapes.counted(prompt)
    if tools:
        yield "dify.llm.tool_names", [shapes.word(getattr(t, "name", None)) for t in tools]
    if rules.policy().content:
        system, rest = messages.prompt(prompt)
        yield "gen_ai.system_instructions", Content(system) if system else None
        yield "gen_ai.input.messages", Content(rest)
        definitions = messages.tools(tools)
        if definitions:
            yield "gen_ai.tool.definitions", Content(definitions)
        if "openinference" in rules.policy().dialects:
            yield from messages.openinference("llm.input_messages", messages.with_system(system, rest))
            yield from messages.openinference_tools(definitions)


_RESULT = ("finish_reason",)

_KEPT_MAX = 262_144
"""Characters of a streamed answer kept to show it; what comes after is counted only."""


def _chat_during(call: Any, chunk: Any) -> None:
    state = call.state
    delta = getattr(chunk, "delta", None)
    message = getattr(delta, "message", None)
    text = getattr(message, "content", None)
    calls = getattr(message, "tool_calls", None)
    state["chunks"] = state.get("chunks", 0) + 1
    if "model" not in state:
        state["model"] = getattr(chunk, "model", None)
    if text or calls or getattr(message, "reasoning_content", None):
        call.note_chunk()
    usage = getattr(delta, "usage", None)
    if usage is not None:
        state["usage"] = usage
    reason = getattr(delta, "finish_reason", None)
    if reason:
        state["finish"] = reason
    if reason or usage is not None:
        state["complete"] = True
    if calls:
        messages.merge_calls(state.setdefault("calls", []), calls)
    if text and rules.policy().content:
        size = state.get("size", 0)
        if size < _KEPT_MAX:
            plain = messages.plain(text)
            state.setdefault("text", []).append(plain)
            state["size"] = size + len(plain)


def _chat_after(call: Any, result: Any) -> Iterator[Any]:
    state = call.state
    message = getattr(result, "message", None)
    usage = state.get("usage") or getattr(result, "usage", None)
    calls = state.get("calls") or getattr(message, "tool_calls", None) or []
    reason = state.get("finish") or shapes.fields(result, _RESULT).get("finish_reason")
    normal = semconv.finish_reason(reason) if reason else None
    if calls:
        yield "dify.llm.tool_call_count", len(calls)
        normal = normal or "tool_call"
    if normal:
        yield "gen_ai.response.finish_reasons", [normal]
    yield "gen_ai.response.model", shapes.word(state.get("model") or getattr(result, "model", None))
    yield from usage_facts(usage)
    if "chunks" in state:
        yield "dify.llm.chunk_count", state["chunks"]
    first = call.chunk()
    if first is not None:
        yield "gen_ai.response.time_to_first_chunk", round(first, 6)
    if rules.policy().content:
        text = "".join(state["text"]) if "text" in state else messages.plain(getattr(message, "content", None))
        reasoning = shapes.word(getattr(result, "reasoning_content", None))
        if text or calls or reasoning:
            dialects = rules.policy().dialects
            said = messages.answer(text, calls, reasoning, normal if semconv.finish_in_messages(dialects) else None)
            yield "gen_ai.output.messages", Content(said)
            if "openinference" in dialects:
                yield from messages.openinference("llm.output_messages", said)
    if metrics.active():
        yield from _chat_measures(call, usage, first)
    shapes.blame(call)


def _chat_measures(call: Any, usage: Any, first: float | None) -> Iterator[Measure]:
    state = call.state
    yield _duration(call, "chat")
    pace = None
    if first is not None:
        labels = {"gen_ai.operation.name": "chat", **state.get("labels", {})}
        yield Measure("gen_ai.client.operation.time_to_first_chunk", first, labels)
        later = state.get("chunks", 1) - 1
        if later > 0:
            pace = max(0.0, call.elapsed() - first) / later
            yield Measure("gen_ai.client.operation.time_per_output_chunk", pace, labels)
    if usage is not None:
        yield from usage_measures(call, usage, "chat")
    if "semconv-1.41" not in rules.policy().dialects:
        yield from _inference_measures(call, usage, first, pace)
    yield from _refused(call)


def _chat_opened(call: Any, arguments: Mapping[str, Any]) -> None:
    _opened(call, arguments)
    agent = call.nearest("agent")
    if agent is not None:
        agent.state["model_calls"] = agent.state.get("model_calls", 0) + 1


CHAT = Operation(
    concept="chat",
    name=_name_as("chat"),
    before=_chat_before,
    during=_chat_during,
    after=_chat_after,
    opened=_chat_opened,
    kind="client",
    span_kind="LLM",
)

# --- embeddings: `CacheEmbedding` knows the cache, `ModelInstance` the provider; together they make one span


def _embed_before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
    yield from _identity(arguments.get("self"), "embeddings", "text-embedding")
    texts = arguments.get("texts") or arguments.get("multimodel_documents")
    if enclosing is None or enclosing.operation.concept != "embeddings":
        yield "dify.embeddings.input_count", shapes.counted(texts)
        yield "dify.embeddings.input", Content(texts)


_SUMMED = frozenset(
    {"gen_ai.usage.input_tokens", "dify.usage.total_tokens", "dify.usage.cost.total", "dify.usage.cost.input"}
)


def _embed_after(call: Any, result: Any) -> Iterator[Any]:
    usage = getattr(result, "usage", None)
    # `CacheEmbedding` asks the provider batch by batch: what they used adds up on its span.
    whole = call.nearest("embeddings").state
    sums = whole.setdefault("sums", {})
    for key, value in usage_facts(usage):
        if key in _SUMMED and value is not None:
            sums[key] = sums.get(key, 0) + value
        yield key, sums.get(key, value)
    vectors = getattr(result, "embeddings", None)
    if isinstance(vectors, list) and vectors and isinstance(vectors[0], list | tuple):
        yield "gen_ai.embeddings.dimension.count", len(vectors[0])
        whole["misses"] = whole.get("misses", 0) + len(vectors)
    yield "gen_ai.response.model", shapes.word(getattr(result, "model", None))
    if usage is not None:
        yield from usage_measures(call, usage, "embeddings")
    yield _duration(call, "embeddings")
    shapes.blame(call)


EMBED = Operation(
    concept="embeddings",
    name=_name_as("embeddings"),
    before=_embed_before,
    after=_embed_after,
    opened=_opened,
    kind="client",
    span_kind="EMBEDDING",
    merge=True,
)


def _cached_before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
    yield from _identity(getattr(arguments.get("self"), "_model_instance", None), "embeddings", "text-embedding")
    texts = arguments.get("texts") or arguments.get("multimodel_documents") or arguments.get("multimodal_documents")
    query = arguments.get("text") or arguments.get("query") or arguments.get("multimodel_document")
    yield "dify.embeddings.input_count", len(texts) if isinstance(texts, list | tuple) else 1
    yield "dify.embeddings.input", Content(texts if texts is not None else query)


def _cached_opened(call: Any, arguments: Mapping[str, Any]) -> None:
    _opened(call, {"self": getattr(arguments.get("self"), "_model_instance", None)})


def _cached_after(call: Any, result: Any) -> Iterator[Any]:
    if isinstance(result, list) and result:
        many = isinstance(result[0], list | tuple)
        yield "dify.embeddings.cache_hits", max(0, (len(result) if many else 1) - call.state.get("misses", 0))
        yield "gen_ai.embeddings.dimension.count", len(result[0]) if many else len(result)


CACHED_EMBED = Operation(
    concept="embeddings",
    name=_name_as("embeddings"),
    before=_cached_before,
    after=_cached_after,
    opened=_cached_opened,
    kind="client",
    span_kind="EMBEDDING",
)

# --- rerank


def _rerank_before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
    yield from _identity(arguments.get("self"), None, "rerank")
    documents = arguments.get("docs")
    yield "dify.rerank.input_count", shapes.counted(documents)
    yield "dify.rerank.score_threshold", arguments.get("score_threshold")
    yield "dify.rerank.top_n", arguments.get("top_n")
    yield "gen_ai.rerank.query", Content(arguments.get("query"))
    yield "gen_ai.rerank.input_documents", Content(documents)


def _rerank_after(call: Any, result: Any) -> Iterator[Any]:
    documents = getattr(result, "docs", None)
    if isinstance(documents, list):
        yield "dify.rerank.output_count", len(documents)
        yield "dify.rerank.scores", [shapes.number(getattr(d, "score", None)) or 0.0 for d in documents]
        yield "gen_ai.rerank.output_documents", Content(documents)
    yield _duration(call, "rerank")
    labels = call.state.get("labels", {})
    yield Measure("dify.rerank.duration", call.elapsed(), {**labels, "error.type": call.failed})
    if call.state.get("inputs") is not None:
        yield Measure("dify.rerank.input_documents", call.state["inputs"], labels)
    yield from _refused(call)
    shapes.blame(call)


def _rerank_opened(call: Any, arguments: Mapping[str, Any]) -> None:
    _opened(call, arguments)
    documents = arguments.get("docs")
    call.state["inputs"] = shapes.counted(documents)


RERANK = Operation(
    concept="rerank",
    name=_name_as("rerank"),
    before=_rerank_before,
    after=_rerank_after,
    opened=_rerank_opened,
    kind="client",
    span_kind="RERANKER",
)

# --- moderation, speech


def _moderation_before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
    yield from _identity(arguments.get("self"), None, "moderation")
    yield "dify.moderation.query", Content(arguments.get("text"))


def _moderation_after(call: Any, result: Any) -> Iterator[Any]:
    if isinstance(result, bool):
        yield "dify.moderation.flagged", result
    yield _duration(call, "moderation")
    shapes.blame(call)


MODERATION = Operation(
    concept="moderation-model",
    name=_name_as("moderation"),
    before=_moderation_before,
    after=_moderation_after,
    opened=_opened,
    kind="client",
    span_kind="GUARDRAIL",
)


def _to_text_before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
    yield from _identity(arguments.get("self"), "speech_to_text", "speech2text")
    yield "gen_ai.output.type", "text"
    held = getattr(arguments.get("file"), "getbuffer", None)  # a BytesIO's, which neither reads nor copies
    yield "dify.audio.bytes", held().nbytes if callable(held) else None


def _to_text_after(call: Any, result: Any) -> Iterator[Any]:
    if isinstance(result, str):
        yield "dify.speech.transcript", Content(result)
        yield "dify.speech.characters", len(result)
    yield _duration(call, "speech_to_text")
    shapes.blame(call)


SPEECH_TO_TEXT = Operation(
    concept="speech",
    name=_name_as("speech_to_text"),
    before=_to_text_before,
    after=_to_text_after,
    opened=_opened,
    kind="client",
)


def _to_speech_before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
    yield from _identity(arguments.get("self"), "text_to_speech", "tts")
    yield "gen_ai.output.type", "speech"
    text = arguments.get("content_text")
    yield "dify.tts.voice", shapes.word(arguments.get("voice"))
    yield "dify.tts.input_chars", len(text) if isinstance(text, str) else None
    yield "dify.speech.text", Content(text)


def _to_speech_during(call: Any, chunk: Any) -> None:
    call.note_chunk()
    call.state["chunks"] = call.state.get("chunks", 0) + 1
    if isinstance(chunk, bytes | bytearray):
        call.state["bytes"] = call.state.get("bytes", 0) + len(chunk)


def _to_speech_after(call: Any, result: Any) -> Iterator[Any]:
    yield "dify.tts.chunks", call.state.get("chunks")
    yield "dify.tts.bytes", call.state.get("bytes")
    first = call.chunk()
    yield "gen_ai.response.time_to_first_chunk", round(first, 6) if first is not None else None
    yield _duration(call, "text_to_speech")
    shapes.blame(call)


TEXT_TO_SPEECH = Operation(
    concept="speech",
    name=_name_as("text_to_speech"),
    before=_to_speech_before,
    during=_to_speech_during,
    after=_to_speech_after,
    opened=_opened,
    kind="client",
)


# --- load balancing: a credential that was refused is put aside for a while, and the next one is tried


def _put_aside(arguments: Mapping[str, Any], result: Any, enclosing: Any) -> None:
    balancer = arguments.get("self")
    provider = semconv.provider_name(shapes.word(getattr(balancer, "_provider", None)))
    model = shapes.word(getattr(balancer, "_model", None))
    labels = {"gen_ai.provider.name": provider, "gen_ai.request.model": model}
    metrics.record("dify.model.load_balancing.switches", 1, labels)


PUT_ASIDE = Tap(after=_put_aside)
