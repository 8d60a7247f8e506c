"""Turns an `AppModelConfig` row into the fields all simple applications share, and into a callable model."""

from typing import Any

from graphon.model_runtime.entities.model_entities import ModelType

from core.app.app_config.entities import (
    AppAdditionalFeatures,
    DatasetEntity,
    DatasetRetrieveConfigEntity,
    EasyUIBasedAppConfig,
    EasyUIBasedAppModelConfigFrom,
    ModelConfigEntity,
    PromptTemplateEntity,
    SensitiveWordAvoidanceEntity,
)
from core.app.entities.app_invoke_entities import ModelConfigWithCredentialsEntity
from core.model_manager import ModelManager
from models.model import App, AppMode, AppModelConfig, Conversation


def common_fields(
    app_model: App, app_model_config: AppModelConfig, conversation: Conversation | None
) -> dict[str, Any]:
    config = app_model_config.to_dict()
    model = config["model"]
    moderation = config["sensitive_word_avoidance"]
    datasets = config["dataset_configs"]
    return {
        "tenant_id": app_model.tenant_id,
        "app_id": app_model.id,
        "app_mode": AppMode(app_model.mode),
        "app_model_config_from": EasyUIBasedAppModelConfigFrom.CONVERSATION_SPECIFIC_CONFIG
        if conversation
        else EasyUIBasedAppModelConfigFrom.APP_LATEST_CONFIG,
        "app_model_config_id": app_model_config.id,
        "app_model_config_dict": config,
        "model": ModelConfigEntity(
            provider=model["provider"],
            model=model["name"],
            mode=model.get("mode", "chat"),
            parameters=model.get("completion_params", {}),
        ),
        "prompt_template": PromptTemplateEntity(
            prompt_type=PromptTemplateEntity.PromptType.SIMPLE, simple_prompt_template=config["pre_prompt"]
        ),
        "additional_features": AppAdditionalFeatures(
            show_retrieve_source=bool(config["retriever_resource"].get("enabled"))
        ),
        "sensitive_word_avoidance": SensitiveWordAvoidanceEntity(type=moderation["type"], config=moderation["config"])
        if moderation.get("enabled")
        else None,
        "dataset": DatasetEntity(
            dataset_ids=datasets["dataset_ids"],
            retrieve_config=DatasetRetrieveConfigEntity(
                retrieve_strategy=DatasetRetrieveConfigEntity.RetrieveStrategy(
                    datasets.get("retrieval_model", "multiple")
                ),
                top_k=datasets.get("top_k", 3),
                score_threshold=datasets.get("score_threshold", 0.0),
                reranking_model=datasets.get("reranking_model"),
                reranking_enabled=bool(datasets.get("reranking_model")),
            ),
        )
        if datasets.get("dataset_ids")
        else None,
    }


class ModelConfigConverter:
    @classmethod
    def convert(cls, app_config: EasyUIBasedAppConfig) -> ModelConfigWithCredentialsEntity:
        model = app_config.model
        bundle = ModelManager.for_tenant(app_config.tenant_id).get_provider_model_bundle(
            app_config.tenant_id, model.provider, ModelType.LLM
        )
        credentials = bundle.configuration.get_current_credentials(ModelType.LLM, model.model)
        schema = bundle.model_type_instance.get_model_schema(model.model, credentials)
        if schema is None:
            raise ValueError(f"Model {model.model} not exist.")
        return ModelConfigWithCredentialsEntity(
            provider=model.provider,
            model=model.model,
            model_schema=schema,
            mode=model.mode or "chat",
            provider_model_bundle=bundle,
            credentials=credentials,
            parameters=model.parameters,
            stop=model.stop,
        )
