from core.model_manager import ModelInstance, bundle
from core.rag.rerank.rerank_model import RerankModelRunner


class DataPostProcessor:
    def __init__(self, tenant_id, reranking_mode, reranking_model=None, weights=None, reorder_enabled=False):
        self.rerank_runner = RerankModelRunner(ModelInstance(bundle(tenant_id), "stub-rerank"))

    def invoke(self, query, documents, score_threshold=None, top_n=None, user=None):
        return self.rerank_runner.run(query, documents, score_threshold, top_n, user)
