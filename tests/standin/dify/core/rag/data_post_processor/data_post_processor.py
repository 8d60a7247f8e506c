from typing import Any

from graphon.model_runtime.entities.model_entities import ModelType
from sqlalchemy.orm import Session

from core.model_manager import ModelManager
from core.rag.models.document import Document
from core.rag.rerank.rerank_base import BaseRerankRunner
from core.rag.rerank.rerank_model import RerankModelRunner
from core.rag.rerank.weight_rerank import WeightRerankRunner
from core.rag.retrieval.retrieval_methods import QueryType
from extensions.otel import trace_span


class DataPostProcessor:
    def __init__(
        self,
        tenant_id: str,
        reranking_mode: str,
        reranking_model: dict[str, Any] | None = None,
        weights: dict[str, Any] | None = None,
        reorder_enabled: bool = False,
        *,
        session: Session,
    ):
        self.rerank_runner = self._get_rerank_runner(
            reranking_mode, tenant_id, reranking_model, weights, session=session
        )

    @trace_span()
    def invoke(
        self,
        query: str,
        documents: list[Document],
        score_threshold: float | None = None,
        top_n: int | None = None,
        query_type: QueryType = QueryType.TEXT_QUERY,
    ) -> list[Document]:
        if self.rerank_runner and documents:
            documents = self.rerank_runner.run(query, documents, score_threshold, top_n, query_type)
        return documents

    def _get_rerank_runner(
        self,
        reranking_mode: str,
        tenant_id: str,
        reranking_model: dict[str, Any] | None = None,
        weights: dict[str, Any] | None = None,
        *,
        session: Session,
    ) -> BaseRerankRunner | None:
        if reranking_mode == "weighted_score" and weights:
            return WeightRerankRunner(tenant_id, weights)
        if reranking_mode == "reranking_model" and reranking_model:
            instance = ModelManager.for_tenant(tenant_id).get_model_instance(
                tenant_id=tenant_id,
                provider=reranking_model["reranking_provider_name"],
                model_type=ModelType.RERANK,
                model=reranking_model["reranking_model_name"],
            )
            return RerankModelRunner(instance, session=session)
        return None
