"""Indexes documents: splits, embeds in a thread pool, keywords in a thread of their own."""

import concurrent.futures
import hashlib
import threading
from typing import Any

from flask import Flask, current_app
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.session_factory import session_factory
from core.rag.datasource.keyword.keyword_factory import Keyword
from core.rag.datasource.vdb.vector_factory import Vector
from core.rag.models.document import Document
from models.base import new_id
from models.dataset import Dataset, DocumentSegment
from models.dataset import Document as DatasetDocument


class IndexingRunner:
    def _handle_indexing_error(self, document_id: str, error: Exception, session: Session) -> None:
        document = session.get(DatasetDocument, document_id)
        if document is not None:
            document.indexing_status = "error"
            document.error = str(getattr(error, "description", None) or error)
            session.commit()

    def run(self, dataset_documents: list[DatasetDocument], session: Session) -> None:
        for dataset_document in dataset_documents:
            document_id = dataset_document.id
            try:
                dataset = session.scalar(select(Dataset).where(Dataset.id == dataset_document.dataset_id))
                if dataset is None:
                    raise ValueError("no dataset found")
                documents = self._transform(dataset, dataset_document)
                self._load_segments(session, dataset, dataset_document, documents)
                self._load(session, dataset, dataset_document, documents, 0)
            except Exception as exc:
                self._handle_indexing_error(document_id, exc, session)

    def run_in_splitting_status(self, dataset_document: DatasetDocument, session: Session) -> None:
        self.run([dataset_document], session)

    def run_in_indexing_status(self, dataset_document: DatasetDocument, session: Session) -> None:
        self.run([dataset_document], session)

    def _transform(self, dataset: Dataset, dataset_document: DatasetDocument) -> list[Document]:
        parts = [part.strip() for part in dataset_document.content.split("\n\n") if part.strip()]
        return [
            Document(
                page_content=part,
                metadata={
                    "doc_id": new_id(),
                    "doc_hash": hashlib.sha256(part.encode()).hexdigest(),
                    "document_id": dataset_document.id,
                    "dataset_id": dataset.id,
                },
            )
            for part in parts
        ]

    def _load_segments(
        self, session: Session, dataset: Dataset, dataset_document: DatasetDocument, documents: list[Document]
    ) -> None:
        for position, document in enumerate(documents, start=1):
            session.add(
                DocumentSegment(
                    tenant_id=dataset.tenant_id,
                    dataset_id=dataset.id,
                    document_id=dataset_document.id,
                    position=position,
                    content=document.page_content,
                    word_count=len(document.page_content),
                    index_node_id=document.metadata["doc_id"],
                    index_node_hash=document.metadata["doc_hash"],
                )
            )
        dataset_document.indexing_status = "indexing"
        session.commit()

    def _load(
        self,
        session: Session,
        dataset: Dataset,
        dataset_document: DatasetDocument,
        documents: list[Document],
        total_tokens: int,
    ) -> None:
        flask_app = current_app._get_current_object()  # type: ignore[attr-defined]
        keyword_thread = threading.Thread(
            target=self._process_keyword_index, args=(flask_app, dataset.id, dataset_document.id, documents)
        )
        keyword_thread.start()
        groups: list[list[Document]] = [documents[start::3] for start in range(3)]
        with concurrent.futures.ThreadPoolExecutor(max_workers=10) as executor:
            futures = [
                executor.submit(self._process_chunk, flask_app, "paragraph", group, dataset.id, dataset_document.id)
                for group in groups
                if group
            ]
            for future in futures:
                future.result()
        keyword_thread.join()
        dataset_document.indexing_status = "completed"
        session.commit()

    @staticmethod
    def _process_keyword_index(flask_app: Flask, dataset_id: str, document_id: str, documents: list[Document]) -> None:
        with flask_app.app_context(), session_factory.create_session() as session:
            dataset: Any = session.get(Dataset, dataset_id)
            Keyword(dataset).create(documents, session=session)

    def _process_chunk(
        self,
        flask_app: Flask,
        index_type: str,
        chunk_documents: list[Document],
        dataset_id: str,
        dataset_document_id: str,
    ) -> None:
        with flask_app.app_context(), session_factory.create_session() as session:
            dataset: Any = session.get(Dataset, dataset_id)
            Vector(dataset, session=session).create(chunk_documents)
