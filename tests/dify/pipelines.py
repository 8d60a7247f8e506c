"""Runs that bring documents into a dataset: knowledge pipelines, and Dify's own indexing in each of its modes.

A pipeline is drawn and published through the console as its page does it, then run as a draft, as published, through
the service API, and node by node. `KINDS` are like those of `further`.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dify_otel.tail.span import Span

from tests.dify import console
from tests.dify.calls import RUN, Case
from tests.dify.console import PROVIDER
from tests.dify.further import Lacking, Stage, _below, _has, _streamed
from tests.standin import drive, graphs
from tests.standin.drive import Outcome

CONSOLE = "POST /console/api/rag/pipelines/"
NODES = ("datasource Source", "document-extractor Extract", "code Chunk", "knowledge-index Knowledge")
INDEXED_SECONDS = 60.0
MODE = "rag-pipeline"
_SPLIT = 'def main(text):\n    return {"chunks": [part for part in text.split("\\n\\n") if part]}\n'


@dataclass(frozen=True)
class Pipeline:
    """A published pipeline and its dataset."""

    id: str
    dataset: str


def _knowledge(technique: str) -> graphs.Node:
    settings = {"search_method": "semantic_search", "top_k": 3, "score_threshold_enabled": False}
    settings |= {"reranking_enable": False, "reranking_mode": "reranking_model"}
    return graphs.node(
        "index",
        "knowledge-index",
        "Knowledge",
        chunk_structure="text_model",
        indexing_technique=technique,
        index_chunk_variable_selector=["chunk", "chunks"],
        embedding_model="stub-embed",
        embedding_model_provider=PROVIDER,
        keyword_number=10,
        retrieval_model=settings,
    )


def _graph(technique: str = "high_quality", source: str = "file", kind: str = "local_file") -> graphs.Graph:
    name = "upload-file" if source == "file" else source
    first = graphs.node(
        "source",
        "datasource",
        "Source",
        plugin_id=f"langgenius/{source}",
        provider_name=source,
        provider_type=kind,
        datasource_name=name,
        datasource_label=name,
        datasource_parameters={},
        datasource_configurations={},
        fileExtensions=["txt"],
    )
    extract = graphs.node(
        "extract", "document-extractor", "Extract", variable_selector=["source", "file"], is_array_file=False
    )
    text = ["extract", "text"] if source == "file" else ["source", "content"]
    chunk = graphs.code("chunk", "Chunk", _SPLIT, text, chunks="array[string]")
    chunk["data"]["variables"][0]["variable"] = "text"
    if source != "file":
        nodes = [first, chunk, _knowledge(technique)]
        return graphs.graph(nodes, ("source", "chunk"), ("chunk", "index"))
    nodes = [first, extract, chunk, _knowledge(technique)]
    return graphs.graph(nodes, ("source", "extract"), ("extract", "chunk"), ("chunk", "index"))


def _pipeline(stage: Stage, graph: graphs.Graph, technique: str = "high_quality") -> Pipeline:
    """Drawn and published. Raises `Lacking`."""
    if technique == "high_quality":
        _needs_vectors(stage)
    stage.needs("/console/api/rag/pipeline/empty-dataset")
    made = stage.console.request("POST", "/rag/pipeline/empty-dataset")
    path = f"/rag/pipelines/{made['pipeline_id']}/workflows"
    draft: dict[str, Any] = {
        "graph": {**console.as_drawn(graph), "viewport": {"x": 0, "y": 0, "zoom": 1}},
        "features": {},
        **{f"{name}_variables": [] for name in ("environment", "conversation", "rag_pipeline")},
    }
    stage.console.request("POST", f"{path}/draft", draft)
    stage.console.request("POST", f"{path}/publish", {})
    return Pipeline(made["pipeline_id"], made["id"])


def _needs_vectors(stage: Stage) -> None:
    if not stage.vectors:
        raise Lacking("no PostgreSQL with pgvector: install postgresql-<version>-pgvector or set DIFY_PGVECTOR_BIN")


def _text(count: int = 3) -> str:
    """What has not been embedded before: Dify keeps what it has embedded in a table of its own."""
    return "\n\n".join(f"Fact {uuid.uuid4()} is new." for _ in range(count))


def _file(stage: Stage, name: str = "facts.txt", text: str = "") -> dict[str, Any]:
    text = text or _text()
    upload = stage.console.upload(name, text)
    file = {"related_id": upload, "name": name, "extension": "txt", "size": len(text), "mime_type": "text/plain"}
    return file | {"type": "document", "transfer_method": "local_file", "url": ""}


def _asked(*files: Mapping[str, Any], kind: str = "local_file", **more: Any) -> dict[str, Any]:
    asked = {"inputs": {}, "datasource_type": kind, "datasource_info_list": list(files), "start_node_id": "source"}
    return asked | more


def _documents(stage: Stage, dataset: str, ended: Callable[[Mapping[str, Any]], bool]) -> list[dict[str, Any]]:
    """The dataset's documents once all of them are so; as they are when that does not come in time."""
    until = time.monotonic() + INDEXED_SECONDS
    while True:
        rows: list[dict[str, Any]] = stage.console.request("GET", f"/datasets/{dataset}/documents?page=1&limit=20")[
            "data"
        ]
        if (rows and all(map(ended, rows))) or time.monotonic() > until:
            return rows
        time.sleep(0.5)


