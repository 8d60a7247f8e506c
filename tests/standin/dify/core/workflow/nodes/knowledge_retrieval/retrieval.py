from typing import Any, Literal

from pydantic import BaseModel, Field


class SourceMetadata(BaseModel):
    source: str = Field(default="knowledge", serialization_alias="_source")
    dataset_id: str
    dataset_name: str
    document_id: str
    document_name: str
    data_source_type: str
    segment_id: str | None = None
    retriever_from: str = "workflow"
    score: float = 0.0
    position: int | None = None
    doc_metadata: dict[str, Any] | None = None


class Source(BaseModel):
    metadata: SourceMetadata
    title: str
    files: list[Any] | None = None
    content: str | None = None
    summary: str | None = None


class KnowledgeRetrievalRequest(BaseModel):
    tenant_id: str
    user_id: str
    app_id: str
    user_from: str
    dataset_ids: list[str]
    query: str | None = None
    retrieval_mode: str
    model_provider: str | None = None
    completion_params: dict[str, Any] | None = None
    model_mode: str | None = None
    model_name: str | None = None
    metadata_filtering_mode: Literal["disabled", "automatic", "manual"] = "disabled"
    top_k: int = 0
    score_threshold: float = 0.0
    reranking_mode: str = "reranking_model"
    reranking_model: dict[str, Any] | None = None
    weights: dict[str, Any] | None = None
    reranking_enable: bool = True
    attachment_ids: list[str] | None = None
