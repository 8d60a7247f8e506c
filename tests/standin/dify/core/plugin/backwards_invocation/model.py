from collections.abc import Generator
from typing import Any

from graphon.model_runtime.entities.llm_entities import LLMResult, LLMResultChunk, LLMResultChunkDelta
from graphon.model_runtime.entities.message_entities import (
    AssistantPromptMessage,
    PromptMessage,
    SystemPromptMessage,
    UserPromptMessage,
)
from graphon.model_runtime.entities.model_entities import ModelType

from core.model_manager import ModelManager

_ROLES: dict[str, type[PromptMessage]] = {
    "system": SystemPromptMessage,
    "user": UserPromptMessage,
    "assistant": AssistantPromptMessage,
}


class PluginModelBackwardsInvocation:
    @classmethod
    def invoke_llm(cls, user_id: str, tenant: str, payload: dict[str, Any]) -> Generator[LLMResultChunk, None, None]:
        instance = ModelManager.for_tenant(tenant, user_id).get_model_instance(
            tenant_id=tenant, provider=payload["provider"], model_type=ModelType.LLM, model=payload["model"]
        )
        messages = [_ROLES[item["role"]](content=item["content"]) for item in payload["prompt_messages"]]
        response = instance.invoke_llm(
            prompt_messages=messages,
            model_parameters=payload.get("completion_params") or {},
            stop=payload.get("stop") or [],
            stream=payload.get("stream", True),
        )
        if isinstance(response, LLMResult):
            delta = LLMResultChunkDelta(index=0, message=response.message, usage=response.usage)
            yield LLMResultChunk(model=response.model, prompt_messages=[], delta=delta)
            return
        for chunk in response:
            chunk.prompt_messages = []
            yield chunk
