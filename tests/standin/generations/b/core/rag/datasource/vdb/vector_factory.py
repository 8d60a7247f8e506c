from types import SimpleNamespace

from core.model_manager import ModelInstance, bundle
from core.rag.embedding.cached_embedding import CacheEmbedding
from core.rag.models.document import Document


class Vector:
    def __init__(self, dataset, attributes=None):
        self._dataset = dataset
        self._embeddings = CacheEmbedding(ModelInstance(bundle(), "stub-embed"))
        self._vector_processor = SimpleNamespace(get_type=lambda: "weaviate")

    def search_by_vector(self, query, **kwargs):
        self._embeddings.embed_query(query)
        metadata = {"doc_id": "node-1", "document_id": "doc-1", "dataset_id": self._dataset.id, "score": 0.9}
        return [Document("Berlin is a city.", metadata)]

    def search_by_full_text(self, query, **kwargs):
        metadata = {"doc_id": "node-2", "document_id": "doc-1", "dataset_id": self._dataset.id, "score": 0.5}
        return [Document("Cats sleep.", metadata)]
