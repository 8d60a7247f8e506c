from typing import Any

from sqlalchemy.orm import Session

from core.rag.datasource.vdb.vector_factory import _SegmentTable
from core.rag.models.document import Document
from models.dataset import Dataset


class Keyword:
    def __init__(self, dataset: Dataset):
        self._dataset = dataset

    def create(self, texts: list[Document], session: Session, **kwargs: Any) -> None:
        del texts, session, kwargs

    def search(self, query: str, *, session: Session, **kwargs: Any) -> list[Document]:
        return _SegmentTable(self._dataset, session).search_by_full_text(query, **kwargs)
