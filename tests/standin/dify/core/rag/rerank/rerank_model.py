from sqlalchemy.orm import Session

from core.model_manager import ModelInstance
from core.rag.models.document import Document
from core.rag.rerank.rerank_base import BaseRerankRunner
from core.rag.retrieval.retrieval_methods import QueryType
from extensions.otel import trace_span


class RerankModelRunner(BaseRerankRunner):
    _session: Session

    def __init__(self, rerank_model_instance: ModelInstance, *, session: Session):
        self.rerank_model_instance = rerank_model_instance
        self._session = session

    @trace_span()
    def run(
        self,
        query: str,
        documents: list[Document],
        score_threshold: float | None = None,
        top_n: int | None = None,
        query_type: QueryType = QueryType.TEXT_QUERY,
    ) -> list[Document]:
        result = self.rerank_model_instance.invoke_rerank(
            query=query,
            docs=[document.page_content for document in documents],
            score_threshold=score_threshold,
            top_n=top_n,
        )
        ranked = []
        for item in result.docs:
            source = documents[item.index]
            metadata = {**source.metadata, "score": item.score}
            ranked.append(Document(page_content=item.text, metadata=metadata, provider=source.provider))
        ranked.sort(key=lambda document: document.metadata["score"], reverse=True)
        return ranked[:top_n] if top_n else ranked
