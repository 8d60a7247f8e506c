"""`ModelInstance`: every model call of an application goes through one of its `invoke_*` methods."""

import logging
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import IO, Any, Literal, ParamSpec, TypeVar, overload

from graphon.model_runtime.callbacks.base_callback import Callback
from graphon.model_runtime.entities.llm_entities import LLMResult
from graphon.model_runtime.entities.message_entities import PromptMessage, PromptMessageTool
from graphon.model_runtime.entities.model_entities import AIModelEntity, ModelType
from graphon.model_runtime.entities.rerank_entities import MultimodalRerankInput, RerankResult
from graphon.model_runtime.entities.text_embedding_entities import EmbeddingInputType, EmbeddingResult
from graphon.model_runtime.model_providers.base.large_language_model import LargeLanguageModel
from graphon.model_runtime.model_providers.base.moderation_model import ModerationModel
from graphon.model_runtime.model_providers.base.rerank_model import RerankModel
from graphon.model_runtime.model_providers.base.speech2text_model import Speech2TextModel
from graphon.model_runtime.model_providers.base.text_embedding_model import TextEmbeddingModel
from graphon.model_runtime.model_providers.base.tts_model import TTSModel
from sqlalchemy import select

from core.db.session_factory import session_factory
from core.entities.provider_configuration import ProviderConfiguration, ProviderModelBundle
from core.errors.error import ProviderTokenNotInitError
from core.plugin.impl.model import PluginModelClient
from core.plugin.impl.model_runtime import PluginModelRuntime, provider_entity
from models.provider import Provider, ProviderCredential

logger = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")

_MODEL_CLASSES: dict[ModelType, Any] = {
    ModelType.LLM: LargeLanguageModel,
    ModelType.TEXT_EMBEDDING: TextEmbeddingModel,
    ModelType.RERANK: RerankModel,
    ModelType.MODERATION: ModerationModel,
    ModelType.SPEECH2TEXT: Speech2TextModel,
    ModelType.TTS: TTSModel,
}
_DEFAULT_MODELS = {
    ModelType.LLM: "stub-chat",
    ModelType.TEXT_EMBEDDING: "stub-embed",
    ModelType.RERANK: "stub-rerank",
    ModelType.MODERATION: "stub-moderation",
    ModelType.SPEECH2TEXT: "stub-speech2text",
    ModelType.TTS: "stub-tts",
}
DEFAULT_PROVIDER = "langgenius/stub/stub"


