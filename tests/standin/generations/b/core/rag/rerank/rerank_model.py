from core.rag.models.document import Document


class RerankModelRunner:
    def __init__(self, rerank_model_instance):
        self.rerank_model_instance = rerank_model_instance

    def run(self, query, documents, score_threshold=None, top_n=None, user=None):
        result = self.rerank_model_instance.invoke_rerank(
            query=query,
            docs=[document.page_content for document in documents],
            score_threshold=score_threshold,
            top_n=top_n,
            user=user,
        )
        return [Document(item.text, {**documents[item.index].metadata, "score": item.score}) for item in result.docs]
