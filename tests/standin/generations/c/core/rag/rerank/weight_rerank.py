class WeightRerankRunner:
    def __init__(self, tenant_id, weights):
        self.tenant_id = tenant_id
        self.weights = weights

    def run(self, query, documents, score_threshold=None, top_n=None, user=None, query_type="text_query"):
        return sorted(documents, key=lambda item: item.metadata["score"], reverse=True)[:top_n]
