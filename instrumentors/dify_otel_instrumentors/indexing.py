"""Dataset indexing: one span a run over one or more documents, or over one of a knowledge pipeline; embeddings below.

Dify's runner keeps a document's failure for itself, and stops a paused document with an exception.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from . import shapes
from .core.operation import Error, Measure, Operation, Tap


def _operation(stage: str) -> Operation:
    def before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
        documents = arguments.get("dataset_documents")
        if documents is None:
            documents = [arguments.get("dataset_document")]
        rows = [d for d in documents if d is not None]
        datasets = sorted({str(i) for i in (shapes.column(d, "dataset_id") for d in rows) if i})
        yield "dify.indexing.stage", stage
        yield "dify.indexing.document_count", len(rows)
        yield "dify.dataset.id", datasets[0] if len(datasets) == 1 else None
        yield "dify.document.ids", [i for i in map(shapes.key, rows[:64]) if i] or None
        yield "dify.tenant_id", shapes.word(shapes.column(rows[0], "tenant_id")) if rows else None

    def after(call: Any, result: Any) -> Iterator[Any]:
        begun, done = call.state.get("begun", 0), call.state.get("done", 0)
        status = "error"
        if call.failed in _PAUSED:
            status = "paused"
            call.clear_error()
        elif done < begun and call.failure is None:
            call.error(Error("indexing_failed"))
        yield "dify.indexing.status", status if call.failed or status == "paused" else "completed"
        if begun:
            yield "dify.indexing.segment_count", done
            yield from _dataset(call)
        yield from _measures(call, stage, {"completed": done, status: begun - done})

    return _named(stage, before, after)


_PAUSED = frozenset({"DocumentIsPausedError", "DocumentIsDeletedPausedError"})


def _named(stage: str, before: Any, after: Any) -> Operation:
    return Operation(
        concept="indexing",
        name=lambda facts: f"dataset_indexing {stage}",
        before=before,
        after=after,
        span_kind="CHAIN",
    )


def _measures(call: Any, stage: str, segments: Mapping[str, int]) -> Iterator[Measure]:
    for status, count in segments.items():
        if count:
            labels = {"dify.indexing.stage": stage, "dify.indexing.status": status}
            yield Measure("dify.indexing.segments", count, labels)
    labels = {"dify.indexing.stage": stage, "error.type": call.failed}
    yield Measure("dify.indexing.duration", call.elapsed(), labels)


def _dataset(call: Any) -> Iterator[tuple[str, Any]]:
    """Where Dify commits just before a run, the documents' columns are not loaded: the dataset is known later."""
    datasets = call.state.get("datasets", {})
    if len(datasets) == 1 and call.fact("dify.dataset.id") is None:
        ((dataset_id, tenant_id),) = datasets.items()
        yield "dify.dataset.id", dataset_id
        yield "dify.tenant_id", tenant_id


RUN = _operation("run")
FROM_SPLITTING = _operation("split")
FROM_INDEXING = _operation("load")


def _pipeline_before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
    dataset, document = arguments.get("dataset"), arguments.get("document")
    chunks = arguments.get("chunks")
    if isinstance(chunks, Mapping):
        chunks = next((value for value in chunks.values() if isinstance(value, list)), None)
    yield "dify.indexing.stage", "pipeline"
    yield "dify.indexing.document_count", 1
    yield "dify.indexing.segment_count", shapes.counted(chunks)
    yield "dify.dataset.id", shapes.key(dataset)
    yield "dify.document.ids", [i for i in [shapes.key(document)] if i] or None
    yield "dify.tenant_id", shapes.word(shapes.column(dataset, "tenant_id"))


def _pipeline_after(call: Any, result: Any) -> Iterator[Any]:
    status = "error" if call.failed else "completed"
    yield "dify.indexing.status", status
    yield from _measures(call, "pipeline", {status: call.fact("dify.indexing.segment_count") or 0})


PIPELINE = _named("pipeline", _pipeline_before, _pipeline_after)
"""`BaseIndexProcessor.index`: what the knowledge node of a pipeline calls, and nothing else."""


def _failed(arguments: Mapping[str, Any], enclosing: Any) -> None:
    run = enclosing.nearest("indexing") if enclosing is not None else None
    error = arguments.get("error")
    if run is not None and run.failure is None and error is not None:
        run.error(Error(type(error).__name__, str(error)))


FAILED = Tap(before=_failed)
"""`IndexingRunner._handle_indexing_error`: a document's failure, written into its row and not raised."""


def _count(arguments: Mapping[str, Any], enclosing: Any, what: str) -> None:
    run = enclosing.nearest("indexing") if enclosing is not None else None
    if run is not None:
        run.state[what] = run.state.get(what, 0) + (shapes.counted(arguments.get("documents")) or 0)
        dataset = arguments.get("dataset")
        identity = shapes.key(dataset)
        if identity:
            datasets = run.state.setdefault("datasets", {})
            datasets[identity] = shapes.word(shapes.column(dataset, "tenant_id")) or datasets.get(identity)


LOAD = Tap(
    before=lambda arguments, enclosing: _count(arguments, enclosing, "begun"),
    after=lambda arguments, result, enclosing: _count(arguments, enclosing, "done"),
)
"""`IndexingRunner._load`: the segments of one document are indexed, or an exception says that not all of them are."""
