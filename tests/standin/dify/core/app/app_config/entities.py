"""The configuration an application's run carries as `application_generate_entity.app_config`."""

from enum import StrEnum, auto
from typing import Any, Literal

from graphon.model_runtime.entities.llm_entities import LLMMode
from pydantic import BaseModel, Field

from models.model import AppMode


class ModelConfigEntity(BaseModel):
    provider: str
    model: str
    mode: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    stop: list[str] = Field(default_factory=list)


class PromptTemplateEntity(BaseModel):
    class PromptType(StrEnum):
        SIMPLE = auto()
        ADVANCED = auto()

    prompt_type: PromptType
    simple_prompt_template: str | None = None


class ModelConfig(BaseModel):
    provider: str
    name: str
    mode: LLMMode
    completion_params: dict[str, Any] = Field(default_factory=dict)


class DatasetRetrieveConfigEntity(BaseModel):
    class RetrieveStrategy(StrEnum):
        SINGLE = auto()
        MULTIPLE = auto()

    query_variable: str | None = None
    retrieve_strategy: RetrieveStrategy
    top_k: int | None = None
    score_threshold: float | None = 0.0
    rerank_mode: str | None = "reranking_model"
    reranking_model: dict[str, Any] | None = None
    weights: dict[str, Any] | None = None
    reranking_enabled: bool | None = True
    metadata_filtering_mode: Literal["disabled", "automatic", "manual"] | None = "disabled"


class DatasetEntity(BaseModel):
    dataset_ids: list[str]
    retrieve_config: DatasetRetrieveConfigEntity


class SensitiveWordAvoidanceEntity(BaseModel):
    type: str
    config: dict[str, Any] = Field(default_factory=dict)


class AppAdditionalFeatures(BaseModel):
    opening_statement: str | None = None
    suggested_questions: list[str] = []
    suggested_questions_after_answer: bool = False
    show_retrieve_source: bool = False
    more_like_this: bool = False
    speech_to_text: bool = False


class AppConfig(BaseModel):
    tenant_id: str
    app_id: str
    app_mode: AppMode
    additional_features: AppAdditionalFeatures | None = None
    variables: list[Any] = []
    sensitive_word_avoidance: SensitiveWordAvoidanceEntity | None = None


class EasyUIBasedAppModelConfigFrom(StrEnum):
    ARGS = auto()
    APP_LATEST_CONFIG = "app-latest-config"
    CONVERSATION_SPECIFIC_CONFIG = "conversation-specific-config"


class EasyUIBasedAppConfig(AppConfig):
    app_model_config_from: EasyUIBasedAppModelConfigFrom
    app_model_config_id: str | None = None
    app_model_config_dict: dict[str, Any]
    model: ModelConfigEntity
    prompt_template: PromptTemplateEntity
    dataset: DatasetEntity | None = None
    external_data_variables: list[Any] = []


class WorkflowUIBasedAppConfig(AppConfig):
    workflow_id: str
