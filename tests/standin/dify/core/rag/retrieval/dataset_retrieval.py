"""Asks the knowledge bases of an application or a node: a thread a query, and in it a thread a dataset."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask, current_app
from graphon.model_runtime.entities.llm_entities import LLMUsage
from graphon.model_runtime.entities.message_entities import UserPromptMessage
from graphon.model_runtime.entities.model_entities import ModelType
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.app.app_config.entities import DatasetEntity, DatasetRetrieveConfigEntity
from core.app.entities.app_invoke_entities import InvokeFrom, ModelConfigWithCredentialsEntity
from core.db.session_factory import session_factory
from core.model_manager import ModelInstance, ModelManager
from core.ops.ops_trace_manager import TraceTask, TraceTaskName
from core.rag.data_post_processor.data_post_processor import DataPostProcessor
from core.rag.datasource.retrieval_service import RetrievalService
from core.rag.entities import RetrievalSourceMetadata
from core.rag.models.document import Document
from core.rag.retrieval.retrieval_methods import QueryType, RetrievalMethod
from core.workflow.nodes.knowledge_retrieval.retrieval import KnowledgeRetrievalRequest, Source, SourceMetadata
from extensions.ext_redis import redis_client
from extensions.otel import propagate_context, trace_span
from models.dataset import Dataset, DatasetQuery, DocumentSegment
from models.dataset import Document as DatasetDocument
from services.external_knowledge_service import ExternalDatasetService


class DatasetRetrieval:
    def __init__(self, application_generate_entity: Any = None):
        self.application_generate_entity = application_generate_entity
        self._llm_usage = LLMUsage.empty_usage()

    @property
    def llm_usage(self) -> LLMUsage:
        return self._llm_usage.model_copy()

    @trace_span()
    def knowledge_retrieval(self, session: Session, request: KnowledgeRetrievalRequest) -> list[Source]:
        self._check_knowledge_rate_limit(request.tenant_id)
        available = self._get_available_datasets(request.tenant_id, request.dataset_ids)
        if not available or not request.query:
            return []
        if request.retrieval_mode == DatasetRetrieveConfigEntity.RetrieveStrategy.SINGLE:
            if request.model_provider is None or request.model_name is None:
                raise ValueError("model_provider and model_name are required for single retrieval mode")
            instance = ModelManager.for_tenant(request.tenant_id, request.user_id).get_model_instance(
                request.tenant_id, request.model_provider, ModelType.LLM, request.model_name
            )
            found = self.single_retrieve(
                session,
                request.app_id,
                request.tenant_id,
                request.user_id,
                request.user_from,
                request.query,
                available,
                instance,
                None,  # type: ignore[arg-type]
                "react_router",
                None,
            )
        else:
            found = self.multiple_retrieve(
                app_id=request.app_id,
                tenant_id=request.tenant_id,
                user_id=request.user_id,
                user_from=request.user_from,
                available_datasets=available,
                query=request.query,
                top_k=request.top_k,
                score_threshold=request.score_threshold,
                reranking_mode=request.reranking_mode,
                reranking_model=request.reranking_model,
                weights=request.weights,
                reranking_enable=request.reranking_enable,
            )
        sources = []
        for document, segment, dataset, row in self._resolve(session, found):
            sources.append(
                Source(
                    metadata=SourceMetadata(
                        dataset_id=document.metadata.get("dataset_id", ""),
                        dataset_name=dataset.name if dataset else "",
                        document_id=row.id if row else str(document.metadata.get("document_id", "")),
                        document_name=row.name if row else str(document.metadata.get("title", "")),
                        data_source_type=row.data_source_type if row else "external",
                        segment_id=segment.id if segment else None,
                        score=float(document.metadata.get("score") or 0.0),
                    ),
                    title=row.name if row else str(document.metadata.get("title", "")),
                    content=document.page_content,
                )
            )
        sources.sort(key=lambda item: item.metadata.score, reverse=True)
        for position, source in enumerate(sources, start=1):
            source.metadata.position = position
        return sources

    def _resolve(
        self, session: Session, documents: list[Document]
    ) -> list[tuple[Document, DocumentSegment | None, Dataset | None, DatasetDocument | None]]:
        own = [document for document in documents if document.provider == "dify"]
        with Session(bind=session.get_bind()) as format_session:
            records = RetrievalService.format_retrieval_documents(format_session, own) if own else []
            format_session.expunge_all()
        segments = {segment.index_node_id: segment for segment, _ in records}
        with session_factory.create_session() as read_session:
            dataset_ids = {document.metadata.get("dataset_id") for document in documents}
            datasets = read_session.scalars(select(Dataset).where(Dataset.id.in_(dataset_ids))).all()
            document_ids = {segment.document_id for segment in segments.values()}
            rows = read_session.scalars(select(DatasetDocument).where(DatasetDocument.id.in_(document_ids))).all()
        dataset_map = {row.id: row for row in datasets}
        row_map = {row.id: row for row in rows}
        resolved = []
        for document in documents:
            segment = segments.get(document.metadata.get("doc_id"))
            resolved.append(
                (
                    document,
                    segment,
                    dataset_map.get(document.metadata.get("dataset_id", "")),
                    row_map.get(segment.document_id) if segment else None,
                )
            )
        return resolved

    def retrieve(
        self,
        session: Session,
        app_id: str,
        user_id: str,
        tenant_id: str,
        model_config: ModelConfigWithCredentialsEntity,
        config: DatasetEntity,
        query: str,
        invoke_from: InvokeFrom,
        show_retrieve_source: bool,
        hit_callback: Callable[[list[RetrievalSourceMetadata]], None],
        message_id: str,
        memory: Any | None = None,
        inputs: Mapping[str, Any] | None = None,
        vision_enabled: bool = False,
    ) -> tuple[str | None, list[Any] | None]:
        if not config.dataset_ids:
            return None, []
        settings = config.retrieve_config
        instance = ModelManager.for_tenant(tenant_id=tenant_id, user_id=user_id).get_model_instance(
            tenant_id=tenant_id,
            model_type=ModelType.LLM,
            provider=model_config.provider,
            model=model_config.model,
        )
        available = self._get_available_datasets(tenant_id, config.dataset_ids)
        user_from = "account" if invoke_from.runs_as_account() else "end_user"
        if settings.retrieve_strategy == DatasetRetrieveConfigEntity.RetrieveStrategy.SINGLE:
            found = self.single_retrieve(
                session,
                app_id,
                tenant_id,
                user_id,
                user_from,
                query,
                available,
                instance,
                model_config,
                "router",
                message_id,
            )
        else:
            found = self.multiple_retrieve(
                app_id,
                tenant_id,
                user_id,
                user_from,
                available,
                query,
                settings.top_k or 0,
                settings.score_threshold or 0,
                settings.rerank_mode or "reranking_model",
                settings.reranking_model,
                settings.weights,
                bool(settings.reranking_enabled),
                message_id,
            )
        resources = [
            RetrievalSourceMetadata(
                position=position,
                dataset_id=document.metadata.get("dataset_id"),
                dataset_name=dataset.name if dataset else None,
                document_id=row.id if row else document.metadata.get("document_id"),
                document_name=row.name if row else document.metadata.get("title"),
                data_source_type=row.data_source_type if row else "external",
                segment_id=segment.id if segment else None,
                retriever_from="api",
                score=document.metadata.get("score"),
                content=document.page_content,
            )
            for position, (document, segment, dataset, row) in enumerate(self._resolve(session, found), start=1)
        ]
        if show_retrieve_source and resources:
            hit_callback(resources)
        return "\n".join(document.page_content for document in found) or None, []

    @trace_span()
    def single_retrieve(
        self,
        session: Session,
        app_id: str,
        tenant_id: str,
        user_id: str,
        user_from: str,
        query: str,
        available_datasets: list[Dataset],
        model_instance: ModelInstance,
        model_config: ModelConfigWithCredentialsEntity,
        planning_strategy: str,
        message_id: str | None = None,
        metadata_filter_document_ids: dict[str, list[str]] | None = None,
        metadata_condition: Any | None = None,
    ) -> list[Document]:
        if not available_datasets:
            return []
        names = ", ".join(dataset.name for dataset in available_datasets)
        result = model_instance.invoke_llm(
            prompt_messages=[UserPromptMessage(content=f"Choose one of {names} for: {query}")],
            model_parameters={"temperature": 0.2},
            stream=False,
        )
        self._llm_usage = self._llm_usage.plus(result.usage)  # type: ignore[union-attr]
        chosen = session.scalar(select(Dataset).where(Dataset.id == available_datasets[0].id))
        if chosen is None:
            return []
        started = time.time()
        found: list[Document] = []
        self._search(session, chosen, query, 4, found)
        self._on_query(query, None, [chosen.id], app_id, user_from, user_id)
        if found:
            threading.Thread(
                target=propagate_context(self._on_retrieval_end),
                kwargs={
                    "flask_app": current_app._get_current_object(),  # type: ignore[attr-defined]
                    "documents": found,
                    "message_id": message_id,
                    "timer": {"start": started, "end": time.time()},
                },
            ).start()
        return found

    @trace_span()
    def multiple_retrieve(
        self,
        app_id: str,
        tenant_id: str,
        user_id: str,
        user_from: str,
        available_datasets: list[Dataset],
        query: str | None,
        top_k: int,
        score_threshold: float,
        reranking_mode: str,
        reranking_model: dict[str, Any] | None = None,
        weights: dict[str, Any] | None = None,
        reranking_enable: bool = True,
        message_id: str | None = None,
        metadata_filter_document_ids: dict[str, list[str]] | None = None,
        metadata_condition: Any | None = None,
        attachment_ids: list[str] | None = None,
    ) -> list[Document]:
        if not available_datasets:
            return []
        found: list[Document] = []
        errors: list[Exception] = []
        started = time.time()
        cancel = threading.Event()
        query_thread = threading.Thread(
            target=propagate_context(self._multiple_retrieve_thread_safely),
            kwargs={
                "flask_app": current_app._get_current_object(),  # type: ignore[attr-defined]
                "available_datasets": available_datasets,
                "metadata_condition": metadata_condition,
                "metadata_filter_document_ids": metadata_filter_document_ids,
                "all_documents": found,
                "tenant_id": tenant_id,
                "reranking_enable": reranking_enable,
                "reranking_mode": reranking_mode,
                "reranking_model": reranking_model,
                "weights": weights,
                "top_k": top_k,
                "score_threshold": score_threshold,
                "query": query,
                "attachment_id": None,
                "dataset_count": len(available_datasets),
                "cancel_event": cancel,
                "thread_exceptions": errors,
            },
        )
        query_thread.start()
        while query_thread.is_alive():
            query_thread.join(timeout=0.1)
            if errors:
                cancel.set()
                break
        if errors:
            raise errors[0]
        self._on_query(query, attachment_ids, [item.id for item in available_datasets], app_id, user_from, user_id)
        if found:
            threading.Thread(
                target=propagate_context(self._on_retrieval_end),
                kwargs={
                    "flask_app": current_app._get_current_object(),  # type: ignore[attr-defined]
                    "documents": found,
                    "message_id": message_id,
                    "timer": {"start": started, "end": time.time()},
                },
            ).start()
        unique: dict[Any, Document] = {}
        for document in found:
            unique.setdefault(document.metadata.get("doc_id") or id(document), document)
        return list(unique.values())

    def _on_retrieval_end(
        self,
        flask_app: Flask,
        documents: list[Document],
        message_id: str | None = None,
        timer: dict[str, Any] | None = None,
    ) -> None:
        with flask_app.app_context(), session_factory.create_session() as session:
            nodes = [document.metadata.get("doc_id") for document in documents]
            for segment in session.scalars(
                select(DocumentSegment)
                .where(DocumentSegment.index_node_id.in_(nodes))
                .order_by(DocumentSegment.id)
                .with_for_update()
            ):
                segment.hit_count += 1
            session.commit()
            self._send_trace_task(message_id, documents, timer)

    def _send_trace_task(self, message_id: str | None, documents: list[Document], timer: dict[str, Any] | None) -> None:
        entity = self.application_generate_entity
        trace_manager = entity.trace_manager if entity else None
        if trace_manager:
            trace_manager.add_trace_task(
                TraceTask(
                    TraceTaskName.DATASET_RETRIEVAL_TRACE, message_id=message_id, documents=documents, timer=timer
                )
            )

    def _on_query(
        self,
        query: str | None,
        attachment_ids: list[str] | None,
        dataset_ids: list[str],
        app_id: str,
        user_from: str,
        user_id: str,
    ) -> None:
        if not query:
            return
        with session_factory.create_session() as session:
            for dataset_id in dataset_ids:
                session.add(
                    DatasetQuery(
                        dataset_id=dataset_id, content=query, source="app", source_app_id=app_id, created_by=user_id
                    )
                )
            session.commit()

    def _retriever(
        self,
        flask_app: Flask,
        session: Session,
        dataset_id: str,
        query: str,
        top_k: int,
        all_documents: list[Document],
        document_ids_filter: list[str] | None = None,
        metadata_condition: Any | None = None,
        attachment_ids: list[str] | None = None,
    ) -> None:
        with flask_app.app_context():
            dataset = session.scalar(select(Dataset).where(Dataset.id == dataset_id))
            if dataset is not None:
                self._search(session, dataset, query, top_k, all_documents)

    def _search(
        self, session: Session, dataset: Dataset, query: str, top_k: int, all_documents: list[Document]
    ) -> None:
        settings = dataset.retrieval_model or {}
        if dataset.provider == "external":
            for record in ExternalDatasetService.fetch_external_knowledge_retrieval(
                tenant_id=dataset.tenant_id,
                dataset_id=dataset.id,
                query=query,
                external_retrieval_parameters=settings,
                session=session,
            ):
                metadata = {
                    **(record.get("metadata") or {}),
                    "score": record.get("score"),
                    "title": record.get("title"),
                    "dataset_id": dataset.id,
                    "dataset_name": dataset.name,
                }
                all_documents.append(
                    Document(page_content=record.get("content", ""), metadata=metadata, provider="external")
                )
            return
        economy = dataset.indexing_technique == "economy"
        method = RetrievalMethod.KEYWORD_SEARCH if economy else RetrievalMethod(settings["search_method"])
        all_documents.extend(
            RetrievalService.retrieve(
                retrieval_method=method,
                dataset_id=dataset.id,
                query=query,
                top_k=settings.get("top_k") or top_k or 4,
                score_threshold=settings.get("score_threshold") or 0.0,
                reranking_model=settings.get("reranking_model") if settings.get("reranking_enable") else None,
                reranking_mode=settings.get("reranking_mode") or "reranking_model",
                weights=settings.get("weights"),
            )
        )

    @trace_span()
    def _run_retriever_thread(
        self,
        *,
        flask_app: Flask,
        dataset_id: str,
        query: str | None,
        top_k: int,
        all_documents: list[Document],
        document_ids_filter: list[str] | None,
        metadata_condition: Any | None,
        attachment_ids: list[str] | None,
    ) -> None:
        with session_factory.create_session() as session:
            self._retriever(
                flask_app=flask_app,
                session=session,
                dataset_id=dataset_id,
                query=query or "",
                top_k=top_k,
                all_documents=all_documents,
                document_ids_filter=document_ids_filter,
                metadata_condition=metadata_condition,
                attachment_ids=attachment_ids,
            )

    def _run_retriever_thread_safely(
        self,
        *,
        flask_app: Flask,
        dataset_id: str,
        query: str | None,
        top_k: int,
        all_documents: list[Document],
        document_ids_filter: list[str] | None,
        metadata_condition: Any | None,
        attachment_ids: list[str] | None,
        cancel_event: threading.Event | None,
        thread_exceptions: list[Exception] | None,
    ) -> None:
        try:
            self._run_retriever_thread(
                flask_app=flask_app,
                dataset_id=dataset_id,
                query=query,
                top_k=top_k,
                all_documents=all_documents,
                document_ids_filter=document_ids_filter,
                metadata_condition=metadata_condition,
                attachment_ids=attachment_ids,
            )
        except Exception as exc:
            if cancel_event:
                cancel_event.set()
            if thread_exceptions is not None:
                thread_exceptions.append(exc)

    @trace_span()
    def _multiple_retrieve_thread(
        self,
        flask_app: Flask,
        available_datasets: list[Dataset],
        metadata_condition: Any | None,
        metadata_filter_document_ids: dict[str, list[str]] | None,
        all_documents: list[Document],
        tenant_id: str,
        reranking_enable: bool,
        reranking_mode: str,
        reranking_model: dict[str, Any] | None,
        weights: dict[str, Any] | None,
        top_k: int,
        score_threshold: float,
        query: str | None,
        attachment_id: str | None,
        dataset_count: int,
        cancel_event: threading.Event | None = None,
    ) -> None:
        with flask_app.app_context():
            found: list[Document] = []
            errors: list[Exception] = []
            threads = []
            for dataset in available_datasets:
                if cancel_event and cancel_event.is_set():
                    break
                thread = threading.Thread(
                    target=propagate_context(self._run_retriever_thread_safely),
                    kwargs={
                        "flask_app": flask_app,
                        "dataset_id": dataset.id,
                        "query": query,
                        "top_k": top_k,
                        "all_documents": found,
                        "document_ids_filter": None,
                        "metadata_condition": metadata_condition,
                        "attachment_ids": None,
                        "cancel_event": cancel_event,
                        "thread_exceptions": errors,
                    },
                )
                threads.append(thread)
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    thread.join(timeout=0.1)
            if errors:
                raise errors[0]
            if reranking_enable and dataset_count > 1 and query:
                with session_factory.create_session() as session:
                    processor = DataPostProcessor(
                        tenant_id, reranking_mode, reranking_model, weights, False, session=session
                    )
                    found = processor.invoke(
                        query=query,
                        documents=found,
                        score_threshold=score_threshold,
                        top_n=top_k,
                        query_type=QueryType.TEXT_QUERY,
                    )
            else:
                found = self.calculate_vector_score(found, top_k, score_threshold)
            all_documents.extend(found)

    def _multiple_retrieve_thread_safely(
        self,
        *,
        flask_app: Flask,
        available_datasets: list[Dataset],
        metadata_condition: Any | None,
        metadata_filter_document_ids: dict[str, list[str]] | None,
        all_documents: list[Document],
        tenant_id: str,
        reranking_enable: bool,
        reranking_mode: str,
        reranking_model: dict[str, Any] | None,
        weights: dict[str, Any] | None,
        top_k: int,
        score_threshold: float,
        query: str | None,
        attachment_id: str | None,
        dataset_count: int,
        cancel_event: threading.Event | None = None,
        thread_exceptions: list[Exception] | None = None,
    ) -> None:
        try:
            self._multiple_retrieve_thread(
                flask_app=flask_app,
                available_datasets=available_datasets,
                metadata_condition=metadata_condition,
                metadata_filter_document_ids=metadata_filter_document_ids,
                all_documents=all_documents,
                tenant_id=tenant_id,
                reranking_enable=reranking_enable,
                reranking_mode=reranking_mode,
                reranking_model=reranking_model,
                weights=weights,
                top_k=top_k,
                score_threshold=score_threshold,
                query=query,
                attachment_id=attachment_id,
                dataset_count=dataset_count,
                cancel_event=cancel_event,
            )
        except Exception as exc:
            if cancel_event:
                cancel_event.set()
            if thread_exceptions is not None:
                thread_exceptions.append(exc)

    def calculate_vector_score(
        self, all_documents: list[Document], top_k: int, score_threshold: float
    ) -> list[Document]:
        kept = [item for item in all_documents if float(item.metadata.get("score") or 0.0) >= score_threshold]
        kept.sort(key=lambda item: float(item.metadata.get("score") or 0.0), reverse=True)
        return kept[:top_k] if top_k else kept

    def _get_available_datasets(self, tenant_id: str, dataset_ids: list[str]) -> list[Dataset]:
        with session_factory.create_session() as session:
            return list(
                session.scalars(select(Dataset).where(Dataset.tenant_id == tenant_id, Dataset.id.in_(dataset_ids)))
            )

    def _check_knowledge_rate_limit(self, tenant_id: str) -> None:
        redis_client.zcard(f"rate_limit_{tenant_id}")
