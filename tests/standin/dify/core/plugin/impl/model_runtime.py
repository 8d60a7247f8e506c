"""graphon's model runtime, implemented over the plugin daemon; model schemas are cached in Redis as in Dify."""

import hashlib
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import IO, Any

from graphon.model_runtime.entities.common_entities import I18nObject
from graphon.model_runtime.entities.llm_entities import LLMPollingResult, LLMResult, LLMResultChunk
from graphon.model_runtime.entities.message_entities import PromptMessage, PromptMessageTool
from graphon.model_runtime.entities.model_entities import AIModelEntity, ModelType
from graphon.model_runtime.entities.provider_entities import ConfigurateMethod, ProviderEntity
from graphon.model_runtime.entities.rerank_entities import MultimodalRerankInput, RerankResult
from graphon.model_runtime.entities.text_embedding_entities import EmbeddingInputType, EmbeddingResult
from graphon.model_runtime.model_providers.base.large_language_model import normalize_non_stream_runtime_result

from core.plugin.impl.model import PluginModelClient
from extensions.ext_redis import redis_client


def provider_entity(provider: str) -> ProviderEntity:
    return ProviderEntity(
        provider=provider,
        provider_name=provider.rsplit("/", 1)[-1],
        label=I18nObject(en_US=provider),
        supported_model_types=[
            ModelType.LLM,
            ModelType.TEXT_EMBEDDING,
            ModelType.RERANK,
            ModelType.MODERATION,
            ModelType.SPEECH2TEXT,
            ModelType.TTS,
        ],
        configurate_methods=[ConfigurateMethod.PREDEFINED_MODEL],
    )