def _state(document: Mapping[str, Any]) -> str:
    """A paused document keeps the status it was paused in."""
    return "paused" if document["display_status"] == "paused" else str(document["indexing_status"])


def _ended(document: Mapping[str, Any]) -> bool:
    return _state(document) in ("completed", "error", "paused")


def _console(stage: Stage, path: str, body: Any, method: str = "POST") -> tuple[str, Any]:
    """The trace a console request began, and its answer."""
    parent, trace_id = drive.traceparent()
    headers = {"Content-Type": "application/json", "traceparent": parent}
    with stage.console.open(method, path, json.dumps(body).encode(), headers) as response:
        text = response.read()
    return trace_id, json.loads(text) if text else None


def draft_of_a_pipeline(stage: Stage) -> list[str]:
    made = _pipeline(stage, _graph())
    parent, trace_id = drive.traceparent()
    body = json.dumps(_asked(_file(stage))).encode()
    path = f"/rag/pipelines/{made.id}/workflows/draft/run"
    response = stage.console.open("POST", path, body, {"Content-Type": "application/json", "traceparent": parent})
    case = Case("pipeline", "stream", "succeeded", (*RUN, *NODES, "code_execution"), top=CONSOLE)
    spans, found = stage.judge(case, _streamed(response, "pipeline", trace_id)[0])
    run = {"dify.triggered_from": "rag-pipeline-debugging", "dify.invoke_from": "debugger"}
    found += _has(spans, "dify.app", _person(stage) | run | {"dify.app_id": made.id, "dify.app.mode": MODE})
    return found + _has(spans, "invoke_workflow", run | {"dify.workflow.status": "succeeded", "dify.workflow.steps": 4})


def _person(stage: Stage) -> dict[str, Any]:
    return {"user.id": stage.console.request("GET", "/account/profile")["id"], "dify.user.type": "account"}


def _published(
    stage: Stage,
    made: Pipeline,
    trace_id: str,
    answer: Any,
    top: str,
    *more: str,
    nodes: tuple[str, ...] = NODES,
    segments: int = 3,
) -> list[str]:
    """What is wrong with the trace of a published run: the request's, with one run in the worker for each document."""
    _taken(stage, made, trace_id)
    documents = _documents(stage, made.dataset, _ended)
    if {row["indexing_status"] for row in documents} != {"completed"} or not answer.get("batch"):
        return [f"Dify made {documents} of {answer}"]
    asked = {row["id"] for row in answer["documents"]}
    wanted = f"{len(asked)} runs"
    stage.receiver.await_spans(lambda s: len(_runs(stage, trace_id)) == len(asked))
    case = Case("pipeline", "block", "succeeded", (*RUN, *nodes, *more), top=top)
    spans, found = stage.judge(case, Outcome("pipeline", status="succeeded", trace_id=trace_id))
    runs = _runs(stage, trace_id)
    if len(runs) != len(asked):
        return [*found, f"{len(runs)} runs, not {wanted}"]
    by = _person(stage) | {"dify.app_id": made.id, "dify.app.mode": MODE, "dify.invoke_from": "published"}
    by |= {"dify.triggered_from": "rag-pipeline-run"}
    batch = {"dify.dataset.id": made.dataset, "dify.indexing.batch": answer["batch"]}
    request = batch | {"dify.indexing.document_count": len(asked), "dify.app.outcome": "success"}
    found += _has(spans, "dify.app", by, every=True) + _has(spans, "dify.app", request)
    run = batch | {"dify.triggered_from": "rag-pipeline-run", "dify.invoke_from": "published"}
    run |= {"dify.app_id": made.id, "dify.workflow.status": "succeeded", "dify.workflow.steps": len(nodes)}
    found += _has(spans, "invoke_workflow", run, every=True)
    indexed = {
        "dify.dataset.id": made.dataset,
        "dify.indexing.stage": "pipeline",
        "dify.indexing.segment_count": segments,
    }
    found += _has(spans, "dataset_indexing", indexed | {"dify.indexing.status": "completed"}, every=True)
    for name in ("invoke_workflow", "dataset_indexing"):
        told = {one for s in spans if s.name.startswith(name) for one in s.attributes.get("dify.document.ids", ())}
        if told != asked:
            found.append(f"{name!r} has the documents {told}, not {asked}")
    top = [s.name for s in spans if s.attributes.get("dify.stream.outcome")]
    if top:
        found.append(f"{top} say how a stream ended that nobody reads")
    by_id = {span.span_id: span for span in spans}
    apart = [by_id[s.parent_id].name for s in runs if not by_id[s.parent_id].name.startswith("dify.app")]
    if apart:
        found.append(f"runs hang under {apart}")
    return found + _below(spans, "invoke_workflow", "run/tasks.rag_pipeline")


