"""Knowledge retrieval: one span for what was asked, spans for each search below it.

The outermost of `DatasetRetrieval`'s methods is the retrieval a person asked for; the ones it calls, and
`RetrievalService.retrieve` per dataset in a pool, add to it. A retrieval test from the console enters at the latter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from . import messages, shapes
from .core import rules, semconv
from .core.operation import Content, Measure, Operation

_KEPT_MAX = 100


def _datasets(arguments: Mapping[str, Any], request: Any) -> list[str]:
    ids = getattr(request, "dataset_ids", None)
    if ids:
        return [str(i) for i in ids]
    if arguments.get("dataset_id"):
        return [str(arguments["dataset_id"])]
    available = arguments.get("available_datasets")
    if available:
        return [str(i) for i in (shapes.column(d, "id") for d in available) if i]
    config = arguments.get("config")  # DatasetEntity: what a chat app is configured with
    ids = getattr(config, "dataset_ids", None)
    return [str(i) for i in ids] if ids else []


def _top_k(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, int) and value:
        dialects = rules.policy().dialects
        yield semconv.spelled("gen_ai.retrieval.top_k", dialects), semconv.top_k(value, dialects)


def _ranking(request: Any, arguments: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "dify.retrieval.mode", shapes.word(shapes.first(request, "retrieval_mode"))
    mode = shapes.word(shapes.first(request, "reranking_mode") or arguments.get("reranking_mode"))
    yield "dify.retrieval.reranking_mode", mode
    weights = shapes.first(request, "weights") or arguments.get("weights")
    if mode == "weighted_score" and isinstance(weights, Mapping):
        for kind in ("vector", "keyword"):
            setting = weights.get(f"{kind}_setting")
            weight = setting.get(f"{kind}_weight") if isinstance(setting, Mapping) else None
            yield f"dify.retrieval.weights.{kind}", shapes.number(weight)


def _embedded(call: Any, dataset: Any) -> None:
    """Note the model that a dataset searched by this retrieval is embedded with."""
    outer = call.nearest("retrieval")
    model = shapes.word(shapes.column(dataset, "embedding_model"))
    if outer is not None and model:
        outer.state.setdefault("embedded", {})[model] = True


def _before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
    request = arguments.get("request")
    datasets = _datasets(arguments, request)
    inner = enclosing is not None and enclosing.operation.concept == "retrieval"
    method = shapes.word(arguments.get("retrieval_method"))
    yield "dify.retrieval.method", method
    score = shapes.first(request, "score_threshold") if request is not None else arguments.get("score_threshold")
    yield "dify.retrieval.score_threshold", shapes.number(score)
    top_k = shapes.first(request, "top_k") or arguments.get("top_k")
    yield from _top_k(top_k)
    reranking = shapes.first(request, "reranking_enable")
    if reranking is None:
        reranking = arguments.get("reranking_enable")
    yield "dify.retrieval.reranking_enabled", reranking if isinstance(reranking, bool) else None
    yield from _ranking(request, arguments)
    model = shapes.first(request, "reranking_model") or arguments.get("reranking_model")
    if isinstance(model, Mapping):
        yield "dify.rerank.provider", model.get("reranking_provider_name")
        yield "dify.rerank.model", model.get("reranking_model_name")
    if inner:
        return
    yield "gen_ai.operation.name", "retrieval"
    yield "gen_ai.provider.name", "dify"
    yield "dify.dataset.ids", datasets or None
    yield "gen_ai.data_source.id", datasets[0] if len(datasets) == 1 else None
    yield "dify.message.id", shapes.word(arguments.get("message_id") or None)
    query = getattr(request, "query", None) or arguments.get("query")
    yield "gen_ai.retrieval.query.text", Content(query)
    yield "dify.retrieval.query", Content(query)


def _name(facts: Mapping[str, Any]) -> str:
    source = facts.get("gen_ai.data_source.id")
    return f"retrieval {source}" if source else "retrieval"


def _opened(call: Any, arguments: Mapping[str, Any]) -> None:
    method = shapes.word(arguments.get("retrieval_method"))
    outer = call.nearest("retrieval")
    if method and outer is not None:
        outer.state["method"] = method
    for dataset in (arguments.get("available_datasets") or ())[:_KEPT_MAX]:
        _embedded(call, dataset)


def _documents(result: Any) -> list[Any] | None:
    if isinstance(result, tuple) and result:
        result = result[0]
    return result if isinstance(result, list) else None


def _fact(document: Any) -> dict[str, Any]:
    metadata = getattr(document, "metadata", None)

    def get(key: str) -> Any:
        return metadata.get(key) if isinstance(metadata, Mapping) else getattr(metadata, key, None)

    return {
        "id": shapes.word(get("doc_id") or get("segment_id") or get("document_id")),
        "score": shapes.number(get("score")),
        "document_id": shapes.word(get("document_id")),
        "dataset_id": shapes.word(get("dataset_id")),
        "content": shapes.first(document, "page_content", "content"),
    }


def _keep(call: Any, documents: list[Any]) -> None:
    call.state["documents"] = [_fact(d) for d in documents[:_KEPT_MAX]]
    call.state["count"] = len(documents)


def _after(call: Any, result: Any) -> Iterator[Any]:
    documents = _documents(result)
    if type(call).__name__ == "Merged":
        # An inner method's documents stand until the outer one gives its own (chat's `retrieve` answers text).
        outer = call.nearest("retrieval")
        if documents is not None and outer is not None:
            _keep(outer, documents)
        return
    if documents is not None:
        _keep(call, documents)
    models = sorted(call.state.get("embedded", ()))
    yield "dify.dataset.embedding_models", models or None
    yield "gen_ai.request.model", models[0] if len(models) == 1 else None
    facts = call.state.get("documents")
    count = call.state.get("count", 0)
    labels = {"dify.retrieval.method": call.state.get("method")}
    yield "dify.retrieval.document_count", count
    if facts:
        scores = [f["score"] for f in facts if f["score"] is not None]
        yield "dify.retrieval.scores", scores or None
        yield "dify.retrieval.document_ids", [f["document_id"] for f in facts if f["document_id"]] or None
        if rules.policy().content:
            yield "gen_ai.retrieval.documents", Content([{k: v for k, v in f.items() if v is not None} for f in facts])
            yield "dify.retrieval.documents", Content(facts)
            if "openinference" in rules.policy().dialects:
                yield from messages.openinference_documents(facts)
        if scores:
            yield Measure("dify.retrieval.max_score", max(scores), labels)
    if not call.failed:
        yield Measure("dify.retrieval.documents", count, labels)
        if not count:
            yield Measure("dify.retrieval.empty", 1, labels)
    reranking = call.fact("dify.retrieval.reranking_enabled")
    labels = {**labels, "dify.retrieval.reranking_enabled": reranking, "error.type": call.failed}
    yield Measure("dify.retrieval.duration", call.elapsed(), labels)
    shapes.blame(call)


RETRIEVE = Operation(
    concept="retrieval",
    name=_name,
    before=_before,
    after=_after,
    opened=_opened,
    kind="client",
    span_kind="RETRIEVER",
    merge=True,
)

# --- searches


def _search_before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
    store = arguments.get("self")
    dataset = getattr(store, "_dataset", None)
    processor = getattr(store, "_vector_processor", None) or getattr(store, "_keyword_processor", None)
    kind = getattr(processor, "get_type", None)
    system = shapes.word(kind()) if callable(kind) else None
    yield "db.system.name", system or ("dify.keyword" if getattr(store, "_keyword_processor", None) else None)
    yield "db.collection.name", shapes.word(getattr(processor, "_collection_name", None))
    yield "dify.dataset.id", shapes.word(shapes.column(dataset, "id"))
    yield "dify.dataset.embedding_model", shapes.word(shapes.column(dataset, "embedding_model"))
    yield from _top_k(arguments.get("top_k"))
    yield "dify.retrieval.query", Content(arguments.get("query"))


def _search_after(call: Any, result: Any) -> Iterator[Any]:
    if isinstance(result, list):
        yield "dify.retrieval.hit_count", len(result)
        scores = [s for s in (_fact(d)["score"] for d in result[:_KEPT_MAX]) if s is not None]
        yield "dify.retrieval.max_score", max(scores) if scores else None


def _search(method: str) -> Operation:
    def before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
        yield from _search_before(arguments, enclosing)
        yield "dify.retrieval.method", method
        yield "db.operation.name", method

    def opened(call: Any, arguments: Mapping[str, Any]) -> None:
        if method != "keyword_search":
            _embedded(call, getattr(arguments.get("self"), "_dataset", None))

    return Operation(
        concept="search",
        name=lambda facts: f"{method} {facts.get('db.system.name') or ''}".rstrip(),
        before=before,
        opened=opened,
        after=_search_after,
        kind="client",
    )


VECTOR_SEARCH = _search("vector_search")
FULL_TEXT_SEARCH = _search("full_text_search")
KEYWORD_SEARCH = _search("keyword_search")
FILE_SEARCH = _search("file_search")


def _external_before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
    yield "db.system.name", "external"
    yield "dify.retrieval.method", "external_search"
    yield "dify.dataset.id", shapes.word(arguments.get("dataset_id"))
    yield "dify.retrieval.query", Content(arguments.get("query"))


EXTERNAL_SEARCH = Operation(
    concept="search",
    name=lambda facts: "external_search",
    before=_external_before,
    after=_search_after,
    kind="client",
)


def _weights_before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
    documents = arguments.get("documents")
    weights = getattr(arguments.get("self"), "weights", None)
    vector = getattr(getattr(weights, "vector_setting", None), "vector_weight", None)
    yield "gen_ai.request.model", "weighted-score"
    yield "dify.rerank.input_count", len(documents) if isinstance(documents, list) else None
    yield "dify.retrieval.weights.vector", shapes.number(vector)
    yield "gen_ai.rerank.query", Content(arguments.get("query"))


def _weights_after(call: Any, result: Any) -> Iterator[Any]:
    if isinstance(result, list):
        yield "dify.rerank.output_count", len(result)


WEIGHTED_RERANK = Operation(
    concept="rerank",
    name=lambda facts: "rerank weighted-score",
    before=_weights_before,
    after=_weights_after,
    span_kind="RERANKER",
)
