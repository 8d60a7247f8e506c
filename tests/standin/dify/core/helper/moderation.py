"""Hosted moderation: calls the moderation model class itself, not a `ModelInstance`."""

from graphon.model_runtime.entities.model_entities import ModelType

from core.app.entities.app_invoke_entities import ModelConfigWithCredentialsEntity
from core.model_manager import DEFAULT_PROVIDER, ModelManager


def check_moderation(tenant_id: str, model_config: ModelConfigWithCredentialsEntity, text: str) -> bool:
    bundle = ModelManager.for_tenant(tenant_id).get_provider_model_bundle(
        tenant_id, DEFAULT_PROVIDER, ModelType.MODERATION
    )
    return bundle.model_type_instance.invoke(
        model="stub-moderation", credentials=bundle.configuration.credentials, text=text
    )