TAKEN_SECONDS = 20.0


def _taken(stage: Stage, made: Pipeline, trace_id: str) -> None:
    """Raises `Lacking` where no worker takes the task: those of 1.9 listen to `pipeline` only, as they are started."""
    task = "run/tasks.rag_pipeline"
    if not stage.receiver.await_spans(lambda s: s.trace_id == trace_id and s.name.startswith(task), TAKEN_SECONDS):
        rows = _documents(stage, made.dataset, lambda row: True)
        if all(row["indexing_status"] == "waiting" for row in rows):
            raise Lacking("no worker takes the runs of published pipelines: priority_pipeline is not in its queues")


def _runs(stage: Stage, trace_id: str) -> list[Span]:
    return [s for s in stage.receiver.trace(trace_id) if s.name.startswith("invoke_workflow")]


def published_pipeline(stage: Stage) -> list[str]:
    made = _pipeline(stage, _graph())
    body = _asked(_file(stage), _file(stage, "more.txt"), is_preview=False, response_mode="blocking")
    trace_id, answer = _console(stage, f"/rag/pipelines/{made.id}/workflows/published/run", body)
    return _published(stage, made, trace_id, answer, CONSOLE, "embeddings")


def published_pipeline_streamed(stage: Stage) -> list[str]:
    """As the console's page asks; Dify answers at once all the same, and nobody reads the run's stream."""
    made = _pipeline(stage, _graph())
    body = _asked(_file(stage), is_preview=False, response_mode="streaming")
    trace_id, answer = _console(stage, f"/rag/pipelines/{made.id}/workflows/published/run", body)
    return _published(stage, made, trace_id, answer, CONSOLE, "embeddings")


def economical_pipeline(stage: Stage) -> list[str]:
    made = _pipeline(stage, _graph("economy"), "economy")
    body = _asked(_file(stage), is_preview=False, response_mode="blocking")
    trace_id, answer = _console(stage, f"/rag/pipelines/{made.id}/workflows/published/run", body)
    return _published(stage, made, trace_id, answer, CONSOLE)


def _through_the_service_api(stage: Stage, mode: str) -> list[str]:
    made = _pipeline(stage, _graph())
    path = f"/v1/datasets/{made.dataset}/pipeline/run"
    stage.needs(path)
    body = _asked(_file(stage), is_published=True, response_mode=mode)
    trace_id, answer = stage.send("POST", path, body, _key(stage))
    return _published(stage, made, trace_id, answer, "POST /v1/datasets/", "embeddings")


def _key(stage: Stage) -> str:
    """Of the service API, for all datasets."""
    return str(stage.console.request("POST", "/datasets/api-keys")["token"])


def pipeline_through_the_service_api(stage: Stage) -> list[str]:
    return _through_the_service_api(stage, "blocking")


def pipeline_through_the_service_api_streamed(stage: Stage) -> list[str]:
    return _through_the_service_api(stage, "streaming")


_BARE = tuple(node for node in NODES if not node.startswith("document-extractor"))


