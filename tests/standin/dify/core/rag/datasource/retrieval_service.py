"""Searches one dataset: a pool for the queries, and inside it a pool for the kinds of search."""

import concurrent.futures
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from flask import Flask, current_app
from sqlalchemy import select
from sqlalchemy.orm import Session

from configs import dify_config
from core.rag.data_post_processor.data_post_processor import DataPostProcessor
from core.rag.datasource.keyword.keyword_factory import Keyword
from core.rag.datasource.vdb.vector_factory import Vector
from core.rag.models.document import Document
from core.rag.retrieval.retrieval_methods import QueryType, RetrievalMethod
from extensions.ext_database import db
from extensions.otel import propagate_context, trace_span
from models.dataset import Dataset, DocumentSegment
from services.external_knowledge_service import ExternalDatasetService


class RetrievalService:
    @classmethod
    @trace_span()
    def retrieve(
        cls,
        retrieval_method: RetrievalMethod,
        dataset_id: str,
        query: str,
        top_k: int = 4,
        score_threshold: float | None = 0.0,
        reranking_model: dict[str, Any] | None = None,
        reranking_mode: str = "reranking_model",
        weights: dict[str, Any] | None = None,
        document_ids_filter: list[str] | None = None,
        attachment_ids: list[str] | None = None,
    ) -> list[Document]:
        if not query and not attachment_ids:
            return []
        dataset = cls._get_dataset(dataset_id)
        if dataset is None:
            return []
        all_documents: list[Document] = []
        exceptions: list[str] = []
        with ThreadPoolExecutor(max_workers=dify_config.RETRIEVAL_SERVICE_EXECUTORS) as executor:
            future = executor.submit(
                propagate_context(RetrievalService()._retrieve),
                flask_app=current_app._get_current_object(),  # type: ignore[attr-defined]
                retrieval_method=retrieval_method,
                dataset=dataset,
                query=query,
                top_k=top_k,
                score_threshold=score_threshold,
                reranking_model=reranking_model,
                reranking_mode=reranking_mode,
                weights=weights,
                document_ids_filter=document_ids_filter,
                attachment_id=None,
                all_documents=all_documents,
                exceptions=exceptions,
            )
            for _ in concurrent.futures.as_completed([future], timeout=3600):
                pass
        if exceptions:
            raise ValueError(";\n".join(exceptions))
        return all_documents

    @classmethod
    def external_retrieve(
        cls,
        session: Session,
        dataset_id: str,
        query: str,
        external_retrieval_model: dict[str, Any] | None = None,
        metadata_filtering_conditions: dict[str, Any] | None = None,
    ) -> list[dict[str, Any]]:
        dataset = cls._get_dataset(dataset_id)
        if dataset is None:
            return []
        return ExternalDatasetService.fetch_external_knowledge_retrieval(
            dataset.tenant_id, dataset_id, query, external_retrieval_model or {}, None, session=session
        )

    @classmethod
    def _deduplicate_documents(cls, documents: list[Document]) -> list[Document]:
        best: dict[Any, Document] = {}
        for document in documents:
            key = document.metadata.get("doc_id") or document.page_content
            kept = best.get(key)
            if kept is None or document.metadata.get("score", 0) > kept.metadata.get("score", 0):
                best[key] = document
        return list(best.values())

    @classmethod
    def _get_dataset(cls, dataset_id: str) -> Dataset | None:
        with Session(db.engine, expire_on_commit=False) as session:
            return session.scalar(select(Dataset).where(Dataset.id == dataset_id).limit(1))

    @classmethod
    @trace_span()
    def keyword_search(
        cls,
        flask_app: Flask,
        dataset_id: str,
        query: str,
        top_k: int,
        all_documents: list[Document],
        exceptions: list[str],
        document_ids_filter: list[str] | None = None,
    ) -> None:
        with flask_app.app_context():
            try:
                dataset = cls._get_dataset(dataset_id)
                if dataset is None:
                    raise ValueError("dataset not found")
                with Session(db.engine) as session:
                    all_documents.extend(Keyword(dataset=dataset).search(query, session=session, top_k=top_k))
            except Exception as exc:
                exceptions.append(str(exc))

    @classmethod
    @trace_span()
    def embedding_search(
        cls,
        flask_app: Flask,
        dataset_id: str,
        query: str,
        top_k: int,
        score_threshold: float | None,
        reranking_model: dict[str, Any] | None,
        all_documents: list[Document],
        retrieval_method: RetrievalMethod,
        exceptions: list[str],
        document_ids_filter: list[str] | None = None,
        query_type: QueryType = QueryType.TEXT_QUERY,
    ) -> None:
        with flask_app.app_context():
            try:
                dataset = cls._get_dataset(dataset_id)
                if dataset is None:
                    raise ValueError("dataset not found")
                with Session(db.engine) as session:
                    documents = Vector(dataset=dataset, session=session).search_by_vector(
                        query,
                        search_type="similarity_score_threshold",
                        top_k=top_k,
                        score_threshold=0.0 if retrieval_method == RetrievalMethod.HYBRID_SEARCH else score_threshold,
                        filter={"group_id": [dataset.id]},
                        document_ids_filter=document_ids_filter,
                    )
                all_documents.extend(
                    cls._reranked(
                        dataset,
                        documents,
                        query,
                        reranking_model if retrieval_method == RetrievalMethod.SEMANTIC_SEARCH else None,
                        score_threshold,
                    )
                )
            except Exception as exc:
                exceptions.append(str(exc))

    @classmethod
    @trace_span()
    def full_text_index_search(
        cls,
        flask_app: Flask,
        dataset_id: str,
        query: str,
        top_k: int,
        score_threshold: float | None,
        reranking_model: dict[str, Any] | None,
        all_documents: list[Document],
        retrieval_method: str,
        exceptions: list[str],
        document_ids_filter: list[str] | None = None,
    ) -> None:
        with flask_app.app_context():
            try:
                dataset = cls._get_dataset(dataset_id)
                if dataset is None:
                    raise ValueError("dataset not found")
                with Session(db.engine) as session:
                    documents = Vector(dataset=dataset, session=session).search_by_full_text(
                        cls.escape_query_for_search(query), top_k=top_k, document_ids_filter=document_ids_filter
                    )
                all_documents.extend(
                    cls._reranked(
                        dataset,
                        documents,
                        query,
                        reranking_model if retrieval_method == RetrievalMethod.FULL_TEXT_SEARCH else None,
                        score_threshold,
                    )
                )
            except Exception as exc:
                exceptions.append(str(exc))

    @classmethod
    def _reranked(
        cls,
        dataset: Dataset,
        documents: list[Document],
        query: str,
        reranking_model: dict[str, Any] | None,
        score_threshold: float | None,
    ) -> list[Document]:
        if not documents or not reranking_model:
            return documents
        with Session(db.engine) as session:
            processor = DataPostProcessor(
                dataset.tenant_id, "reranking_model", reranking_model, None, False, session=session
            )
            return processor.invoke(
                query=query, documents=documents, score_threshold=score_threshold, top_n=len(documents)
            )

    @staticmethod
    def escape_query_for_search(query: str) -> str:
        return query.replace('"', '\\"')

    @classmethod
    def format_retrieval_documents(cls, session: Session, documents: list[Document]) -> list[tuple[Any, float]]:
        """Segments with their scores, in the order of the documents."""
        nodes = [document.metadata.get("doc_id") for document in documents]
        rows = session.scalars(select(DocumentSegment).where(DocumentSegment.index_node_id.in_(nodes))).all()
        by_node = {row.index_node_id: row for row in rows}
        return [
            (by_node[document.metadata["doc_id"]], float(document.metadata.get("score", 0.0)))
            for document in documents
            if document.metadata.get("doc_id") in by_node
        ]

    @trace_span()
    def _retrieve(
        self,
        flask_app: Flask,
        retrieval_method: RetrievalMethod,
        dataset: Dataset,
        all_documents: list[Document],
        exceptions: list[str],
        query: str | None = None,
        top_k: int = 4,
        score_threshold: float | None = 0.0,
        reranking_model: dict[str, Any] | None = None,
        reranking_mode: str = "reranking_model",
        weights: dict[str, Any] | None = None,
        document_ids_filter: list[str] | None = None,
        attachment_id: str | None = None,
    ) -> None:
        if not query:
            return
        with flask_app.app_context():
            found: list[Document] = []
            with ThreadPoolExecutor(max_workers=dify_config.RETRIEVAL_SERVICE_EXECUTORS) as executor:
                futures = []
                common = {
                    "flask_app": current_app._get_current_object(),  # type: ignore[attr-defined]
                    "dataset_id": dataset.id,
                    "query": query,
                    "top_k": top_k,
                    "all_documents": found,
                    "exceptions": exceptions,
                    "document_ids_filter": document_ids_filter,
                }
                ranked = {
                    "score_threshold": score_threshold,
                    "reranking_model": reranking_model,
                    "retrieval_method": retrieval_method,
                }
                if retrieval_method == RetrievalMethod.KEYWORD_SEARCH:
                    futures.append(executor.submit(propagate_context(self.keyword_search), **common))
                if RetrievalMethod.is_support_semantic_search(retrieval_method):
                    futures.append(
                        executor.submit(
                            propagate_context(self.embedding_search),
                            **common,
                            **ranked,
                            query_type=QueryType.TEXT_QUERY,
                        )
                    )
                if RetrievalMethod.is_support_fulltext_search(retrieval_method):
                    futures.append(executor.submit(propagate_context(self.full_text_index_search), **common, **ranked))
                for future in concurrent.futures.as_completed(futures, timeout=300):
                    if future.exception():
                        break
            if exceptions:
                raise ValueError(";\n".join(exceptions))
            if retrieval_method == RetrievalMethod.HYBRID_SEARCH:
                found = self._deduplicate_documents(found)
                with Session(db.engine) as session:
                    processor = DataPostProcessor(
                        dataset.tenant_id, reranking_mode, reranking_model, weights, False, session=session
                    )
                    found = processor.invoke(
                        query=query,
                        documents=found,
                        score_threshold=score_threshold,
                        top_n=top_k,
                        query_type=QueryType.TEXT_QUERY,
                    )
            all_documents.extend(found)
