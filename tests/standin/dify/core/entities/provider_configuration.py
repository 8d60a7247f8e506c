"""A tenant's provider, and the pair of configuration and model class a `ModelInstance` is made of."""

from typing import Any

from graphon.model_runtime.entities.model_entities import ModelType
from graphon.model_runtime.entities.provider_entities import ProviderEntity
from pydantic import BaseModel, ConfigDict


class ProviderConfiguration(BaseModel):
    tenant_id: str
    provider: ProviderEntity
    preferred_provider_type: str = "custom"
    using_provider_type: str = "custom"
    credentials: dict[str, Any]
    model_config = ConfigDict(protected_namespaces=())

    def get_current_credentials(self, model_type: ModelType, model: str) -> dict[str, Any]:
        return dict(self.credentials)


class ProviderModelBundle(BaseModel):
    configuration: ProviderConfiguration
    model_type_instance: Any
    model_config = ConfigDict(arbitrary_types_allowed=True, protected_namespaces=())