def website_pipeline(stage: Stage) -> list[str]:
    """A page's crawl is looked at first, then what it found is run."""
    made = _pipeline(stage, _graph(source="stubsite", kind="website_crawl"))
    page = _looked_at(stage, made, "website_crawl", "get_website_crawl")
    if isinstance(page, str):
        return [page]
    found, data = page
    item = {**data[0], "content": _text(2)}
    body = _asked(item, kind="website_crawl", is_preview=False, response_mode="blocking")
    trace_id, answer = _console(stage, f"/rag/pipelines/{made.id}/workflows/published/run", body)
    return found + _published(stage, made, trace_id, answer, CONSOLE, "embeddings", nodes=_BARE, segments=2)


def online_document_pipeline(stage: Stage) -> list[str]:
    made = _pipeline(stage, _graph(source="stubpages", kind="online_document"))
    page = _looked_at(stage, made, "online_document", "get_online_document_pages")
    if isinstance(page, str):
        return [page]
    found, [space] = page
    item = {"workspace_id": space["workspace_id"], "page": {**space["pages"][0], "page_id": str(uuid.uuid4())}}
    body = _asked(item, kind="online_document", is_preview=False, response_mode="blocking")
    trace_id, answer = _console(stage, f"/rag/pipelines/{made.id}/workflows/published/run", body)
    asked = "POST /plugin/{tenant_id}/dispatch/datasource/get_online_document_page_content"
    return found + _published(stage, made, trace_id, answer, CONSOLE, "embeddings", asked, nodes=_BARE)


def _looked_at(stage: Stage, made: Pipeline, kind: str, action: str) -> tuple[list[str], Any] | str:
    """What is wrong with the trace of a datasource's preview, and what it gave; or what Dify refused."""
    parent, trace_id = drive.traceparent()
    path = f"/rag/pipelines/{made.id}/workflows/draft/datasource/nodes/source/run"
    body = json.dumps({"inputs": {}, "datasource_type": kind}).encode()
    with stage.console.open(
        "POST", path, body, {"Content-Type": "application/json", "traceparent": parent}
    ) as response:
        events = [json.loads(line[6:]) for line in response.read().decode().splitlines() if line.startswith("data: ")]
    done = [event for event in events if event.get("event") == "datasource_completed"]
    if not done:
        return f"Dify answers {events}"
    case = Case("preview", "block", "ok", (f"POST /plugin/{{tenant_id}}/dispatch/datasource/{action}",), top=CONSOLE)
    _, found = stage.judge(case, Outcome("preview", status="ok", trace_id=trace_id))
    return found, done[0]["data"]


_PARAGRAPHS = {"pre_processing_rules": [], "segmentation": {"separator": "\n\n", "max_tokens": 200, "chunk_overlap": 0}}
_CHILDREN = {"subchunk_segmentation": {"separator": "\n", "max_tokens": 100, "chunk_overlap": 0}}
INIT = "POST /console/api/datasets/init"


@dataclass(frozen=True)
class Asked:
    """A dataset whose first document is being indexed."""

    dataset: str
    document: str
    trace_id: str


def _init(stage: Stage, text: str, **changed: Any) -> Asked:
    if changed.get("indexing_technique") != "economy":
        _needs_vectors(stage)
    source = {"data_source_type": "upload_file", "file_info_list": {"file_ids": [stage.console.upload("a.txt", text)]}}
    body = {
        "indexing_technique": "high_quality",
        "embedding_model": "stub-embed",
        "embedding_model_provider": PROVIDER,
        "data_source": {"info_list": source},
        "process_rule": {"mode": "custom", "rules": _PARAGRAPHS},
        "doc_form": "text_model",
        "doc_language": "English",
        "retrieval_model": {
            "search_method": "semantic_search",
            "reranking_enable": False,
            "top_k": 3,
            "score_threshold_enabled": False,
        },
    }
    trace_id, made = _console(stage, "/datasets/init", body | changed)
    return Asked(made["dataset"]["id"], made["documents"][0]["id"], trace_id)


def _indexed(
    stage: Stage,
    asked: Asked,
    *kinds: str,
    top: str = INIT,
    at: str = "run",
    status: str = "completed",
    errors: tuple[str, ...] = (),
    segments: int | None = None,
) -> list[str]:
    """What is wrong with the indexing that this trace's request asked for."""
    rows = _documents(stage, asked.dataset, _ended)
    states = [_state(row) for row in rows]
    if states != [status]:
        return [f"Dify's documents are {states}, not {status}: {[row.get('error') for row in rows]}"]
    stage.receiver.await_spans(lambda s: s.trace_id == asked.trace_id and s.name == f"dataset_indexing {at}", 20)
    case = Case("dataset", "block", "", (f"dataset_indexing {at}", *kinds), errors, top=top)
    spans, found = stage.judge(case, Outcome("dataset", trace_id=asked.trace_id))
    told = {"dify.dataset.id": asked.dataset, "dify.document.ids": (asked.document,), "dify.indexing.status": status}
    told |= {"dify.indexing.stage": at, "dify.indexing.document_count": 1}
    if segments is not None:
        told["dify.indexing.segment_count"] = segments
    indexing = [s for s in spans if s.name.startswith("dataset_indexing")]
    if indexing:
        told["dify.document.ids"] = type(indexing[0].attributes.get("dify.document.ids", ()))((asked.document,))
    return found + _has(spans, "dataset_indexing", told)


