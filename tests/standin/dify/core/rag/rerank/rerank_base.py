from abc import ABC, abstractmethod

from core.rag.models.document import Document
from core.rag.retrieval.retrieval_methods import QueryType


class BaseRerankRunner(ABC):
    @abstractmethod
    def run(
        self,
        query: str,
        documents: list[Document],
        score_threshold: float | None = None,
        top_n: int | None = None,
        query_type: QueryType = QueryType.TEXT_QUERY,
    ) -> list[Document]:
        raise NotImplementedError
