class CacheEmbedding:
    def __init__(self, model_instance):
        self._model_instance = model_instance
        self._cache: dict[str, list[float]] = {}

    def embed_documents(self, texts):
        return self._model_instance.invoke_text_embedding(texts=texts, user=None).embeddings

    def embed_query(self, text):
        if text not in self._cache:
            result = self._model_instance.invoke_text_embedding(texts=[text], user=None, input_type="query")
            self._cache[text] = result.embeddings[0]
        return self._cache[text]