def economical_indexing(stage: Stage) -> list[str]:
    asked = _init(stage, _text(), indexing_technique="economy", embedding_model="", embedding_model_provider="")
    return _indexed(stage, asked, segments=3)


def parent_child_indexing(stage: Stage) -> list[str]:
    text = "\n\n".join(f"Fact {uuid.uuid4()} is new.\nSo is {uuid.uuid4()}." for _ in range(2))
    rules = {**_PARAGRAPHS, **_CHILDREN, "parent_mode": "paragraph"}
    rule = {"mode": "hierarchical", "rules": rules}
    asked = _init(stage, text, doc_form="hierarchical_model", process_rule=rule)
    return _indexed(stage, asked, "embeddings", segments=2)


def full_document_indexing(stage: Stage) -> list[str]:
    rules = {**_PARAGRAPHS, **_CHILDREN, "parent_mode": "full-doc"}
    asked = _init(stage, _text(), doc_form="hierarchical_model", process_rule={"mode": "hierarchical", "rules": rules})
    return _indexed(stage, asked, "embeddings", segments=1)


def question_and_answer_indexing(stage: Stage) -> list[str]:
    asked = _init(stage, _text(1), doc_form="qa_model")
    found = _indexed(stage, asked, "chat stub-chat", segments=2)
    return found + _below(stage.receiver.trace(asked.trace_id), "chat stub-chat", "dataset_indexing run")


def summary_index(stage: Stage) -> list[str]:
    """A model writes a summary of each segment, in a task of its own behind the indexing."""
    stage.needs(f"/console/api/datasets/{uuid.uuid4()}/documents/generate-summary")
    setting = {"enable": True, "model_name": "stub-chat", "model_provider_name": PROVIDER, "summary_prompt": ""}
    asked = _init(stage, _text(2), summary_index_setting=setting)
    task = "run/tasks.generate_summary_index_task"
    stage.receiver.await_spans(lambda s: s.trace_id == asked.trace_id and s.name.startswith(task), 30)
    found = _indexed(stage, asked, "embeddings", "chat stub-chat", task, segments=2)
    return found + _below(stage.receiver.trace(asked.trace_id), "chat stub-chat", task)


REFUSED_SECONDS = 12


def failed_indexing_is_retried(stage: Stage) -> list[str]:
    until = int(time.time()) + REFUSED_SECONDS
    asked = _init(stage, f"Fact {uuid.uuid4()} is refused until {until}.")
    failed = ("dataset_indexing", "embeddings")
    found = _indexed(stage, asked, "embeddings", status="error", errors=failed, segments=0)
    time.sleep(max(0.0, until + 1 - time.time()))
    path = f"/datasets/{asked.dataset}/retry"
    trace_id, _ = _console(stage, path, {"document_ids": [asked.document]})
    _documents(stage, asked.dataset, lambda row: row["indexing_status"] == "completed")
    again = Asked(asked.dataset, asked.document, trace_id)
    return found + _indexed(stage, again, "embeddings", top=RETRY, segments=1)


RETRY = "POST /console/api/datasets/<uuid:dataset_id>/retry"


