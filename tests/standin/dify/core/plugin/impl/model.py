"""Model calls by way of the plugin daemon. `invoke_llm` and `invoke_tts` are generators."""

import binascii
from collections.abc import Generator
from typing import IO, Any

from graphon.model_runtime.entities.llm_entities import LLMResultChunk
from graphon.model_runtime.entities.message_entities import PromptMessage, PromptMessageTool
from graphon.model_runtime.entities.model_entities import AIModelEntity
from graphon.model_runtime.entities.rerank_entities import MultimodalRerankInput, RerankResult
from graphon.model_runtime.entities.text_embedding_entities import EmbeddingResult
from graphon.model_runtime.utils.encoders import jsonable_encoder

from core.plugin.entities.plugin_daemon import (
    PluginBasicBooleanResponse,
    PluginLLMNumTokensResponse,
    PluginModelSchemaEntity,
    PluginStringResultResponse,
    PluginTextEmbeddingNumTokensResponse,
)
from core.plugin.impl.base import BasePluginClient


class PluginModelClient(BasePluginClient):
    @staticmethod
    def _dispatch_payload(*, user_id: str | None, data: dict[str, Any], app_id: str | None = None) -> dict[str, Any]:
        payload: dict[str, Any] = {"data": jsonable_encoder(data)}
        if user_id is not None:
            payload["user_id"] = user_id
        if app_id is not None:
            payload["app_id"] = app_id
        return payload

    def _dispatch(
        self,
        tenant_id: str,
        action: str,
        type_: type[Any],
        plugin_id: str,
        user_id: str | None,
        data: dict[str, Any],
        app_id: str | None = None,
    ) -> Generator[Any, None, None]:
        return self._request_with_plugin_daemon_response_stream(
            method="POST",
            path=f"plugin/{tenant_id}/dispatch/{action}",
            type_=type_,
            data=self._dispatch_payload(user_id=user_id, data=data, app_id=app_id),
            headers={"X-Plugin-ID": plugin_id, "Content-Type": "application/json"},
        )

    def get_model_schema(
        self,
        tenant_id: str,
        user_id: str | None,
        plugin_id: str,
        provider: str,
        model_type: str,
        model: str,
        credentials: dict[str, Any],
    ) -> AIModelEntity | None:
        data = {"provider": provider, "model_type": model_type, "model": model, "credentials": credentials}
        for answer in self._dispatch(tenant_id, "model/schema", PluginModelSchemaEntity, plugin_id, user_id, data):
            return answer.model_schema
        return None

    def invoke_llm(
        self,
        tenant_id: str,
        user_id: str | None,
        plugin_id: str,
        provider: str,
        model: str,
        credentials: dict[str, Any],
        prompt_messages: list[PromptMessage],
        model_parameters: dict[str, Any] | None = None,
        tools: list[PromptMessageTool] | None = None,
        stop: list[str] | None = None,
        stream: bool = True,
        app_id: str | None = None,
    ) -> Generator[LLMResultChunk, None, None]:
        data = {
            "provider": provider,
            "model_type": "llm",
            "model": model,
            "credentials": credentials,
            "prompt_messages": prompt_messages,
            "model_parameters": model_parameters,
            "tools": tools,
            "stop": stop,
            "stream": stream,
        }
        yield from self._dispatch(tenant_id, "llm/invoke", LLMResultChunk, plugin_id, user_id, data, app_id)

    def get_llm_num_tokens(
        self,
        tenant_id: str,
        user_id: str | None,
        plugin_id: str,
        provider: str,
        model_type: str,
        model: str,
        credentials: dict[str, Any],
        prompt_messages: list[PromptMessage],
        tools: list[PromptMessageTool] | None = None,
    ) -> int:
        data = {"provider": provider, "model": model, "prompt_messages": prompt_messages, "tools": tools}
        answers = self._dispatch(tenant_id, "llm/num_tokens", PluginLLMNumTokensResponse, plugin_id, user_id, data)
        return next((answer.num_tokens for answer in answers), 0)

    def invoke_text_embedding(
        self,
        tenant_id: str,
        user_id: str | None,
        plugin_id: str,
        provider: str,
        model: str,
        credentials: dict[str, Any],
        texts: list[str],
        input_type: str,
    ) -> EmbeddingResult:
        data = {"provider": provider, "model": model, "texts": texts, "input_type": input_type}
        return self._only(self._dispatch(tenant_id, "text_embedding/invoke", EmbeddingResult, plugin_id, user_id, data))

    def get_text_embedding_num_tokens(
        self,
        tenant_id: str,
        user_id: str | None,
        plugin_id: str,
        provider: str,
        model: str,
        credentials: dict[str, Any],
        texts: list[str],
    ) -> list[int]:
        data = {"provider": provider, "model": model, "texts": texts}
        answers = self._dispatch(
            tenant_id, "text_embedding/num_tokens", PluginTextEmbeddingNumTokensResponse, plugin_id, user_id, data
        )
        return self._only(answers).num_tokens

    def invoke_rerank(
        self,
        tenant_id: str,
        user_id: str | None,
        plugin_id: str,
        provider: str,
        model: str,
        credentials: dict[str, Any],
        query: str,
        docs: list[str],
        score_threshold: float | None = None,
        top_n: int | None = None,
    ) -> RerankResult:
        data = {"model": model, "query": query, "docs": docs, "score_threshold": score_threshold, "top_n": top_n}
        return self._only(self._dispatch(tenant_id, "rerank/invoke", RerankResult, plugin_id, user_id, data))

    def invoke_multimodal_rerank(
        self,
        tenant_id: str,
        user_id: str | None,
        plugin_id: str,
        provider: str,
        model: str,
        credentials: dict[str, Any],
        query: MultimodalRerankInput,
        docs: list[MultimodalRerankInput],
        score_threshold: float | None = None,
        top_n: int | None = None,
    ) -> RerankResult:
        texts = [doc["content"] for doc in docs]
        return self.invoke_rerank(
            tenant_id,
            user_id,
            plugin_id,
            provider,
            model,
            credentials,
            query["content"],
            texts,
            score_threshold,
            top_n,
        )

    def invoke_tts(
        self,
        tenant_id: str,
        user_id: str | None,
        plugin_id: str,
        provider: str,
        model: str,
        credentials: dict[str, Any],
        content_text: str,
        voice: str,
    ) -> Generator[bytes, None, None]:
        data = {"model": model, "content_text": content_text, "voice": voice, "tenant_id": tenant_id}
        answers = self._dispatch(tenant_id, "tts/invoke", PluginStringResultResponse, plugin_id, user_id, data)
        for answer in answers:
            yield binascii.unhexlify(answer.result)

    def invoke_speech_to_text(
        self,
        tenant_id: str,
        user_id: str | None,
        plugin_id: str,
        provider: str,
        model: str,
        credentials: dict[str, Any],
        file: IO[bytes],
    ) -> str:
        data = {"model": model, "file": binascii.hexlify(file.read()).decode()}
        return self._only(
            self._dispatch(tenant_id, "speech2text/invoke", PluginStringResultResponse, plugin_id, user_id, data)
        ).result

    def invoke_moderation(
        self,
        tenant_id: str,
        user_id: str | None,
        plugin_id: str,
        provider: str,
        model: str,
        credentials: dict[str, Any],
        text: str,
    ) -> bool:
        return self._only(
            self._dispatch(
                tenant_id, "moderation/invoke", PluginBasicBooleanResponse, plugin_id, user_id, {"text": text}
            )
        ).result

    @staticmethod
    def _only(answers: Generator[Any, None, None]) -> Any:
        for answer in answers:
            return answer
        raise ValueError("Failed to invoke model: the daemon sent nothing")
