"""What the plugin daemon answers with."""

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from graphon.model_runtime.entities.model_entities import AIModelEntity
from pydantic import BaseModel, ConfigDict

T = TypeVar("T")


class PluginDaemonBasicResponse(BaseModel, Generic[T]):
    code: int
    message: str
    data: T | None = None


class PluginDaemonError(BaseModel):
    error_type: str
    message: str


class PluginModelSchemaEntity(BaseModel):
    model_schema: AIModelEntity
    model_config = ConfigDict(protected_namespaces=())


class PluginLLMNumTokensResponse(BaseModel):
    num_tokens: int


class PluginTextEmbeddingNumTokensResponse(BaseModel):
    num_tokens: list[int]


class PluginStringResultResponse(BaseModel):
    result: str


class PluginBasicBooleanResponse(BaseModel):
    result: bool
    credentials: Mapping[str, Any] | None = None
