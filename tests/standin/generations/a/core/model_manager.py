from types import SimpleNamespace

from core.model_runtime.entities.llm_entities import (
    AssistantPromptMessage,
    EmbeddingUsage,
    LLMResult,
    LLMResultChunk,
    LLMResultChunkDelta,
    LLMUsage,
    RerankDocument,
    RerankResult,
    TextEmbeddingResult,
)
from core.model_runtime.errors.invoke import InvokeBadRequestError, InvokeServerUnavailableError

PROVIDER = "langgenius/stub/stub"


def bundle(tenant_id: str = "tenant-1"):
    provider = SimpleNamespace(provider=PROVIDER)
    return SimpleNamespace(
        configuration=SimpleNamespace(tenant_id=tenant_id, provider=provider), model_type_instance=object()
    )


class ModelInstance:
    def __init__(self, provider_model_bundle, model):
        self.provider_model_bundle = provider_model_bundle
        self.model = model
        self.provider = provider_model_bundle.configuration.provider.provider
        self.credentials = {"api_key": "sk-standin-secret-of-the-provider"}
        self.model_type_instance = provider_model_bundle.model_type_instance

    def invoke_llm(
        self,
        prompt_messages,
        model_parameters=None,
        tools=None,
        stop=None,
        stream=True,
        user=None,
        callbacks=None,
    ):
        chunks = self._round_robin_invoke(self._chunks, prompt_messages, tools)
        if stream:
            return chunks
        text, usage, calls = "", LLMUsage(), []
        for chunk in chunks:
            text += chunk.delta.message.content
            calls += chunk.delta.message.tool_calls
            usage = chunk.delta.usage or usage
        message = AssistantPromptMessage(content=text, tool_calls=calls)
        return LLMResult(self.model, prompt_messages, message, usage)

    def _chunks(self, prompt_messages, tools):
        model = self.model
        if model == "fail-model":
            raise InvokeBadRequestError("the model refused the request")
        asked = bool(tools) and all(message.role != "tool" for message in prompt_messages)
        for index, word in enumerate(["" if asked else "You ", "" if asked else "said ", ""]):
            if model == "fail-midway" and index == 1:
                raise InvokeServerUnavailableError("the model broke off")
            last = index == 2
            usage = LLMUsage(prompt_tokens=3, completion_tokens=2, total_tokens=5) if last else None
            calls = [tools[0]] if asked and index == 0 else []
            reason = ("tool_calls" if asked else "stop") if last else None
            message = AssistantPromptMessage(content=word, tool_calls=calls)
            yield LLMResultChunk(
                model, prompt_messages, LLMResultChunkDelta(index, message, usage, reason), "fp_standin"
            )

    def _round_robin_invoke(self, function, *args, **kwargs):
        return function(*args, **kwargs)

    def invoke_text_embedding(self, texts, user=None, input_type="document"):
        return TextEmbeddingResult(
            self.model, [[0.6, 0.8] for _ in texts], EmbeddingUsage(tokens=len(texts), total_tokens=len(texts))
        )

    def invoke_rerank(self, query, docs, score_threshold=None, top_n=None, user=None):
        found = [RerankDocument(index, text, 1.0 / (index + 1)) for index, text in enumerate(docs)]
        return RerankResult(self.model, found[:top_n])

    def invoke_moderation(self, text, user=None):
        return "forbidden" in text

    def invoke_speech2text(self, file, user=None):
        return f"{len(file.read())} bytes"

    def invoke_tts(self, content_text, tenant_id, voice, user=None):
        return (word.encode() for word in content_text.split())