class PluginModelRuntime:
    tenant_id: str
    user_id: str | None
    client: PluginModelClient

    def __init__(self, tenant_id: str, user_id: str | None, client: PluginModelClient) -> None:
        self.tenant_id = tenant_id
        self.user_id = user_id
        self.client = client

    def _split_provider(self, provider: str) -> tuple[str, str]:
        plugin_id, _, name = provider.rpartition("/")
        return plugin_id or provider, name

    def _target(self, provider: str, model: str, credentials: dict[str, Any]) -> dict[str, Any]:
        plugin_id, name = self._split_provider(provider)
        return {
            "tenant_id": self.tenant_id,
            "user_id": self.user_id,
            "plugin_id": plugin_id,
            "provider": name,
            "model": model,
            "credentials": credentials,
        }

    def fetch_model_providers(self) -> Sequence[ProviderEntity]:
        return [provider_entity("langgenius/stub/stub")]

    def get_model_schema(
        self, *, provider: str, model_type: ModelType, model: str, credentials: dict[str, Any]
    ) -> AIModelEntity | None:
        key = "plugin_model_schema:" + hashlib.sha256(f"{self.tenant_id}:{provider}:{model}".encode()).hexdigest()
        cached = redis_client.get(key)
        if cached:
            return AIModelEntity.model_validate_json(cached)
        schema = self.client.get_model_schema(**self._target(provider, model, credentials), model_type=model_type.value)
        if schema is not None:
            redis_client.setex(key, 3600, schema.model_dump_json())
        return schema

    def invoke_llm(
        self,
        *,
        provider: str,
        model: str,
        credentials: dict[str, Any],
        model_parameters: dict[str, Any],
        prompt_messages: Sequence[PromptMessage],
        tools: list[PromptMessageTool] | None,
        stop: Sequence[str] | None,
        stream: bool,
        request_metadata: Mapping[str, object] | None = None,
    ) -> LLMResult | Generator[LLMResultChunk, None, None]:
        app_id = (request_metadata or {}).get("app_id")
        chunks = self.client.invoke_llm(
            **self._target(provider, model, credentials),
            prompt_messages=list(prompt_messages),
            model_parameters=model_parameters,
            tools=tools,
            stop=list(stop) if stop else None,
            stream=stream,
            app_id=str(app_id) if app_id else None,
        )
        if stream:
            return chunks
        return normalize_non_stream_runtime_result(model=model, prompt_messages=prompt_messages, result=chunks)

    def get_llm_num_tokens(
        self,
        *,
        provider: str,
        model_type: ModelType,
        model: str,
        credentials: dict[str, Any],
        prompt_messages: Sequence[PromptMessage],
        tools: Sequence[PromptMessageTool] | None,
    ) -> int:
        return self.client.get_llm_num_tokens(
            **self._target(provider, model, credentials),
            model_type=model_type.value,
            prompt_messages=list(prompt_messages),
            tools=list(tools) if tools else None,
        )

    def start_llm_polling(
        self,
        *,
        provider: str,
        model: str,
        credentials: dict[str, Any],
        model_parameters: dict[str, Any],
        prompt_messages: Sequence[PromptMessage],
        tools: Sequence[PromptMessageTool] | None,
        stop: Sequence[str] | None,
        json_schema: dict[str, Any] | None,
    ) -> LLMPollingResult:
        raise NotImplementedError("the stand-in has no polling model")

    def check_llm_polling(
        self, *, provider: str, model: str, credentials: dict[str, Any], plugin_state: dict[str, Any]
    ) -> LLMPollingResult:
        raise NotImplementedError("the stand-in has no polling model")

    def invoke_text_embedding(
        self,
        *,
        provider: str,
        model: str,
        credentials: dict[str, Any],
        texts: list[str],
        input_type: EmbeddingInputType,
        request_metadata: Mapping[str, object] | None = None,
    ) -> EmbeddingResult:
        return self.client.invoke_text_embedding(
            **self._target(provider, model, credentials), texts=texts, input_type=input_type.value
        )

    def invoke_multimodal_embedding(
        self,
        *,
        provider: str,
        model: str,
        credentials: dict[str, Any],
        documents: list[dict[str, Any]],
        input_type: EmbeddingInputType,
        request_metadata: Mapping[str, object] | None = None,
    ) -> EmbeddingResult:
        texts = [str(document.get("content", "")) for document in documents]
        return self.client.invoke_text_embedding(
            **self._target(provider, model, credentials), texts=texts, input_type=input_type.value
        )

    def get_text_embedding_num_tokens(
        self, *, provider: str, model: str, credentials: dict[str, Any], texts: list[str]
    ) -> list[int]:
        return self.client.get_text_embedding_num_tokens(**self._target(provider, model, credentials), texts=texts)

    def invoke_rerank(
        self,
        *,
        provider: str,
        model: str,
        credentials: dict[str, Any],
        query: str,
        docs: list[str],
        score_threshold: float | None,
        top_n: int | None,
        request_metadata: Mapping[str, object] | None = None,
    ) -> RerankResult:
        return self.client.invoke_rerank(
            **self._target(provider, model, credentials),
            query=query,
            docs=docs,
            score_threshold=score_threshold,
            top_n=top_n,
        )

    def invoke_multimodal_rerank(
        self,
        *,
        provider: str,
        model: str,
        credentials: dict[str, Any],
        query: MultimodalRerankInput,
        docs: list[MultimodalRerankInput],
        score_threshold: float | None,
        top_n: int | None,
        request_metadata: Mapping[str, object] | None = None,
    ) -> RerankResult:
        return self.client.invoke_multimodal_rerank(
            **self._target(provider, model, credentials),
            query=query,
            docs=docs,
            score_threshold=score_threshold,
            top_n=top_n,
        )

    def invoke_tts(
        self,
        *,
        provider: str,
        model: str,
        credentials: dict[str, Any],
        content_text: str,
        voice: str,
        request_metadata: Mapping[str, object] | None = None,
    ) -> Iterable[bytes]:
        return self.client.invoke_tts(
            **self._target(provider, model, credentials), content_text=content_text, voice=voice
        )

    def get_tts_model_voices(
        self, *, provider: str, model: str, credentials: dict[str, Any], language: str | None
    ) -> Any:
        return [{"name": "stub", "value": "stub"}]

    def invoke_speech_to_text(
        self,
        *,
        provider: str,
        model: str,
        credentials: dict[str, Any],
        file: IO[bytes],
        request_metadata: Mapping[str, object] | None = None,
    ) -> str:
        return self.client.invoke_speech_to_text(**self._target(provider, model, credentials), file=file)

    def invoke_moderation(
        self,
        *,
        provider: str,
        model: str,
        credentials: dict[str, Any],
        text: str,
        request_metadata: Mapping[str, object] | None = None,
    ) -> bool:
        return self.client.invoke_moderation(**self._target(provider, model, credentials), text=text)
