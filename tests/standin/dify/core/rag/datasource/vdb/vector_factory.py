"""The vector store's façade. Here the vectors lie beside the segments in the database."""

import re
from typing import Any

from graphon.model_runtime.entities.model_entities import ModelType
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.model_manager import ModelManager
from core.rag.embedding.cached_embedding import CacheEmbedding
from core.rag.models.document import Document
from extensions.otel import trace_span
from models.dataset import Dataset, DocumentSegment


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


class _SegmentTable:
    def __init__(self, dataset: Dataset, session: Session) -> None:
        self._dataset = dataset
        self._session = session

    def get_type(self) -> str:
        return "pgvector"

    def _segments(self) -> list[DocumentSegment]:
        return list(
            self._session.scalars(select(DocumentSegment).where(DocumentSegment.dataset_id == self._dataset.id))
        )

    def _ranked(self, scored: list[tuple[float, DocumentSegment]], top_k: int, threshold: float) -> list[Document]:
        scored.sort(key=lambda item: item[0], reverse=True)
        return [
            Document(
                page_content=segment.content,
                metadata={
                    "doc_id": segment.index_node_id,
                    "document_id": segment.document_id,
                    "dataset_id": segment.dataset_id,
                    "doc_hash": segment.index_node_hash,
                    "score": round(score, 6),
                },
            )
            for score, segment in scored[:top_k]
            if score >= threshold
        ]

    def search_by_vector(self, query_vector: list[float], **kwargs: Any) -> list[Document]:
        scored = [
            (sum(a * b for a, b in zip(query_vector, segment.vector or [], strict=False)), segment)
            for segment in self._segments()
        ]
        return self._ranked(scored, int(kwargs.get("top_k", 4)), float(kwargs.get("score_threshold") or 0.0))

    def search_by_full_text(self, query: str, **kwargs: Any) -> list[Document]:
        wanted = _words(query)
        scored = [(len(wanted & _words(segment.content)) / (len(wanted) or 1), segment) for segment in self._segments()]
        hits = [item for item in scored if item[0] > 0]
        return self._ranked(hits, int(kwargs.get("top_k", 2)), 0.0)


class Vector:
    def __init__(self, dataset: Dataset, attributes: list[str] | None = None, *, session: Session):
        self._dataset = dataset
        self._attributes = attributes or ["doc_id", "dataset_id", "document_id", "doc_hash"]
        self._session = session
        self._vector_processor = self._init_vector(session=session)
        self._embeddings: CacheEmbedding | None = None

    def _init_vector(self, *, session: Session) -> _SegmentTable:
        return _SegmentTable(self._dataset, session)

    def _get_embeddings(self) -> CacheEmbedding:
        if self._embeddings is None:
            instance = ModelManager.for_tenant(self._dataset.tenant_id).get_model_instance(
                tenant_id=self._dataset.tenant_id,
                provider=self._dataset.embedding_model_provider or "",
                model_type=ModelType.TEXT_EMBEDDING,
                model=self._dataset.embedding_model or "",
            )
            self._embeddings = CacheEmbedding(instance)
        return self._embeddings

    def create(self, texts: list[Document] | None = None, **kwargs: Any) -> None:
        self.add_texts(texts or [], **kwargs)

    def add_texts(self, documents: list[Document], **kwargs: Any) -> None:
        vectors = self._get_embeddings().embed_documents([document.page_content for document in documents])
        by_node = {document.metadata["doc_id"]: vector for document, vector in zip(documents, vectors, strict=True)}
        for segment in self._session.scalars(
            select(DocumentSegment).where(DocumentSegment.index_node_id.in_(list(by_node)))
        ):
            segment.vector = by_node[segment.index_node_id]
        self._session.commit()

    def search_by_vector(self, query: str, **kwargs: Any) -> list[Document]:
        query_vector = self._get_embeddings().embed_query(query)
        return self._search_by_vector_traced(query_vector, **kwargs)

    @trace_span()
    def _search_by_vector_traced(self, query_vector: list[float], **kwargs: Any) -> list[Document]:
        return self._vector_processor.search_by_vector(query_vector, **kwargs)

    def search_by_file(self, file_id: str, **kwargs: Any) -> list[Document]:
        vector = self._get_embeddings().embed_multimodal_documents([{"content": file_id}])[0]
        return self._vector_processor.search_by_vector(vector, **kwargs)

    def search_by_full_text(self, query: str, **kwargs: Any) -> list[Document]:
        return self._vector_processor.search_by_full_text(query, **kwargs)
