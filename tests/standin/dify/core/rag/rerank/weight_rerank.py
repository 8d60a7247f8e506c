import re
from typing import Any

from core.rag.models.document import Document
from core.rag.rerank.rerank_base import BaseRerankRunner
from core.rag.retrieval.retrieval_methods import QueryType


class WeightRerankRunner(BaseRerankRunner):
    def __init__(self, tenant_id: str, weights: dict[str, Any]):
        self.tenant_id = tenant_id
        self.weights = weights

    def run(
        self,
        query: str,
        documents: list[Document],
        score_threshold: float | None = None,
        top_n: int | None = None,
        query_type: QueryType = QueryType.TEXT_QUERY,
    ) -> list[Document]:
        vector_weight = float(self.weights["vector_setting"]["vector_weight"])
        wanted = set(re.findall(r"\w+", query.lower()))
        for document in documents:
            words = set(re.findall(r"\w+", document.page_content.lower()))
            keyword = len(wanted & words) / (len(wanted) or 1)
            similar = float(document.metadata.get("score", 0.0))
            document.metadata["score"] = vector_weight * similar + (1 - vector_weight) * keyword
        ranked = sorted(documents, key=lambda document: document.metadata["score"], reverse=True)
        return ranked[:top_n] if top_n else ranked
