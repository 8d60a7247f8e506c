"""Embeddings with a cache in Redis: a cached query makes no model call."""

import hashlib
import json
import math
from typing import Any

from graphon.model_runtime.entities.text_embedding_entities import EmbeddingInputType

from core.model_manager import ModelInstance
from extensions.ext_redis import redis_client


def _normalized(vector: list[float]) -> list[float]:
    length = math.sqrt(sum(value * value for value in vector)) or 1.0
    return [value / length for value in vector]


class CacheEmbedding:
    def __init__(self, model_instance: ModelInstance) -> None:
        self._model_instance = model_instance

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = []
        for start in range(0, len(texts), 10):
            result = self._model_instance.invoke_text_embedding(
                texts=texts[start : start + 10], input_type=EmbeddingInputType.DOCUMENT
            )
            vectors += [_normalized(vector) for vector in result.embeddings]
        return vectors

    def embed_multimodal_documents(self, multimodel_documents: list[dict[str, Any]]) -> list[list[float]]:
        result = self._model_instance.invoke_multimodal_embedding(
            multimodel_documents=multimodel_documents, input_type=EmbeddingInputType.DOCUMENT
        )
        return [_normalized(vector) for vector in result.embeddings]

    def embed_query(self, text: str) -> list[float]:
        instance = self._model_instance
        key = f"{instance.provider}_{instance.model_name}_{hashlib.sha256(text.encode()).hexdigest()}"
        cached = redis_client.get(key)
        if cached:
            redis_client.expire(key, 600)
            return json.loads(cached)
        result = instance.invoke_text_embedding(texts=[text], input_type=EmbeddingInputType.QUERY)
        vector = _normalized(result.embeddings[0])
        redis_client.setex(key, 600, json.dumps(vector))
        return vector