def failed_pipeline_is_retried(stage: Stage) -> list[str]:
    """Dify runs the document's pipeline again, in the task that retries it."""
    made = _pipeline(stage, _graph())
    until = int(time.time()) + REFUSED_SECONDS
    file = _file(stage, text=f"Fact {uuid.uuid4()} is refused until {until}.")
    body = _asked(file, is_preview=False, response_mode="blocking")
    trace_id, answer = _console(stage, f"/rag/pipelines/{made.id}/workflows/published/run", body)
    _taken(stage, made, trace_id)
    rows = _documents(stage, made.dataset, _ended)
    if [row["indexing_status"] for row in rows] != ["error"]:
        return [f"Dify made {rows} of a document that is refused"]
    stage.run_of(trace_id)
    failed = ("embeddings", "dataset_indexing", "knowledge-index", "invoke_workflow", "dify.app")
    case = Case("pipeline", "block", "failed", (*RUN, *NODES), failed, top=CONSOLE)
    spans, found = stage.judge(case, Outcome("pipeline", status="failed", trace_id=trace_id))
    found += _has(spans, "invoke_workflow", {"dify.workflow.status": "failed"})
    found += _has(spans, "dataset_indexing", {"dify.indexing.status": "error", "dify.dataset.id": made.dataset})

    time.sleep(max(0.0, until + 1 - time.time()))
    body = {"document_ids": [answer["documents"][0]["id"]]}
    trace_id, _ = _console(stage, f"/datasets/{made.dataset}/retry", body)
    rows = _documents(stage, made.dataset, lambda row: row["indexing_status"] == "completed")
    if [row["indexing_status"] for row in rows] != ["completed"]:
        return [*found, f"Dify made {rows} of a document that is retried"]
    stage.run_of(trace_id)
    case = Case("pipeline", "block", "succeeded", (*RUN, *NODES, "dataset_indexing pipeline"), top=RETRY)
    spans, more = stage.judge(case, Outcome("retried", status="succeeded", trace_id=trace_id))
    found += more + _has(spans, "invoke_workflow", {"dify.workflow.status": "succeeded", "dify.app_id": made.id})
    return found + _below(spans, "invoke_workflow", "run/tasks.retry_document_indexing_task")


EMBEDDED_SECONDS = 5


def paused_indexing_goes_on(stage: Stage) -> list[str]:
    asked = _init(stage, f"Fact {uuid.uuid4()} is embedded in {EMBEDDED_SECONDS} seconds.")
    _documents(stage, asked.dataset, lambda row: row["indexing_status"] == "indexing")
    path = f"/datasets/{asked.dataset}/documents/{asked.document}/processing"
    _console(stage, f"{path}/pause", {}, "PATCH")
    found = _indexed(stage, asked, "embeddings", status="paused", segments=0)
    trace_id, _ = _console(stage, f"{path}/resume", {}, "PATCH")
    _documents(stage, asked.dataset, lambda row: row["indexing_status"] == "completed")
    again = Asked(asked.dataset, asked.document, trace_id)
    return found + _indexed(stage, again, top="PATCH /console/api/datasets/", at="load")


def document_of_the_service_api(stage: Stage) -> list[str]:
    """Made of a text, given a segment, changed, and deleted."""
    asked = _init(stage, _text())
    found = _indexed(stage, asked, "embeddings", segments=3)
    key, path = _key(stage), f"/v1/datasets/{asked.dataset}"

    body: dict[str, Any] = {"segments": [{"content": _text(1), "keywords": ["fact"]}]}
    trace_id, _ = stage.send("POST", f"{path}/documents/{asked.document}/segments", body, key)
    case = Case("segments", "block", "ok", ("embeddings",), top="POST /v1/datasets/")
    found += stage.judge(case, Outcome("segments", status="ok", trace_id=trace_id))[1]

    body = {"name": "changed", "text": _text(2)}
    trace_id, _ = stage.send("POST", f"{path}/documents/{asked.document}/update_by_text", body, key)
    time.sleep(1)
    changed = Asked(asked.dataset, asked.document, trace_id)
    found += _indexed(stage, changed, "embeddings", top="POST /v1/datasets/", segments=2)

    trace_id, _ = _console(stage, f"/datasets/{asked.dataset}/documents/{asked.document}", None, "DELETE")
    task = "run/tasks.clean_document_task"
    stage.receiver.await_spans(lambda s: s.trace_id == trace_id and s.name.startswith(task), 20)
    case = Case("deleted", "block", "ok", ("apply_async/", task), top="DELETE /console/api/datasets/")
    return found + stage.judge(case, Outcome("deleted", status="ok", trace_id=trace_id))[1]


KINDS: Mapping[str, Callable[[Stage], list[str]]] = {
    kind.__name__: kind
    for kind in (
        *(draft_of_a_pipeline, published_pipeline, published_pipeline_streamed, economical_pipeline),
        *(pipeline_through_the_service_api, pipeline_through_the_service_api_streamed),
        *(website_pipeline, online_document_pipeline, failed_pipeline_is_retried),
        *(economical_indexing, parent_child_indexing, full_document_indexing, question_and_answer_indexing),
        *(summary_index, failed_indexing_is_retried, paused_indexing_goes_on, document_of_the_service_api),
    )
}