class ModelInstance:
    def __init__(
        self, provider_model_bundle: ProviderModelBundle, model: str, credentials: dict[str, Any] | None = None
    ) -> None:
        self.provider_model_bundle = provider_model_bundle
        self.model_name = model
        self.provider = provider_model_bundle.configuration.provider.provider
        if credentials is None:
            credentials = provider_model_bundle.configuration.get_current_credentials(
                provider_model_bundle.model_type_instance.model_type, model
            )
        self.credentials = credentials
        self.parameters: Mapping[str, Any] = {}
        self.stop: Sequence[str] = ()
        self.model_type_instance = self.provider_model_bundle.model_type_instance
        self.load_balancing_manager = None

    def get_model_schema(self) -> AIModelEntity:
        schema = self.model_type_instance.get_model_schema(self.model_name, self.credentials)
        if schema is None:
            raise ValueError(f"model schema not found for {self.model_name}")
        return schema

    @overload
    def invoke_llm(
        self,
        prompt_messages: Sequence[PromptMessage],
        model_parameters: dict[str, Any] | None = None,
        tools: Sequence[PromptMessageTool] | None = None,
        stop: Sequence[str] | None = None,
        stream: Literal[True] = True,
        callbacks: list[Callback] | None = None,
        request_metadata: Mapping[str, object] | None = None,
    ) -> Generator[Any, None, None]: ...

    @overload
    def invoke_llm(
        self,
        prompt_messages: Sequence[PromptMessage],
        model_parameters: dict[str, Any] | None = None,
        tools: Sequence[PromptMessageTool] | None = None,
        stop: Sequence[str] | None = None,
        stream: bool = True,
        callbacks: list[Callback] | None = None,
        request_metadata: Mapping[str, object] | None = None,
    ) -> LLMResult | Generator[Any, None, None]: ...

    def invoke_llm(
        self,
        prompt_messages: Sequence[PromptMessage],
        model_parameters: dict[str, Any] | None = None,
        tools: Sequence[PromptMessageTool] | None = None,
        stop: Sequence[str] | None = None,
        stream: bool = True,
        callbacks: list[Callback] | None = None,
        request_metadata: Mapping[str, object] | None = None,
    ) -> LLMResult | Generator[Any, None, None]:
        return self._round_robin_invoke(
            self.model_type_instance.invoke,
            model=self.model_name,
            credentials=self.credentials,
            prompt_messages=list(prompt_messages),
            model_parameters=model_parameters,
            tools=list(tools) if tools else None,
            stop=list(stop) if stop else None,
            stream=stream,
            callbacks=callbacks,
            request_metadata=request_metadata,
        )

    def get_llm_num_tokens(
        self, prompt_messages: Sequence[PromptMessage], tools: Sequence[PromptMessageTool] | None = None
    ) -> int:
        return self._round_robin_invoke(
            self.model_type_instance.get_num_tokens,
            model=self.model_name,
            credentials=self.credentials,
            prompt_messages=list(prompt_messages),
            tools=list(tools) if tools else None,
        )

    def invoke_text_embedding(
        self, texts: list[str], input_type: EmbeddingInputType = EmbeddingInputType.DOCUMENT
    ) -> EmbeddingResult:
        return self._round_robin_invoke(
            self.model_type_instance.invoke,
            model=self.model_name,
            credentials=self.credentials,
            texts=texts,
            input_type=input_type,
        )

    def invoke_multimodal_embedding(
        self,
        multimodel_documents: list[dict[str, Any]],
        input_type: EmbeddingInputType = EmbeddingInputType.DOCUMENT,
    ) -> EmbeddingResult:
        return self._round_robin_invoke(
            self.model_type_instance.invoke,
            model=self.model_name,
            credentials=self.credentials,
            multimodel_documents=multimodel_documents,
            input_type=input_type,
        )

    def get_text_embedding_num_tokens(self, texts: list[str]) -> list[int]:
        return self._round_robin_invoke(
            self.model_type_instance.get_num_tokens,
            model=self.model_name,
            credentials=self.credentials,
            texts=texts,
        )

    def invoke_rerank(
        self, query: str, docs: list[str], score_threshold: float | None = None, top_n: int | None = None
    ) -> RerankResult:
        return self._round_robin_invoke(
            self.model_type_instance.invoke,
            model=self.model_name,
            credentials=self.credentials,
            query=query,
            docs=docs,
            score_threshold=score_threshold,
            top_n=top_n,
        )

    def invoke_multimodal_rerank(
        self,
        query: MultimodalRerankInput,
        docs: list[MultimodalRerankInput],
        score_threshold: float | None = None,
        top_n: int | None = None,
    ) -> RerankResult:
        return self._round_robin_invoke(
            self.model_type_instance.invoke_multimodal_rerank,
            model=self.model_name,
            credentials=self.credentials,
            query=query,
            docs=docs,
            score_threshold=score_threshold,
            top_n=top_n,
        )

    def invoke_moderation(self, text: str) -> bool:
        return self._round_robin_invoke(
            self.model_type_instance.invoke, model=self.model_name, credentials=self.credentials, text=text
        )

    def invoke_speech2text(self, file: IO[bytes]) -> str:
        return self._round_robin_invoke(
            self.model_type_instance.invoke, model=self.model_name, credentials=self.credentials, file=file
        )

    def invoke_tts(self, content_text: str, voice: str = "") -> Iterable[bytes]:
        return self._round_robin_invoke(
            self.model_type_instance.invoke,
            model=self.model_name,
            credentials=self.credentials,
            content_text=content_text,
            voice=voice,
        )

    def _round_robin_invoke(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return function(*args, **kwargs)

    def get_tts_voices(self, language: str | None = None) -> Any:
        return self.model_type_instance.get_tts_model_voices(
            model=self.model_name, credentials=self.credentials, language=language
        )


class ModelManager:
    def __init__(self, tenant_id: str, user_id: str | None = None) -> None:
        self._tenant_id = tenant_id
        self._user_id = user_id

    @classmethod
    def for_tenant(cls, tenant_id: str, user_id: str | None = None) -> "ModelManager":
        return cls(tenant_id, user_id)

    def get_model_instance(self, tenant_id: str, provider: str, model_type: ModelType, model: str) -> ModelInstance:
        return ModelInstance(self.get_provider_model_bundle(tenant_id, provider, model_type), model)

    def get_provider_model_bundle(self, tenant_id: str, provider: str, model_type: ModelType) -> ProviderModelBundle:
        with session_factory.create_session() as session:
            record = session.scalar(
                select(Provider).where(Provider.tenant_id == tenant_id, Provider.provider_name == provider)
            )
            credential = session.scalar(
                select(ProviderCredential).where(
                    ProviderCredential.tenant_id == tenant_id, ProviderCredential.provider_name == provider
                )
            )
        if record is None or credential is None:
            raise ProviderTokenNotInitError(f"Provider {provider} is not configured.")
        schema = provider_entity(provider)
        runtime = PluginModelRuntime(tenant_id, self._user_id, PluginModelClient())
        return ProviderModelBundle(
            configuration=ProviderConfiguration(
                tenant_id=tenant_id, provider=schema, credentials=credential.encrypted_config
            ),
            model_type_instance=_MODEL_CLASSES[model_type](schema, runtime),
        )

    def get_default_provider_model_name(self, tenant_id: str, model_type: ModelType) -> tuple[str | None, str | None]:
        return DEFAULT_PROVIDER, _DEFAULT_MODELS[model_type]

    def get_default_model_instance(self, tenant_id: str, model_type: ModelType) -> ModelInstance:
        return self.get_model_instance(tenant_id, DEFAULT_PROVIDER, model_type, _DEFAULT_MODELS[model_type])
