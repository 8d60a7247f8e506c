"""Tables of knowledge bases. A segment carries its own vector: the stand-in's vector store is this table."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, new_id


class Dataset(Base):
    __tablename__ = "datasets"
    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    tenant_id: Mapped[str] = mapped_column(String(36))
    name: Mapped[str] = mapped_column(String(255))
    provider: Mapped[str] = mapped_column(String(255), default="vendor")
    indexing_technique: Mapped[str | None] = mapped_column(String(255), default="high_quality")
    embedding_model: Mapped[str | None] = mapped_column(String(255), default=None)
    embedding_model_provider: Mapped[str | None] = mapped_column(String(255), default=None)
    retrieval_model: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON, default=None)

    @property
    def is_multimodal(self) -> bool:
        return False


class Pipeline(Base):
    __tablename__ = "pipelines"
    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    tenant_id: Mapped[str] = mapped_column(String(36))
    name: Mapped[str] = mapped_column(String(255))
    workflow_id: Mapped[str | None] = mapped_column(String(36), default=None)
    dataset_id: Mapped[str] = mapped_column(String(36))


class Document(Base):
    __tablename__ = "documents"
    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    tenant_id: Mapped[str] = mapped_column(String(36))
    dataset_id: Mapped[str] = mapped_column(String(36))
    name: Mapped[str] = mapped_column(String(255))
    data_source_type: Mapped[str] = mapped_column(String(255), default="upload_file")
    content: Mapped[str] = mapped_column(Text, default="")
    indexing_status: Mapped[str] = mapped_column(String(255), default="waiting")
    error: Mapped[str | None] = mapped_column(Text, default=None)
    tokens: Mapped[int] = mapped_column(default=0)


class DocumentSegment(Base):
    __tablename__ = "document_segments"
    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    tenant_id: Mapped[str] = mapped_column(String(36))
    dataset_id: Mapped[str] = mapped_column(String(36), index=True)
    document_id: Mapped[str] = mapped_column(String(36))
    position: Mapped[int] = mapped_column()
    content: Mapped[str] = mapped_column(Text)
    word_count: Mapped[int] = mapped_column(default=0)
    tokens: Mapped[int] = mapped_column(default=0)
    index_node_id: Mapped[str | None] = mapped_column(String(255), default=None)
    index_node_hash: Mapped[str | None] = mapped_column(String(255), default=None)
    hit_count: Mapped[int] = mapped_column(default=0)
    vector: Mapped[list[float] | None] = mapped_column(sa.JSON, default=None)


class DatasetQuery(Base):
    __tablename__ = "dataset_queries"
    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    dataset_id: Mapped[str] = mapped_column(String(36))
    content: Mapped[str] = mapped_column(Text)
    source: Mapped[str] = mapped_column(String(255))
    source_app_id: Mapped[str | None] = mapped_column(String(36), default=None)
    created_by: Mapped[str] = mapped_column(String(36))
